package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RenewTrail ends the Merkle logs and begins the next ones, which are of the ledger as it is now. The
// last checkpoints of those before stay on the ledger.
type RenewTrail struct {
	Request `validate:"-"`
	Comment string `json:"comment" validate:"required,max=500,text"`
}

// RenewTrail carries out c.
func (h *Handler) RenewTrail(ctx context.Context, c RenewTrail) (TrailLogResult, error) {
	if err := valid(c); err != nil {
		return TrailLogResult{}, err
	}
	return h.onTrailLog(ctx, c.Request, func(t domain.TrailLog) (domain.Event, error) {
		origin, previous, verifiers, err := h.newTrailLog(ctx, t)
		if err != nil {
			return nil, err
		}
		return t.Renew(domain.RenewTrail{Origin: origin, Comment: c.Comment, Previous: previous, VerifierKeys: verifiers, At: h.now(), By: c.By})
	})
}
