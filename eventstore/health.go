package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

const (
	// maxSilence is how long the read model's reader may have heard nothing from the ledger
	// before what it has read is no longer good for a verification. The server sends a
	// heartbeat four times in that time.
	maxSilence = time.Second

	// maxUnproven is how long verifications go on without any append being acknowledged,
	// where they do not wait for one of their own: longer than an election.
	maxUnproven = Deadline

	// maxUnready is for how long any of the signs of life may be missing before the service
	// is not ready.
	maxUnready = 3 * time.Second

	// freshEvery is how often a request that waits for a fresh read model looks whether it is:
	// thousands may wait.
	freshEvery = 100 * time.Millisecond
)

// A streamHealth is what is known of one stream without asking for it. The read model's reader,
// the heartbeats and the appends keep it up to date; a verification reads it.
type streamHealth struct {
	end      atomic.Uint64             // the greatest position known to exist
	applied  atomic.Uint64             // the position up to which the read model's reader has delivered
	heard    atomic.Pointer[time.Time] // when the reader last heard from the server
	fresh    atomic.Pointer[time.Time] // the same, nil while the reader may lack something that was acknowledged
	answered atomic.Pointer[time.Time] // when the stream's leader last answered where the stream ends
	mismatch atomic.Bool               // the ledger is not the one that was read
	suspect  atomic.Bool               // it may not be; the reader is to compare its checkpoint
	halted   atomic.Bool               // the reader has given up
	wake     chan struct{}             // makes the reader look at what changed here
}

// advanceEnd notes that p exists.
func (h *streamHealth) advanceEnd(p Position) {
	for {
		end := h.end.Load()
		if uint64(p) <= end || h.end.CompareAndSwap(end, uint64(p)) {
			return
		}
	}
}

func (h *streamHealth) wakeReader() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// suspectLoss makes the reader compare its checkpoint with the ledger.
func (h *streamHealth) suspectLoss() {
	h.suspect.Store(true)
	h.wakeReader()
}

// Fresh is nil while the read model holds every event that was acknowledged more than a
// moment ago, in any process; a verification must not be answered otherwise. It reads
// memory alone. The embedded server has this process as its only client and freezes with it:
// there, silence says nothing.
func (l *Ledger) Fresh() error {
	if l.health[Events].mismatch.Load() || l.health[Uses].mismatch.Load() {
		return domain.ErrLedgerMismatch
	}
	if l.embedded {
		return nil
	}
	if overdue(l.health[Events].fresh.Load(), maxSilence) || overdue(l.acknowledged.Load(), maxUnproven) {
		return domain.ErrLedgerSilent
	}
	return nil
}

// AwaitFresh waits until Fresh is nil, which a new leader or a new consumer makes it; until
// ctx ends; or until a deadline. It costs no more than Fresh if all is well.
func (l *Ledger) AwaitFresh(ctx context.Context, deadline time.Time) error {
	err := l.Fresh()
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for errors.Is(err, domain.ErrLedgerSilent) && backoff.Sleep(ctx, freshEvery) == nil {
		err = l.Fresh()
	}
	return err
}

// CaughtUp reports whether the readers of both streams have passed an end that comes after
// everything that was acknowledged before they began.
func (l *Ledger) CaughtUp() bool {
	return l.health[Events].fresh.Load() != nil && l.health[Uses].fresh.Load() != nil
}

// overdue reports whether t is longer ago than d, or never was.
func overdue(t *time.Time, d time.Duration) bool { return t == nil || elapsed(*t, time.Now()) > d }

// elapsed is the time from a to b by the monotonic or the wall clock, whichever says more: one
// of them may stand still while the machine does.
func elapsed(a, b time.Time) time.Duration { return max(b.Sub(a), b.Round(0).Sub(a.Round(0))) }

// Health is what speaks against relying on the ledger, from memory: nothing, if Beat and a
// Follow of each stream run and all is well.
func (l *Ledger) Health() (problems []string) {
	add := func(is bool, format string, args ...any) {
		if is {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	add(!l.nc.IsConnected(), "there is no connection to the ledger")
	add(overdue(l.acknowledged.Load(), maxUnready), "no append was acknowledged for %v", maxUnready)
	add(errors.Is(l.Fresh(), domain.ErrLedgerSilent), "what was read may lack what was acknowledged a moment ago")
	for s := range l.health {
		h, s := &l.health[s], Stream(s)
		add(h.mismatch.Load(), "the stream of %s is not the one that was read", s)
		add(h.halted.Load(), "the reader of %s has stopped", s)
		add(overdue(h.heard.Load(), maxUnready), "the reader of %s heard nothing for %v", s, maxUnready)
		add(overdue(h.answered.Load(), maxUnready), "the stream of %s has no leader that answers", s)
		add(h.suspect.Load(), "the stream of %s ends before what was read of it", s)
	}
	return problems
}
