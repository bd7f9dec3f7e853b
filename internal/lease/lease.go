// Package lease lets one process of an installation do what one alone is to do: the holder of a
// message on a side of the ledger that is compared and set. Another one takes over from a holder
// that stops, or dies.
package lease

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// The times of a lease. A holder that could not renew it stops before another process takes it;
// each measures by its own monotonic clock, so that no clock has to be right. A holder that was
// frozen and does not know it yet must be harmless: fenced by what it puts, which is compared and
// set, or by commands whose ids are the same from each process.
const (
	renewEvery  = 2 * time.Second
	observeEach = time.Second     // how soon a lease that was released is taken
	heldFor     = 5 * time.Second // after the last renewal
	expiresIn   = 8 * time.Second // if no renewal was seen: two of them, and a NATS leader's election in between, may be late
)

// Name is what a lease is kept under in its side.
const Name = "lease"

// A state is the lease as the ledger has it.
type state struct {
	Holder string    `json:"holder"` // "": it was released
	Node   string    `json:"node"`
	Term   uint64    `json:"term"` // how often it changed hands
	At     time.Time `json:"at"`   // tells renewals apart, and an operator how old it is; nothing is judged by it
}

// Options say which lease it is, and who wants it.
type Options struct {
	Ledger *eventstore.Ledger
	Side   eventstore.Side
	Node   string // the name of this process, for operators
	Alone  bool   // no other process is at the ledger: its server is this one's own
	Logger *slog.Logger
	Now    func() time.Time
}

// A Lease is the right to do what it is for, while Held says so.
type Lease struct {
	Options
	Term     uint64
	holder   string
	revision eventstore.Position
	renewed  atomic.Pointer[time.Time] // when the last successful renewal was begun
}

// Run calls work whenever it can get the lease, until ctx ends. work returns when soft ends, with ctx,
// for an orderly end; hard ends when the lease is lost.
func Run(ctx context.Context, o Options, work func(soft, hard context.Context, l *Lease)) {
	holder := rand.Text() // tells this process from every other
	for ctx.Err() == nil {
		l, err := acquire(ctx, o, holder)
		if err != nil {
			return // ctx has ended
		}
		o.Logger.InfoContext(ctx, "this process has the lease now", "of", o.Side.String(), "term", l.Term)
		l.hold(ctx, work)
	}
}

// hold calls work, and renews the lease meanwhile.
func (l *Lease) hold(ctx context.Context, work func(soft, hard context.Context, l *Lease)) {
	hard, lose := context.WithCancel(context.WithoutCancel(ctx))
	defer lose()
	soft, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(hard, end)()
	renewing, stopRenewing := context.WithCancel(hard)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.renew(renewing)
		if renewing.Err() == nil {
			l.Logger.WarnContext(ctx, "this process has lost the lease: another one has it", "of", l.Side.String(), "term", l.Term)
			lose()
		}
	}()
	work(soft, hard, l)
	stopRenewing()
	<-done
	if hard.Err() == nil {
		l.release()
	}
}

// acquire waits for the lease. Its error is ctx's. A process that is alone at the ledger takes it
// at once: a holder that it finds was itself, before it was killed.
func acquire(ctx context.Context, o Options, holder string) (*Lease, error) {
	var seen eventstore.Position
	since := time.Now()
	for {
		now, err := o.Ledger.State(ctx, o.Side, Name)
		var s state
		if err == nil && now.Revision > 0 {
			err = json.Unmarshal(now.Data, &s)
		}
		if err == nil && now.Revision != seen {
			seen, since = now.Revision, time.Now()
		}
		if err == nil && (s.Holder == "" || s.Holder == holder || o.Alone || time.Since(since) >= expiresIn) {
			l := &Lease{Options: o, Term: s.Term + 1, holder: holder, revision: now.Revision}
			if l.put(ctx, holder) == nil {
				return l, nil
			}
		}
		if err := backoff.Sleep(ctx, backoff.Jitter(observeEach)); err != nil {
			return nil, err
		}
	}
}

// put writes the lease down, in the name of a holder.
func (l *Lease) put(ctx context.Context, holder string) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	data, err := json.Marshal(state{Holder: holder, Node: l.Node, Term: l.Term, At: l.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	revision, err := l.Ledger.PutState(ctx, l.Side, Name, l.revision, data)
	if err != nil {
		return err
	}
	l.revision = revision
	l.renewed.Store(&begun)
	return nil
}

// renew returns when the lease is lost or ctx ends.
func (l *Lease) renew(ctx context.Context) {
	for backoff.Sleep(ctx, renewEvery) == nil {
		err := l.put(ctx, l.holder)
		if errors.Is(err, eventstore.ErrConflict) || !l.Held() {
			return
		}
	}
}

// Held reports whether no other process can have the lease.
func (l *Lease) Held() bool { return time.Since(*l.renewed.Load()) < heldFor }

// release lets another process take the lease at once.
func (l *Lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
	defer cancel()
	if err := l.put(ctx, ""); err != nil {
		l.Logger.WarnContext(ctx, "the lease was not released; it expires", "of", l.Side.String(), "err", err)
	}
}
