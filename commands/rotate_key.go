package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RotateKey gives a key a new secret. Those before it stay valid for Overlap;
// nil: as long as the keyspace demands.
type RotateKey struct {
	Request `validate:"-"`
	Org     domain.OrgID     `validate:"-"`
	Key     domain.KeyID     `validate:"-"`
	Overlap *domain.Duration `json:"overlap" validate:"omitempty,overlap"`
}

// RotateKey carries out c. The secret is in the first answer alone.
func (h *Handler) RotateKey(ctx context.Context, c RotateKey) (KeyResult, error) {
	if err := valid(c); err != nil {
		return KeyResult{}, err
	}
	var secret domain.Secret
	var shape domain.Shape
	var sealed sealedSecret
	var before domain.KeySecret
	result, err := h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (_ domain.Event, err error) {
		policy, err := h.policyOf(k)
		if err != nil {
			return nil, err
		}
		overlap, err := policy.Bounds.Overlap(c.Overlap)
		if err != nil {
			return nil, err
		}
		// One secret for all attempts: the answer must hold the one that was written.
		if k.State != domain.Absent && secret.Reveal() == "" {
			if shape, secret, err = h.mintNext(k); err != nil {
				return nil, err
			}
		}
		event, err := k.Rotate(domain.RotateKey{Digest: secret.Digest(), Prefix: shape.DisplayPrefix(secret),
			Overlap: overlap, At: h.now(), By: c.By})
		if err == nil && h.recoverable(k.Keyspace) {
			event, err = sealed.into(ctx, h, event, k.Org, k.ID, secret)
		}
		if err == nil {
			before = k.Secrets[0]
		}
		return event, err
	})
	if err == nil && result.Changed && len(before.Sealed) > 0 {
		h.destroyDataKey(ctx, result.Key, before)
	}
	return withSecret(result, secret), err
}

// mintNext makes the next secret of a key.
func (h *Handler) mintNext(k domain.Key) (shape domain.Shape, secret domain.Secret, err error) {
	keyspace, err := h.keyspaces.Keyspaces().Named(k.Keyspace)
	if err != nil {
		return shape, secret, err
	}
	if shape, err = keyspace.RotatedShape(k.Environment); err != nil {
		return shape, secret, err
	}
	secret, err = h.mint(shape)
	return shape, secret, err
}
