package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestALedgerThatLostItsEndIsReadAgain puts an older copy of its files under a NATS server
// while the service runs. What was lost does not go on living in the read model, and what
// is written now is in force when it is acknowledged, though its position was used before.
func TestALedgerThatLostItsEndIsReadAgain(t *testing.T) {
	servers, urls := natsProcesses(t, 1)
	nats := servers[0]
	r := launch(t, t.TempDir(), "--nats-url", urls)
	org := r.newOrg(t)
	kept := r.newKey(t, org)
	nats.end(t, syscall.SIGTERM)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(nats.Dir)); err != nil {
		t.Fatal(err)
	}
	nats.start(t)
	until(t, "it goes on", func() bool { return r.outcome(t, kept.Secret) == "VALID" })
	lost := r.newKey(t, org)
	for range 3 {
		r.newKey(t, org)
	}
	until(t, "the lost key is good", func() bool { return r.outcome(t, lost.Secret) == "VALID" })

	nats.end(t, syscall.SIGKILL)
	nats.Dir = old
	nats.start(t)
	until(t, "the lost key is unknown", func() bool { return r.outcome(t, lost.Secret) == "NOT_FOUND" })
	if !strings.Contains(r.said.String(), "does not match the ledger") {
		t.Errorf("the log says %s", r.said)
	}
	until(t, "it is ready", func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil })
	// The stream of uses may still turn out to be another one, for which nothing is answered
	// for a moment.
	until(t, "the kept key is good", func() bool { return r.outcome(t, kept.Secret) == "VALID" })
	until(t, "the revocation is acknowledged", func() bool {
		return send(t.Context(), "POST", r.url+"/v1/keys/"+kept.Key.ID+"/revoke", r.rootKey(t), "", map[string]any{}, nil) == nil
	})
	until(t, "the kept key is refused", func() bool {
		got := r.outcome(t, kept.Secret)
		if got == "VALID" {
			t.Error("the revoked key is good")
		}
		return got == "REVOKED"
	})
}

// TestALedgerThatIsMadeAgainLeavesNoKeyGood takes the streams away and makes them again: no
// key of the old ledger opens anything, the root key included.
func TestALedgerThatIsMadeAgainLeavesNoKeyGood(t *testing.T) {
	_, urls := natsProcesses(t, 1)
	r := launch(t, t.TempDir(), "--nats-url", urls)
	m := r.newKey(t, r.newOrg(t))
	if got := r.outcome(t, m.Secret); got != "VALID" {
		t.Fatal(got)
	}
	js := watcher(t, urls)
	for _, name := range []string{"KEYTRAIL_EVENTS", "KEYTRAIL_USES"} {
		config := must(js.Stream(t.Context(), name)).CachedInfo().Config
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		must(js.CreateStream(t.Context(), config))
	}
	until(t, "the root key is unknown", func() bool {
		return r.says(t, "401", "POST", "/v1/verify", map[string]string{"key": m.Secret})
	})
	until(t, "it is ready", func() bool { return send(t.Context(), "GET", r.url+"/readyz", "", "", nil, nil) == nil })
}
