package main

import (
	"errors"
	"strings"
	"testing"
)

// says tells whether a request is refused with the text.
func (r *running) says(t testing.TB, text, method, path string, in any) bool {
	t.Helper()
	var refused *refusedError
	return errors.As(send(t.Context(), method, r.url+path, r.rootKey(t), "", in, nil), &refused) && strings.Contains(refused.text, text)
}

// outcome is what a verification answers, "" if it is refused.
func (r *running) outcome(t testing.TB, secret string) string {
	t.Helper()
	var v struct{ Code string }
	_ = send(t.Context(), "POST", r.url+"/v1/verify", r.rootKey(t), "", map[string]string{"key": secret}, &v)
	return v.Code
}

// TestAFrozenLedgerClosesVerification freezes the server of a service that answers before a
// use is recorded: it must not go on answering from what it has read.
func TestAFrozenLedgerClosesVerification(t *testing.T) {
	servers, urls := natsProcesses(t, 1)
	r := launch(t, t.TempDir(), "--nats-url", urls, "--uses", "relaxed")
	m := r.newKey(t, r.newOrg(t))
	if got := r.outcome(t, m.Secret); got != "VALID" {
		t.Fatal(got)
	}
	servers[0].freeze(t)
	until(t, "verification is refused", func() bool {
		return r.says(t, `"code":"ledger_unavailable"`, "POST", "/v1/verify", map[string]string{"key": m.Secret})
	})
	until(t, "it is not ready", func() bool { return r.says(t, "no append was acknowledged", "GET", "/readyz", nil) })
	if got := r.outcome(t, m.Secret); got != "" {
		t.Errorf("a frozen ledger's key is %s", got)
	}
	servers[0].thaw(t)
	until(t, "verification is answered", func() bool { return r.outcome(t, m.Secret) == "VALID" })
	until(t, "it is ready", func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil })
}
