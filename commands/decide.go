package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// maxAttempts bounds how often a command that lost a race, or an acknowledgement, tries
// again. Among n writers at one key somebody wins each round.
const maxAttempts = 12

// ErrKeyBusy says that a command lost every race for its aggregate.
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
	changed  bool // this call wrote an event
}

// decide is the only place that loads, decides, appends and tries again. Before each
// decision it looks whether the command is in the history already: that one look covers
// lost acknowledgements, repeated requests and Idempotency-Key alike. replayed tells that
// an earlier call, not an earlier attempt of this one, wrote the event.
func decide[A any, P aggregate[A]](ctx context.Context, h *Handler, ref eventstore.Ref, r Request, f func(A) (domain.Event, error)) (outcome[A], error) {
	ctx, span := otel.Tracer("github.com/keytrail/keytrail/commands").Start(ctx, "decide "+ref.Kind)
	defer span.End()
	span.SetAttributes(attribute.String("keytrail.aggregate", ref.ID))

	command := eventstore.Command{ID: r.CommandID, Fingerprint: r.Fingerprint, Actor: r.By.ID, Correlation: r.Correlation}
	var failure error
	for attempt := range maxAttempts {
		history, end, err := h.log.Load(ctx, ref)
		if err != nil {
			return outcome[A]{}, err
		}
		o := outcome[A]{position: end}
		found := false
		for _, record := range history {
			P(&o.state).Apply(record.Event)
			if record.Command.ID == r.CommandID {
				if found = true; record.Fingerprint != r.Fingerprint {
					return outcome[A]{}, domain.ErrIdempotencyMismatch
				}
			}
		}
		if found {
			o.replayed, o.changed = attempt == 0, attempt > 0
			return o, nil
		}
		if r.IfMatch != 0 && r.IfMatch != end {
			return outcome[A]{}, domain.ErrRevisionStale
		}
		event, err := f(o.state)
		if err != nil || event == nil {
			return o, err
		}
		at, err := h.log.Append(ctx, ref, end, command, event)
		if err == nil {
			P(&o.state).Apply(event)
			o.position, o.changed = at, true
			h.logger.DebugContext(ctx, "event written", "type", event.EventType(), "aggregate", ref.ID, "position", at, "attempt", attempt)
			return o, nil
		}
		if failure = err; ctx.Err() != nil {
			break
		}
		if !errors.Is(err, eventstore.ErrConflict) {
			pause(ctx, time.Duration(attempt+1)*20*time.Millisecond)
		}
	}
	if errors.Is(failure, eventstore.ErrConflict) {
		return outcome[A]{}, fmt.Errorf("%w: %w", ErrKeyBusy, failure)
	}
	return outcome[A]{}, failure
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// onKey decides about a key.
func (h *Handler) onKey(ctx context.Context, org domain.OrgID, id domain.KeyID, r Request, f func(domain.Key) (domain.Event, error)) (KeyResult, error) {
	o, err := decide(ctx, h, eventstore.KeyRef(org, id), r, f)
	return KeyResult{Key: o.state, Position: o.position, Replayed: o.replayed, Changed: o.changed}, err
}

// mustExist refuses an organization without history.
func (h *Handler) mustExist(ctx context.Context, org domain.OrgID) error {
	if _, known := h.orgs.Load(org); known || org == domain.Installation {
		return nil
	}
	_, end, err := h.log.Load(ctx, eventstore.OrganizationRef(org))
	if err == nil && end == 0 {
		return domain.ErrOrganizationNotFound
	}
	if err == nil {
		h.orgs.Store(org, true)
	}
	return err
}
