package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// RotateSinkSecret gives a webhook a new signing secret. Deliveries are signed with those before as
// well, for Overlap; nil: a day.
type RotateSinkSecret struct {
	Request `validate:"-"`
	Org     domain.OrgID     `validate:"-"`
	Sink    domain.SinkID    `validate:"-"`
	Overlap *domain.Duration `json:"overlap" validate:"omitempty,overlap"`
}

// defaultSinkOverlap is time enough for a receiver's next deployment.
const defaultSinkOverlap = 24 * time.Hour

// RotateSinkSecret carries out c. The secret is in the first answer alone.
func (h *Handler) RotateSinkSecret(ctx context.Context, c RotateSinkSecret) (SinkResult, error) {
	if err := valid(c); err != nil {
		return SinkResult{}, err
	}
	secret, err := h.newSigningSecret()
	if err != nil {
		return SinkResult{}, err
	}
	overlap := defaultSinkOverlap
	if c.Overlap != nil {
		overlap = time.Duration(*c.Overlap)
	}
	r, err := h.onSink(ctx, c.Org, c.Sink, c.Request, func(s domain.Sink) (domain.Event, error) {
		rotate := domain.RotateSinkSecret{PublicKey: secret.PublicKey(), Overlap: overlap, At: h.now(), By: c.By}
		if event, err := s.RotateSecret(rotate); err != nil {
			return event, err
		}
		credentials, err := h.OpenCredentials(&s)
		if err != nil {
			return nil, err
		}
		if err := credentials.RotateSigning(secret, overlap, rotate.At); err != nil {
			return nil, err
		}
		if rotate.Sealed, err = h.sealCredentials(s.Org, s.ID, &credentials); err != nil {
			return nil, err
		}
		return s.RotateSecret(rotate)
	})
	if err != nil || !r.Sink.Exists() {
		return r, err
	}
	return h.withSigningSecret(r, secret)
}
