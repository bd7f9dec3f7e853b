package commands

import (
	"context"
	"maps"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// BeginTrail begins the first Merkle logs over the trail, and the next ones after a restoration that was
// confirmed at a time other than that of the last one. Of several processes that do so one wins.
func (h *Handler) BeginTrail(ctx context.Context, restored string) (domain.TrailLog, error) {
	r := Request{By: domain.System}
	o, err := h.onTrailLog(ctx, r, func(t domain.TrailLog) (domain.Event, error) {
		origin, previous, verifiers, err := h.newTrailLog(ctx, t)
		if err != nil {
			return nil, err
		}
		return t.Begin(domain.BeginTrail{Origin: origin, Restored: restored, Previous: previous, VerifierKeys: verifiers, At: h.now(), By: r.By})
	})
	if err != nil {
		return o.Log, err
	}
	return h.mendTrailKeys(ctx, o.Log)
}

// mendTrailKeys rotates the keys of the Merkle logs if they are not those of the keyring, which was
// replaced: nothing can sign with them any more.
func (h *Handler) mendTrailKeys(ctx context.Context, t domain.TrailLog) (domain.TrailLog, error) {
	derived, err := h.trail.VerifierKeys(t.Origin, t.Keys[0].Generation)
	if err != nil || maps.EqualFunc(derived, t.Keys[0].Verifiers, slices.Equal) {
		return t, err
	}
	o, err := h.RotateTrailKeys(ctx, RotateTrailKeys{Request: Request{By: domain.System}})
	return o.Log, err
}
