package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// appendKey appends the creation of the n-th key, after a position of its history.
func appendKey(ctx context.Context, l *eventstore.Ledger, n int, after eventstore.Position) (eventstore.Position, error) {
	e := created(n)
	return l.Append(ctx, eventstore.KeyRef(org, e.ID), after, eventstore.Command{ID: fmt.Sprint(n)}, e)
}

// An outcome is what one of several concurrent appends answered.
type outcome struct {
	at  eventstore.Position
	err error
}

// holdFirst holds the next append back, until letGo: those that come meanwhile wait.
func holdFirst(l *eventstore.Ledger) (held <-chan struct{}, letGo func()) {
	arrived, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.AroundSingles(func(do func() error) error {
		once.Do(func() { close(arrived); <-released })
		return do()
	})
	return arrived, func() { close(released) }
}

// appendTogether appends the creations of keys 0 to n-1, all but the first as one batch. after
// is the position that each names.
func appendTogether(t *testing.T, l *eventstore.Ledger, n int, after func(i int) eventstore.Position) []outcome {
	t.Helper()
	held, letGo := holdFirst(l)
	all := make([]outcome, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].at, all[i].err = appendKey(t.Context(), l, i, after(i)) })
		if i == 0 {
			<-held
		}
	}
	until(t, "all wait", func() bool { return l.Waiting() == n-1 })
	letGo()
	wg.Wait()
	return all
}

func asNew(int) eventstore.Position { return 0 }

// historyOf is how many events a key has, the last one at end.
func historyOf(t *testing.T, l *eventstore.Ledger, n int) (events int, end eventstore.Position) {
	t.Helper()
	end, err := l.Load(t.Context(), eventstore.KeyRef(org, created(n).ID), 0, func(eventstore.Record) { events++ })
	if err != nil {
		t.Fatal(err)
	}
	return events, end
}

func TestEventsThatMeetShareABatch(t *testing.T) {
	l := eventstoretest.New(t)
	batches := countBatches(l)
	const keys = 100
	for i, o := range appendTogether(t, l, keys, asNew) {
		if events, end := historyOf(t, l, i); o.err != nil || events != 1 || end != o.at {
			t.Errorf("key %d: answered %d, %v; it has %d events up to %d", i, o.at, o.err, events, end)
		}
	}
	if n := batches(); len(n) != 1 || n[0] != keys-1 {
		t.Errorf("batches of %d events, want one of %d", n, keys-1)
	}
	if end, err := l.End(t.Context(), eventstore.Events); err != nil || end != keys {
		t.Errorf("the stream ends at %d, %v", end, err)
	}
}

// countBatches gives the sizes of the batches that were sent since.
func countBatches(l *eventstore.Ledger) func() []int {
	var mu sync.Mutex
	var sizes []int
	l.AroundBatches(func(n int, do func() error) error {
		mu.Lock()
		sizes = append(sizes, n)
		mu.Unlock()
		return do()
	})
	return func() []int { mu.Lock(); defer mu.Unlock(); return sizes }
}

// One stale member refuses a batch: it alone conflicts, and the others are written once.
func TestAStaleMemberDoesNotKeepTheOthersOut(t *testing.T) {
	l := eventstoretest.New(t)
	batches := countBatches(l)
	const keys, stale = 60, 31
	for i, o := range appendTogether(t, l, keys, func(i int) eventstore.Position {
		if i == stale {
			return 7
		}
		return 0
	}) {
		events, _ := historyOf(t, l, i)
		switch {
		case i == stale && (eventstore.FailureOf(o.err) != eventstore.Conflict || events != 0):
			t.Errorf("the stale one: %v, %d events", o.err, events)
		case i != stale && (o.err != nil || events != 1):
			t.Errorf("key %d: %v, %d events", i, o.err, events)
		}
	}
	if n := batches(); len(n) != 1 {
		t.Errorf("batches of %d events, want one", n)
	}
}

// Whatever becomes of a batch's acknowledgement, each member is written once, and is told so
// or told that it is unknown.
func TestALostAcknowledgementOfABatchIsUnknownToEachMember(t *testing.T) {
	for name, written := range map[string]bool{"before it is written": false, "after it is": true} {
		t.Run(name, func(t *testing.T) {
			l := eventstoretest.New(t)
			l.AroundBatches(func(_ int, do func() error) error {
				if written {
					if err := do(); err != nil {
						t.Error(err)
					}
				}
				return nats.ErrTimeout
			})
			for i, o := range appendTogether(t, l, 40, asNew) {
				events, end := historyOf(t, l, i)
				told := o.err == nil && o.at == end
				if i > 0 && written {
					told = eventstore.FailureOf(o.err) == eventstore.Unknown
				}
				if events != 1 || !told {
					t.Errorf("key %d: answered %d, %v; it has %d events up to %d", i, o.at, o.err, events, end)
				}
			}
		})
	}
}

// Events of one aggregate are never in one batch, nor in one after another: the second is
// stale, and would refuse all.
func TestEventsOfOneAggregateAreKeptApart(t *testing.T) {
	l := eventstoretest.New(t)
	batches := countBatches(l)
	var wins, conflicts int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			_, err := appendKey(t.Context(), l, i%100, 0)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				wins++
			case eventstore.FailureOf(err) == eventstore.Conflict:
				conflicts++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins != 100 || conflicts != 300 {
		t.Errorf("%d wins, %d conflicts", wins, conflicts)
	}
	if len(batches()) == 0 {
		t.Error("no batch was sent, which proves little")
	}
}

// A member that has no more time is answered at once, and the others do not notice.
func TestAMemberLeavesWithItsContext(t *testing.T) {
	for name, c := range map[string]struct {
		sent   bool
		want   eventstore.Failure
		events int
	}{
		"while it waits": {false, eventstore.Unavailable, 0},
		"on its way":     {true, eventstore.Unknown, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := eventstoretest.New(t)
			sent, commit := make(chan struct{}), make(chan struct{})
			l.AroundBatches(func(_ int, do func() error) error {
				close(sent)
				<-commit
				return do()
			})
			const others = 30
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			left := make(chan error, 1)
			held, letGo := holdFirst(l)
			var wg sync.WaitGroup
			for i := range others {
				wg.Go(func() {
					if _, err := appendKey(t.Context(), l, i, 0); err != nil {
						t.Error(err)
					}
				})
				if i == 0 {
					<-held
				}
			}
			go func() {
				_, err := appendKey(ctx, l, others, 0)
				left <- err
			}()
			until(t, "all wait", func() bool { return l.Waiting() == others })
			if c.sent {
				letGo()
				<-sent
			}
			leave()
			if err := <-left; eventstore.FailureOf(err) != c.want || !errors.Is(err, context.Canceled) {
				t.Errorf("answered %v", err)
			}
			if !c.sent {
				letGo()
			}
			close(commit)
			wg.Wait()
			if events, _ := historyOf(t, l, others); events != c.events {
				t.Errorf("%d events, want %d", events, c.events)
			}
		})
	}
}
