package main

import (
	"syscall"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// TestSecretsAndTokensOutliveTheProcess kills the service and starts it again: what follows from the
// keyring is the same.
func TestSecretsAndTokensOutliveTheProcess(t *testing.T) {
	data := t.TempDir()
	r := launch(t, data)
	r.call(t, "POST", "/v1/keyspaces", map[string]any{"name": "pilot", "recoverable": true, "tokens": map[string]any{},
		"format": map[string]any{"prefix": "pk_", "alphabet": "base36", "length": 32, "shown": 4}}, nil)
	org := r.newOrg(t)
	var m, support made
	fromJSON(t, r.command(t, "", "keys", "create", "--org", org, "--keyspace", "pilot", "--name", "k", "--json"), &m)
	fromJSON(t, r.command(t, "", "keys", "create", "--org", org, "--keyspace", "keytrail", "--name", "support", "--scope", domain.RevealScope, "--json"), &support)
	expect(t, r.command(t, "", "keys", "reveal", m.Key.ID), exitRefused, "keys:reveal")
	var derived struct{ Token string }
	if err := send(t.Context(), "POST", r.url+"/v1/tokens", m.Secret, "", map[string]any{}, &derived); err != nil {
		t.Fatal(err)
	}

	r.end(t, syscall.SIGKILL)
	r = launch(t, data)
	as := func(key string, args ...string) told {
		return cli(t, "", environ("KEYTRAIL_URL="+r.url, "KEYTRAIL_KEY="+key), args...)
	}
	expect(t, as(support.Secret, "keys", "reveal", m.Key.ID), exitOK, m.Secret)
	expect(t, r.command(t, derived.Token, "verify"), exitOK, "VALID")
	expect(t, r.command(t, "", "keys", "revoke", m.Key.ID), exitOK, "revoked")
	expect(t, as(support.Secret, "keys", "reveal", m.Key.ID), exitRefused, "revoked")
	expect(t, r.command(t, derived.Token, "verify"), exitRefused, "REVOKED", "The key was revoked")
}
