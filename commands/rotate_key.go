package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// RotateKey gives a key a new secret. Those before it stay valid for Overlap.
type RotateKey struct {
	Request `validate:"-"`
	Org     domain.OrgID    `validate:"-"`
	Key     domain.KeyID    `validate:"-"`
	Overlap domain.Duration `json:"overlap" validate:"overlap"`
}

// RotateKey carries out c. The secret is in the first answer alone.
func (h *Handler) RotateKey(ctx context.Context, c RotateKey) (KeyResult, error) {
	if err := valid(c); err != nil {
		return KeyResult{}, err
	}
	var secret domain.Secret
	result, err := h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		format := domain.Format{}
		if k.State != domain.Absent {
			keyspace, err := domain.KeyspaceNamed(k.Keyspace)
			if err != nil {
				return nil, err
			}
			format = keyspace.Format
		}
		// One secret for all attempts: the answer must hold the one that was written.
		if secret.Reveal() == "" {
			var err error
			if secret, err = h.mint(format); err != nil {
				return nil, err
			}
		}
		return k.Rotate(domain.RotateKey{Digest: secret.Digest(), Prefix: format.ShownPrefix(secret),
			Overlap: time.Duration(c.Overlap), At: h.now(), By: c.By})
	})
	return withSecret(result, secret), err
}
