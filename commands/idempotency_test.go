package commands_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// held is a log whose next append waits, until it is let go, to be written.
type held struct {
	*eventstore.Ledger
	arrived, letGo chan struct{}
}

func (l *held) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	if l.arrived != nil {
		close(l.arrived)
		l.arrived = nil
		<-l.letGo
	}
	return l.Ledger.Append(ctx, ref, after, c, e)
}

// repeatable is a create under an Idempotency-Key.
func (f fixture) repeatable(org domain.OrgID, command, request string) commands.CreateKey {
	c := f.simple()
	c.Org, c.CommandID, c.Fingerprint = org, command, request
	return c
}

func (f fixture) anotherOrg() domain.OrgID {
	f.t.Helper()
	o, err := f.CreateOrganization(f.t.Context(), commands.CreateOrganization{Request: by(domain.System), Name: "globex"})
	if err != nil {
		f.t.Fatal(err)
	}
	return o.Organization.ID
}

func TestAnotherRequestIsRefusedWhileTheFirstIsCarriedOut(t *testing.T) {
	f := setUp(t)
	other := f.anotherOrg()
	l := &held{Ledger: f.ledger.Ledger, arrived: make(chan struct{}), letGo: make(chan struct{})}
	arrived := l.arrived
	h := commands.New(l, commands.Options{})
	done := make(chan error)
	go func() {
		_, err := h.CreateKey(t.Context(), f.repeatable(f.org, "once", "a"))
		done <- err
	}()
	<-arrived
	if _, err := h.CreateKey(t.Context(), f.repeatable(other, "once", "b")); !errors.Is(err, domain.ErrIdempotencyMismatch) {
		t.Errorf("meanwhile: %v", err)
	}
	close(l.letGo)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := h.CreateKey(t.Context(), f.repeatable(other, "once", "b")); !errors.Is(err, domain.ErrIdempotencyMismatch) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestRequestsThatRaceOnTwoNodesShareNoID carries out two under one command id on nodes
// that know nothing of each other. Each repeat finds what its own request did.
func TestRequestsThatRaceOnTwoNodesShareNoID(t *testing.T) {
	f := setUp(t)
	other := f.anotherOrg()
	one, two := commands.New(f.ledger.Ledger, commands.Options{}), commands.New(f.ledger.Ledger, commands.Options{})
	a, err := one.CreateKey(t.Context(), f.repeatable(f.org, "once", "a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.CreateKey(t.Context(), f.repeatable(other, "once", "b"))
	if err != nil || a.Key.ID == b.Key.ID {
		t.Fatalf("%s and %s, %v", a.Key.ID, b.Key.ID, err)
	}
	for name, h := range map[string]*commands.Handler{"one": one, "two": two} {
		again, err := h.CreateKey(t.Context(), f.repeatable(f.org, "once", "a"))
		if err != nil || again.Key.ID != a.Key.ID || !again.Replayed {
			t.Errorf("the first at %s: %+v, %v", name, again, err)
		}
		if again, err = h.CreateKey(t.Context(), f.repeatable(other, "once", "b")); err != nil || again.Key.ID != b.Key.ID || !again.Replayed {
			t.Errorf("the second at %s: %+v, %v", name, again, err)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	commands.SetMaxRemembered(t, 10)
	f := setUp(t)
	now := time.Now()
	h := commands.New(f.ledger, commands.Options{Now: func() time.Time { return now }})
	for i := range 30 {
		if _, err := h.CreateKey(t.Context(), f.repeatable(f.org, fmt.Sprint("c", i), "r")); err != nil {
			t.Fatal(err)
		}
		c := f.repeatable(f.org, fmt.Sprint("refused", i), "r")
		c.ExpiresAt = now.Add(-time.Hour)
		if _, err := h.CreateKey(t.Context(), c); err == nil {
			t.Fatal("an expiry in the past")
		}
	}
	if n := h.Remembered(); n != 10 {
		t.Errorf("%d requests are remembered", n)
	}
	now = now.Add(25 * time.Hour)
	if _, err := h.CreateKey(t.Context(), f.repeatable(f.org, "later", "r")); err != nil {
		t.Fatal(err)
	}
	if n := h.Remembered(); n != 1 {
		t.Errorf("a day later %d requests are remembered", n)
	}
}

// TestALostAcknowledgementIsNoOtherRequest gives up on an append that was written.
func TestALostAcknowledgementIsNoOtherRequest(t *testing.T) {
	f := setUp(t)
	other := f.anotherOrg()
	ctx, cancel := context.WithCancel(t.Context())
	h := commands.New(&crashing{f.ledger.Ledger, 1, true, cancel}, commands.Options{})
	if _, err := h.CreateKey(ctx, f.repeatable(f.org, "once", "a")); err == nil {
		t.Fatal("the acknowledgement was not lost")
	}
	if _, err := h.CreateKey(t.Context(), f.repeatable(other, "once", "b")); !errors.Is(err, domain.ErrIdempotencyMismatch) {
		t.Errorf("another request: %v", err)
	}
	again, err := h.CreateKey(t.Context(), f.repeatable(f.org, "once", "a"))
	if err != nil || !again.Replayed {
		t.Errorf("the repeat: %+v, %v", again, err)
	}
}
