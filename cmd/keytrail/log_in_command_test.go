package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A person logs in, works with the session as with a key, switches and signs out.
func TestASessionOnTheCommandLine(t *testing.T) {
	r := launch(t, t.TempDir())
	var one, two, ada struct{ ID string }
	fromJSON(t, r.command(t, "", "orgs", "create", "One", "--json"), &one)
	fromJSON(t, r.command(t, "", "orgs", "create", "Two", "--json"), &two)
	fromJSON(t, r.command(t, "tangent lamp orbit\n", "users", "create", "ada@example.com", "--password-file", "-", "--json"), &ada)
	expect(t, r.command(t, "", "members", "set", one.ID, ada.ID, "owner"), exitOK)
	expect(t, r.command(t, "", "members", "set", two.ID, ada.ID, "member"), exitOK)

	file := filepath.Join(t.TempDir(), "token")
	expect(t, r.command(t, "another lamp orbit\n", "sessions", "log-in", "--email", "ada@example.com"), exitRefused, "invalid_credentials")
	expect(t, r.command(t, "", "sessions", "log-in", "--email", "ada@example.com"), exitUsage, "no password came")
	expect(t, r.command(t, "tangent lamp orbit\n", "sessions", "log-in", "--email", "ada@example.com", "--org", one.ID, "--token-file", file), exitOK, "logged in as ada@example.com", one.ID)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	as := func(args ...string) told { return r.command(t, "", append(args, "--key-file", file)...) }
	expect(t, as("principal"), exitOK, "user     "+ada.ID, "role     owner", one.ID)
	expect(t, as("keys", "create", "--name", "mine"), exitOK)
	expect(t, as("sessions", "list"), exitOK, one.ID, "password")
	expect(t, as("sessions", "switch", two.ID, "--token-file", file), exitOK, two.ID)
	expect(t, as("keys", "list"), exitRefused, "scope_missing")
	expect(t, as("sessions", "sign-out"), exitOK)
	expect(t, as("principal"), exitRefused, "invalid_credentials")
	printed := r.command(t, "tangent lamp orbit\n", "sessions", "log-in", "--email", "ada@example.com")
	if expect(t, printed, exitOK); !strings.HasPrefix(printed.out, "eyJ") {
		t.Errorf("it printed %q", printed.out)
	}
}
