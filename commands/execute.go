package commands

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/tracing"
)

// ErrKeyBusy says that a command lost every race for its aggregate until its deadline.
var ErrKeyBusy = &domain.Error{Kind: domain.Unavailable, Code: "key_busy", Text: "too many changes at once; repeat the request with the same Idempotency-Key"}

// An aggregate is a domain type with a history.
type aggregate[A any] interface {
	*A
	Apply(domain.Event)
}

// An outcome is an aggregate after a command.
type outcome[A any] struct {
	state    A
	position eventstore.Position // of its last event
	replayed bool
	changed  bool // the command wrote an event, in this call or an earlier one
}

// decide is the only place that loads, decides, appends and tries again, until the end of
// ctx or eventstore.Deadline. Before each decision it looks whether the command is in the
// history already: that one look covers lost acknowledgements, repeated requests and
// Idempotency-Key alike. replayed tells that an earlier call, not an earlier attempt of
// this one, wrote the event.
func decide[A any, P aggregate[A]](ctx context.Context, h *Handler, ref eventstore.Ref, r Request, f func(A) (domain.Event, error)) (_ outcome[A], err error) {
	ctx, finish := tracing.Start(ctx, "decide")
	defer func() { finish(err) }()
	ctx, cancel := context.WithTimeout(ctx, eventstore.Deadline)
	defer cancel()

	command := eventstore.Command{ID: r.CommandID, Fingerprint: r.Fingerprint, Actor: r.By.ID, Correlation: r.Correlation}
	var o outcome[A]
	found, mismatch := false, false
	for attempt := 0; ; attempt++ {
		// 1. Load what is new: all of it at first, then what made the last attempt fail.
		end, err := h.log.Load(ctx, ref, o.position, func(record eventstore.Record) {
			P(&o.state).Apply(record.Event)
			if record.Command.ID == r.CommandID {
				found, mismatch = true, record.Fingerprint != r.Fingerprint
			}
		})
		if err != nil {
			return outcome[A]{}, err
		}
		o.position = end

		// 2. Decide.
		if mismatch {
			return outcome[A]{}, domain.ErrIdempotencyMismatch
		}
		if found {
			o.replayed, o.changed = attempt == 0, true
			return o, nil
		}
		if r.IfMatch != 0 && r.IfMatch != end {
			return outcome[A]{}, domain.ErrRevisionStale
		}
		event, err := f(o.state)
		if err != nil || event == nil {
			return o, err
		}

		// 3. Append. An error may hide that it was written, which the next load tells.
		at, err := h.log.Append(ctx, ref, end, command, event)
		if err == nil {
			P(&o.state).Apply(event)
			o.position, o.changed = at, true
			h.logger.DebugContext(ctx, "event written", "type", event.EventType(), "aggregate", ref.ID, "position", at, "attempt", attempt)
			return o, nil
		}
		if eventstore.FailureOf(err) == eventstore.Refused {
			return outcome[A]{}, err
		}
		if !pause(ctx, attempt) {
			return outcome[A]{}, lost(err)
		}
	}
}

// lost is the error of a command that ran out of time after err.
func lost(err error) error {
	if eventstore.FailureOf(err) == eventstore.Conflict {
		return fmt.Errorf("%w: %w", ErrKeyBusy, err)
	}
	return err
}

// pause waits for some ms before the next attempt, at random, so that of many that lost one
// race some are out of the others' way: on three replicas an append that is under way makes
// every other one a conflict. It tells whether there is time left.
func pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(time.Millisecond + rand.N(10*time.Millisecond<<min(attempt, 4)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
