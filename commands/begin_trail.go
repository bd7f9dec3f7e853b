package commands

import (
	"context"

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
	return o.Log, err
}
