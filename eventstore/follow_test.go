package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// A followed ledger is one whose events are read as the read model reads them.
type followed struct {
	*eventstore.Ledger
	js   jetstream.JetStream
	end  eventstore.Position
	ref  eventstore.Ref
	stop func() error // ends the reader, and tells how it ended
}

// follow has n events, all of them read.
func follow(t *testing.T, n int) *followed {
	t.Helper()
	nc, err := eventstoretest.Server(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	f := &followed{ref: eventstore.KeyRef(org, created(1).ID)}
	if f.Ledger, err = eventstore.Open(t.Context(), nc, eventstore.Options{}); err != nil {
		t.Fatal(err)
	}
	if f.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, seen := make(chan error, 1), make(chan eventstore.Position, n)
	go func() {
		ended <- f.Follow(ctx, eventstore.Events, eventstore.Checkpoint{}, 1, func(b eventstore.Batch) error { seen <- b.Checkpoint.Position; return nil })
	}()
	f.stop = func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
	for i := range n {
		if f.end, err = f.Append(t.Context(), f.ref, f.end, eventstore.Command{ID: fmt.Sprint(i)}, domain.KeyDisabled{Header: domain.Header{At: noon}}); err != nil {
			t.Fatal(err)
		}
		if at := <-seen; at != f.end {
			t.Fatalf("read %d, want %d", at, f.end)
		}
	}
	return f
}

// remake makes the stream again, empty.
func (f *followed) remake(t *testing.T) {
	t.Helper()
	s, err := f.js.Stream(t.Context(), "KEYTRAIL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	remake(t, f.js, s.CachedInfo().Config)
}

// An append that is given a position which was read before is not a success: the ledger is
// another one, and what was written would never be applied.
func TestAPositionGivenAwayTwiceIsAMismatch(t *testing.T) {
	f := follow(t, 3)
	_ = f.stop()
	f.remake(t)
	if _, err := f.Append(t.Context(), f.ref, 0, eventstore.Command{}, created(1)); !errors.Is(err, domain.ErrLedgerMismatch) {
		t.Errorf("append: %v", err)
	}
	if err := f.Fresh(); !errors.Is(err, domain.ErrLedgerMismatch) {
		t.Errorf("what was read counts as fresh: %v", err)
	}
	if _, err := f.Append(t.Context(), f.ref, 0, eventstore.Command{}, created(1)); !errors.Is(err, domain.ErrLedgerMismatch) {
		t.Errorf("a second append: %v", err)
	}
}

// A reader whose stream was made again under it ends.
func TestAStreamMadeAgainEndsItsReader(t *testing.T) {
	f := follow(t, 3)
	f.remake(t)
	until(t, "the reader notices", func() bool { return errors.Is(f.Fresh(), domain.ErrLedgerMismatch) })
	if err := f.stop(); !errors.Is(err, domain.ErrLedgerMismatch) {
		t.Errorf("it ended with %v", err)
	}
}

// An event of a newer version stops the reader, which says so; it is not skipped.
func TestAnEventOfANewerVersionStopsTheReader(t *testing.T) {
	f := follow(t, 1)
	newer := nats.NewMsg("keytrail.events." + string(org) + ".key.k")
	newer.Header.Set("Event-Type", "key.teleported")
	if _, err := f.js.PublishMsg(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader has stopped", func() bool { return slices.Contains(f.Health(), "the reader of events has stopped") })
	if err := f.stop(); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// TestWhatComesMeanwhileComesTogether: a live reader that is slow gets fewer and larger batches.
func TestWhatComesMeanwhileComesTogether(t *testing.T) {
	const n = 50
	l := eventstoretest.New(t)
	use(t, l, org, "k", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	batches, read := 0, 0
	ended := make(chan error, 1)
	go func() {
		ended <- l.Read(ctx, eventstore.Query{Stream: eventstore.Uses, Reach: domain.All, Live: true}, func(b eventstore.Batch) error {
			if batches++; batches == 1 {
				close(begun)
				<-goOn
			}
			if read += len(b.Messages); read == 1+n {
				cancel()
			}
			return nil
		})
	}()
	<-begun
	for range n {
		use(t, l, org, "k", 1)
	}
	close(goOn)
	if err := <-ended; !errors.Is(err, context.Canceled) || batches > n/2 {
		t.Errorf("%d messages in %d batches: %v", read, batches, err)
	}
}
