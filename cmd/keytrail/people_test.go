package main

import "testing"

func TestPeopleOnTheCommandLine(t *testing.T) {
	r := launch(t, t.TempDir())
	var org, ada, bob struct{ ID string }
	fromJSON(t, r.command(t, "", "orgs", "create", "Acme", "--json"), &org)
	fromJSON(t, r.command(t, "tangent lamp orbit\n", "users", "create", "ada@example.com", "--name", "Ada", "--password-file", "-", "--json"), &ada)
	fromJSON(t, r.command(t, "", "users", "create", "bob@example.com", "--json"), &bob)
	expect(t, r.command(t, "", "users", "show", ada.ID), exitOK, "ada@example.com", "active")
	expect(t, r.command(t, "", "users", "list", "--email", "Ada@example.com"), exitOK, ada.ID)
	expect(t, r.command(t, "", "users", "update", bob.ID, "team=x", "--email", "robert@example.com", "--name", "Robert"), exitOK, "robert@example.com", "Robert")
	expect(t, r.command(t, "", "users", "update", bob.ID), exitUsage, "NAME=VALUE")
	expect(t, r.command(t, "", "users", "disable", bob.ID), exitOK, "disabled")
	expect(t, r.command(t, "", "users", "enable", bob.ID), exitOK, "active")

	expect(t, r.command(t, "", "members", "set", org.ID, ada.ID, "owner"), exitOK, "owner", "ada@example.com")
	expect(t, r.command(t, "", "roles", "define", org.ID, "auditor", "audit:read", "keys:read"), exitOK, "auditor", "audit:read keys:read")
	expect(t, r.command(t, "", "members", "set", org.ID, bob.ID, "auditor"), exitOK, "auditor")
	expect(t, r.command(t, "", "roles", "list", org.ID), exitOK, "owner", "auditor")
	expect(t, r.command(t, "", "roles", "remove", org.ID, "auditor"), exitRefused, "role_in_use")
	expect(t, r.command(t, "", "members", "list", org.ID), exitOK, "robert@example.com")
	expect(t, r.command(t, "", "members", "remove", org.ID, ada.ID), exitRefused, "last_owner")
	expect(t, r.command(t, "", "members", "remove", org.ID, bob.ID), exitOK, "removed "+bob.ID)
	expect(t, r.command(t, "", "roles", "remove", org.ID, "auditor"), exitOK, "removed auditor")

	var made struct{ Invitation struct{ ID string } }
	fromJSON(t, r.command(t, "", "invitations", "create", org.ID, "eve@example.com", "member", "--ttl", "24h", "--json"), &made)
	expect(t, r.command(t, "", "invitations", "token", org.ID, made.Invitation.ID), exitOK, "ktinv_")
	expect(t, r.command(t, "", "invitations", "list", org.ID), exitOK, "eve@example.com")
	expect(t, r.command(t, "", "invitations", "revoke", org.ID, made.Invitation.ID), exitOK, "revoked")
	expect(t, r.command(t, "", "users", "remove", ada.ID), exitRefused, "last_owner", org.ID)
	expect(t, r.command(t, "", "users", "remove", bob.ID), exitOK, "removed "+bob.ID)
}
