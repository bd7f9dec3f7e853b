package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// RotateTrailKeys makes checkpoints be signed with new keys. Those before sign as well for Overlap.
type RotateTrailKeys struct {
	Request `validate:"-"`
	Overlap domain.Duration `json:"overlap" validate:"overlap"`
}

// RotateTrailKeys carries out c.
func (h *Handler) RotateTrailKeys(ctx context.Context, c RotateTrailKeys) (TrailLogResult, error) {
	if err := valid(c); err != nil {
		return TrailLogResult{}, err
	}
	return h.onTrailLog(ctx, c.Request, func(t domain.TrailLog) (domain.Event, error) {
		verifiers, err := h.trail.VerifierKeys(t.Origin, t.NextGeneration())
		if err != nil {
			return nil, err
		}
		return t.RotateKeys(domain.RotateTrailKeys{Overlap: time.Duration(c.Overlap), VerifierKeys: verifiers, At: h.now(), By: c.By})
	})
}
