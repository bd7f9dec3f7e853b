package forwarders

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// The times of the lease. A holder that could not renew it stops before another process takes it;
// each measures by its own monotonic clock, so that no clock has to be right. A holder that was
// frozen and does not know it yet is fenced by its checkpoints, which are compared and set.
const (
	renewEvery  = 2 * time.Second
	observeEach = time.Second     // how soon a lease that was released is taken
	heldFor     = 5 * time.Second // after the last renewal
	expiresIn   = 8 * time.Second // if no renewal was seen: two of them, and a NATS leader's election in between, may be late
)

// A leaseState is the lease as the ledger has it.
type leaseState struct {
	Holder string    `json:"holder"` // "": it was released
	Node   string    `json:"node"`
	Term   uint64    `json:"term"` // how often it changed hands
	At     time.Time `json:"at"`   // tells renewals apart, and an operator how old it is; nothing is judged by it
}

// A lease is the right to forward, while held says so.
type lease struct {
	engine   *Engine
	term     uint64
	revision eventstore.Position
	renewed  atomic.Pointer[time.Time] // when the last successful renewal was begun
}

// acquire waits for the lease. Its error is ctx's. A process that is alone at the ledger takes it
// at once: a holder that it finds was itself, before it was killed.
func (e *Engine) acquire(ctx context.Context) (*lease, error) {
	var seen eventstore.Position
	since := time.Now()
	for {
		now, err := e.Ledger.SinkState(ctx, eventstore.LeaseState)
		var s leaseState
		if err == nil && now.Revision > 0 {
			err = json.Unmarshal(now.Data, &s)
		}
		if err == nil && now.Revision != seen {
			seen, since = now.Revision, time.Now()
		}
		if err == nil && (s.Holder == "" || s.Holder == e.holder || e.Alone || time.Since(since) >= expiresIn) {
			l := &lease{engine: e, term: s.Term + 1, revision: now.Revision}
			if l.put(ctx, e.holder) == nil {
				return l, nil
			}
		}
		if err := backoff.Sleep(ctx, backoff.Jitter(observeEach)); err != nil {
			return nil, err
		}
	}
}

// put writes the lease down, in the name of a holder.
func (l *lease) put(ctx context.Context, holder string) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	data, err := json.Marshal(leaseState{Holder: holder, Node: l.engine.Node, Term: l.term, At: l.engine.now()})
	if err != nil {
		return err
	}
	revision, err := l.engine.Ledger.PutSinkState(ctx, eventstore.LeaseState, l.revision, data)
	if err != nil {
		return err
	}
	l.revision = revision
	l.renewed.Store(&begun)
	return nil
}

// renew returns when the lease is lost or ctx ends.
func (l *lease) renew(ctx context.Context) {
	for backoff.Sleep(ctx, renewEvery) == nil {
		err := l.put(ctx, l.engine.holder)
		if errors.Is(err, eventstore.ErrConflict) || !l.held() {
			return
		}
	}
}

// held reports whether no other process can have the lease.
func (l *lease) held() bool { return time.Since(*l.renewed.Load()) < heldFor }

// release lets another process take the lease at once.
func (l *lease) release() {
	ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
	defer cancel()
	if err := l.put(ctx, ""); err != nil {
		l.engine.Logger.WarnContext(ctx, "the lease of sinks was not released; it expires", "err", err)
	}
}
