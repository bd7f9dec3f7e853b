package commands_test

import (
	"bytes"
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

// expiring is a key with a time to live.
func (f fixture) expiring(ttl time.Duration) domain.KeyID {
	f.t.Helper()
	c := f.simple()
	c.TTL = domain.Duration(ttl)
	return f.create(c).Key.ID
}

// expiries is how often the expiry of a key was written down.
func (f fixture) expiries(id domain.KeyID) (n int) {
	f.t.Helper()
	_, err := f.ledger.Load(f.t.Context(), eventstore.KeyRef(f.org, id), 0, func(r eventstore.Record) {
		if _, is := r.Event.(domain.KeyExpired); is {
			n++
		}
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// readModel is a read model that has all of the ledger.
func (f fixture) readModel() *projections.Store {
	f.t.Helper()
	store, err := projections.Open(f.t.TempDir(), projections.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx, f.ledger.Ledger) }()
	f.t.Cleanup(func() {
		stop()
		<-done
		if err := store.Close(); err != nil {
			f.t.Error(err)
		}
	})
	f.wait(store)
	return store
}

// wait returns when store has all of the ledger.
func (f fixture) wait(store *projections.Store) {
	f.t.Helper()
	end, err := f.ledger.End(f.t.Context(), eventstore.Events)
	if err == nil {
		err = store.WaitFor(f.t.Context(), end)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// Passes go by the handler's clock, and write each expiry once, whether or not the read
// model has it by the next one.
func TestAnExpiryIsWrittenOnceByTheHandlersClock(t *testing.T) {
	f := setUp(t)
	soon, later := f.expiring(time.Hour), f.expiring(3*time.Hour)
	store := f.readModel()
	clock := time.Now()
	h := commands.New(f.ledger, commands.Options{Now: func() time.Time { return clock }})
	for _, pass := range []struct {
		ahead       time.Duration
		soon, later int
	}{{0, 0, 0}, {2 * time.Hour, 1, 0}, {2 * time.Hour, 1, 0}, {4 * time.Hour, 1, 1}} {
		clock = time.Now().Add(pass.ahead)
		h.ExpireOverdue(t.Context(), store)
		h.ExpireOverdue(t.Context(), store)
		if a, b := f.expiries(soon), f.expiries(later); a != pass.soon || b != pass.later {
			t.Errorf("%s ahead the expiries were written %d and %d times, want %d and %d", pass.ahead, a, b, pass.soon, pass.later)
		}
		f.wait(store)
	}
}

// The first of two overdue keys has a history that cannot be read: an event of a newer version.
func TestOneKeyKeepsNoOtherFromExpiring(t *testing.T) {
	server := eventstoretest.Server(t)
	f := setUpOn(t, eventstoretest.Open(t, server))
	poisoned, plain := f.expiring(time.Hour), f.expiring(2*time.Hour)
	store := f.readModel()
	newer := nats.NewMsg("keytrail.events." + string(f.org) + ".key." + string(poisoned))
	newer.Header.Set("Event-Type", "key.teleported")
	if _, err := eventstoretest.JetStream(t, server).PublishMsg(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	h := commands.New(f.ledger, commands.Options{Logger: slog.New(slog.NewTextHandler(&said, nil)),
		Now: func() time.Time { return time.Now().Add(3 * time.Hour) }})
	h.ExpireOverdue(t.Context(), store)
	if n := f.expiries(plain); n != 1 {
		t.Errorf("the other key's expiry was written %d times", n)
	}
	if !strings.Contains(said.String(), "keys=1") {
		t.Errorf("the log says %s", &said)
	}
}

// An overdueKey is an index with one key, which tells of each pass.
type overdueKey struct {
	key    domain.Key
	passes chan struct{}
}

func (o overdueKey) Overdue(time.Time, int) ([]domain.Key, error) {
	o.passes <- struct{}{}
	return []domain.Key{o.key}, nil
}

func TestKeysExpireUntilTheEnd(t *testing.T) {
	commands.SetExpireEvery(t, time.Millisecond)
	f := setUp(t)
	index := overdueKey{domain.Key{Org: f.org, ID: f.expiring(time.Hour)}, make(chan struct{})}
	h := commands.New(f.ledger, commands.Options{Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.ExpireKeys(ctx, index); close(done) }()
	for range 3 {
		<-index.passes
	}
	stop()
	for stopped := false; !stopped; {
		select {
		case <-index.passes:
		case <-done:
			stopped = true
		}
	}
	if n := f.expiries(index.key.ID); n != 1 {
		t.Errorf("the expiry was written %d times", n)
	}
}
