package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// TestOneKeyHoldsNoOthersExpiryUp gives the first of two overdue keys a history that cannot
// be read: an event of a newer version.
func TestOneKeyHoldsNoOthersExpiryUp(t *testing.T) {
	nc := must(eventstoretest.Server(t).Connect())
	defer nc.Close()
	l := must(eventstore.Open(t.Context(), nc, eventstore.Options{}))
	h := commands.New(l, commands.Options{})
	org := must(h.CreateOrganization(t.Context(), commands.CreateOrganization{Request: commands.Request{By: domain.System}, Name: "Acme"})).Organization.ID
	expiring := func(ttl time.Duration) domain.KeyID {
		return must(h.CreateKey(t.Context(), commands.CreateKey{Request: commands.Request{By: domain.System}, Org: org,
			Settings: domain.Settings{Name: "brief"}, TTL: domain.Duration(ttl)})).Key.ID
	}
	poisoned, plain := expiring(time.Millisecond), expiring(2*time.Millisecond)

	store := must(projections.Open(t.TempDir(), projections.Options{}))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- store.Run(ctx, l) }()
	if err := store.WaitFor(t.Context(), must(l.End(t.Context(), eventstore.Events))); err != nil {
		t.Fatal(err)
	}
	newer := nats.NewMsg("keytrail.events." + string(org) + ".key." + string(poisoned))
	newer.Header.Set("Event-Type", "key.teleported")
	must(nc.RequestMsg(newer, 5*time.Second))

	said := &safeBuffer{}
	go func() {
		done <- expirePass(ctx, store, h, slog.New(slog.NewTextHandler(said, nil)))
	}()
	until(t, "the other key's expiry is on the ledger", func() bool {
		expired := false
		_ = must(l.Load(t.Context(), eventstore.KeyRef(org, plain), 0, func(r eventstore.Record) {
			_, is := r.Event.(domain.KeyExpired)
			expired = expired || is
		}))
		return expired
	})
	until(t, "the log tells of the key that it cannot write to", func() bool { return strings.Contains(said.String(), "keys=1") })
	stop()
	<-done
	<-done
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(said.String(), "keys=2") {
		t.Errorf("the log says %s", said)
	}
}
