package commands

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
	"github.com/keytrail/keytrail/internal/tracing"
)

// An aggregate is a domain type with a history.
type aggregate[A any] interface {
	*A
	Apply(domain.Event)
}

// A result is an aggregate after a command.
type result[A any] struct {
	state    A
	position eventstore.Position // of its last event
	replayed bool                // an earlier call wrote the command's event
	changed  bool                // the command wrote an event, in this call or an earlier one
}

// An assumption is what an aggregate is taken for before its history is loaded: that it has
// none, or what the read model says. The append names the position, so that an assumption
// which is old costs a conflict, and never correctness: only an event is written on it, and
// nothing is refused before what came since is loaded. nil: the whole history is loaded first.
type assumption[A any] struct {
	state    A
	position eventstore.Position
	base     bool // only what came since is loaded: of an aggregate whose state tells what was carried out
}

// execute carries out a command on one aggregate: it loads the history, decides, and appends
// at most one event, on the condition that the history has not grown meanwhile. It is the
// only place that does so and that tries again, until ctx or eventstore.Deadline ends.
//
// A command whose event is in the history already has been carried out. That one look-up
// covers lost acknowledgements, repeated requests and Idempotency-Key alike. An assumption must
// be of a history without the command.
func execute[A any, P aggregate[A]](ctx context.Context, h *Handler, ref eventstore.Ref, r Request, assumed *assumption[A], decide func(A) (domain.Event, error)) (_ result[A], err error) {
	ctx, finish := tracing.Start(ctx, "decide")
	defer func() { finish(err) }()
	ctx, cancel := context.WithTimeout(ctx, eventstore.Deadline)
	defer cancel()
	r.identify()

	command := eventstore.Command{ID: r.CommandID, Fingerprint: r.Fingerprint, Actor: r.By.ID, Correlation: r.Correlation}
	var current result[A]
	unsure := false // an append may have written the event although it failed
	write := func(event domain.Event) error {
		at, err := h.ledger.Append(ctx, ref, current.position, command, event)
		if err != nil {
			unsure = unsure || eventstore.FailureOf(err) == eventstore.Unknown
			return err
		}
		P(&current.state).Apply(event)
		current.position, current.changed = at, true
		h.log.DebugContext(ctx, "event written", "type", domain.TypeOf(event), "aggregate", ref.ID, "position", at)
		return nil
	}
	if assumed != nil && assumed.base {
		current.state, current.position = assumed.state, assumed.position
	} else if assumed != nil && r.IfMatch == 0 {
		current.state, current.position = assumed.state, assumed.position
		if event, err := decide(current.state); err == nil && event != nil {
			if err = write(event); err == nil {
				return current, nil
			}
			if eventstore.FailureOf(err) == eventstore.Refused {
				return result[A]{}, err
			}
		}
		current = result[A]{state: assumed.state, position: assumed.position}
	}
	var search historySearch
	for attempt := 0; ; attempt++ {
		// 1. Load the history: what is not assumed of it at first, then what came since the last attempt.
		end, err := h.ledger.Load(ctx, ref, current.position, func(record eventstore.Record) {
			P(&current.state).Apply(record.Event)
			search.visit(record.Command, r)
		})
		if err != nil {
			return result[A]{}, err
		}
		current.position = end

		// 2. Decide, unless the command was carried out before.
		if search.mismatch {
			return result[A]{}, domain.ErrIdempotencyMismatch
		}
		if search.found {
			current.replayed, current.changed = !unsure, true
			return current, nil
		}
		if r.IfMatch != 0 && r.IfMatch != end {
			return result[A]{}, domain.ErrRevisionStale
		}
		event, err := decide(current.state)
		if err != nil || event == nil {
			return current, err
		}

		// 3. Append. After an error the event may be written all the same, or another writer
		// was quicker: the next load tells.
		if err = write(event); err == nil {
			return current, nil
		}
		if eventstore.FailureOf(err) == eventstore.Refused {
			return result[A]{}, err
		}
		if backoff.Sleep(ctx, retryDelay(attempt)) != nil {
			return result[A]{}, timedOut(err)
		}
	}
}

// retryDelay is the pause after a failed attempt: 1 ms, and at random up to 10 ms more,
// 20 ms after the next, and so on to 160 ms. The wide spread lets some of many writers that
// lost one race through: on three replicas an append that is under way makes every other
// one to its aggregate a conflict.
func retryDelay(attempt int) time.Duration {
	spread := 10 * time.Millisecond << min(attempt, 4)
	return time.Millisecond + rand.N(spread)
}

// timedOut is the error of a command whose time was up after its last attempt failed with err.
func timedOut(err error) error {
	if eventstore.FailureOf(err) == eventstore.Conflict {
		return fmt.Errorf("%w: %w", domain.ErrKeyBusy, err)
	}
	return err
}
