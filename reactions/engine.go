// Package reactions carries out what follows from events about people: a key for each new user or
// member where a keyspace says so, and the end of the keys of those who are gone.
//
// One process of an installation does it at a time, the holder of a lease. It reads the events in
// their order from a position that is kept beside the ledger, and moves that on when what follows
// from an event is on the ledger. What was done and not noted, because the process was killed, is
// done again; so is what another process, which has lost the lease and does not know it yet, is
// about to do. Both change nothing: which commands follow from an event is decided by the ledger
// up to it, the id of a key's creation follows from the event's, and revoking is final.
//
// A command that fails is tried again, and holds what comes after it up. One that is refused is
// counted, logged and noted, and does not.
package reactions

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/keytrail/keytrail/internal/lease"
	"github.com/keytrail/keytrail/projections"
)

// Options are what an Engine stands on. Those below Commands may be left out.
type Options struct {
	Ledger   *eventstore.Ledger
	Store    *projections.Store
	Commands *commands.Handler

	Node    string // the name of this process, for operators
	Alone   bool   // no other process is at the ledger: its server is this one's own
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // tells how old events are, and when something failed; nil: time.Now
}

// An Engine reacts to events while it has the lease. It is safe for concurrent use.
type Engine struct {
	Options
	metrics *metrics
}

// New is an engine that does not run yet.
func New(o Options) *Engine {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{Options: o, metrics: newMetrics(o.Metrics, o.Now)}
}

// Run reacts whenever it can get the lease, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	lease.Run(ctx, lease.Options{Ledger: e.Ledger, Side: eventstore.Reactions, Node: e.Node, Alone: e.Alone, Logger: e.Logger, Now: e.Now}, e.hold)
	return nil
}

// The pauses after a failure. They double from the first to the longest.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// hold reacts while this process has the lease.
func (e *Engine) hold(ctx, _ context.Context, l *lease.Lease) {
	e.metrics.lead(true)
	defer e.metrics.lead(false)
	t := &tenure{Engine: e, lease: l}
	for pause := firstPause; ctx.Err() == nil; {
		before := t.checkpoint.Position
		err := t.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if t.checkpoint.Position > before {
			pause = firstPause
		}
		t.fail(ctx, err)
		if backoff.Sleep(ctx, backoff.Jitter(pause)) != nil {
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// A tenure is the time in which a process has the lease. One goroutine uses it.
type tenure struct {
	*Engine
	lease      *lease.Lease
	checkpoint checkpoint
	revision   eventstore.Position // of the checkpoint on the ledger; 0: there is none
	keyspaces  map[string]*domain.Keyspace
}

// kinds are the aggregates whose events something follows from, and the keyspaces, which say what.
var kinds = []string{"user", "members", "keyspace"}

// run reacts to all that comes after the checkpoint, until something fails. Its steps:
//
//  1. The checkpoint is read.
//  2. The keyspaces are read as they were there.
//  3. The read model gets what former holders wrote.
//  4. Events are read, and reacted to.
func (t *tenure) run(ctx context.Context) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	t.keyspaces = map[string]*domain.Keyspace{}
	define := func(b eventstore.Batch) error {
		for i := range b.Records {
			t.define(&b.Records[i])
		}
		return nil
	}
	if at := t.checkpoint.Position; at > 0 {
		if err := t.Ledger.Read(ctx, eventstore.Query{Stream: eventstore.Events, Reach: domain.All, Kinds: kinds[2:], Upto: at}, define); err != nil {
			return err
		}
	}
	end, err := t.Ledger.End(ctx, eventstore.Events)
	if err == nil {
		err = t.Store.WaitFor(ctx, end)
	}
	if err != nil {
		return err
	}
	return t.Ledger.Read(ctx, t.after(t.checkpoint.Position), func(b eventstore.Batch) error { return t.react(ctx, b) })
}

// after is what there is to react to after a position.
func (e *Engine) after(p eventstore.Position) eventstore.Query {
	return eventstore.Query{Stream: eventstore.Events, Reach: domain.All, Kinds: kinds, After: p, Live: true}
}

var errLeaseLost = errors.New("the lease could not be renewed")

// react carries out what follows from a batch, and then moves the checkpoint on.
func (t *tenure) react(ctx context.Context, b eventstore.Batch) error {
	if !t.lease.Held() {
		return errLeaseLost
	}
	t.metrics.begin(&b)
	p := t.plan(b.Records)
	if len(p.people) > 0 {
		if err := t.Store.WaitFor(ctx, b.Checkpoint.Position); err != nil {
			return err
		}
		if err := p.carryOut(ctx); err != nil {
			return err
		}
	}
	c := t.checkpoint
	c.Position, c.Event = b.Checkpoint.Position, b.Messages[len(b.Messages)-1].ID()
	c.FailingSince = time.Time{}
	c.add(p.done)
	if err := t.put(ctx, c); err != nil {
		return err
	}
	t.metrics.done(p.done, b.Pending)
	return nil
}

// fail notes that something failed, on the ledger too if it can.
func (t *tenure) fail(ctx context.Context, err error) {
	t.metrics.fail()
	t.Logger.WarnContext(ctx, "reactions to events wait; will try again", "position", t.checkpoint.Position, "err", err)
	c := t.checkpoint
	c.LastError, c.LastErrorAt = err.Error(), t.now()
	if c.FailingSince.IsZero() {
		c.FailingSince = c.LastErrorAt
	}
	t.checkpoint = c
	if !t.lease.Held() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	_ = t.put(ctx, c) // it is the ledger, most likely, which has failed
}

// noteTimeout is how long the note that something failed may take.
const noteTimeout = 2 * time.Second

// now is to the millisecond, as all times are that the API shows.
func (e *Engine) now() time.Time { return e.Now().UTC().Truncate(time.Millisecond) }
