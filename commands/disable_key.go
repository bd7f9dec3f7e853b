package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// DisableKey takes a key out of use until it is enabled.
type DisableKey struct {
	Request
	Org domain.OrgID
	Key domain.KeyID
}

// DisableKey carries out c.
func (h *Handler) DisableKey(ctx context.Context, c DisableKey) (KeyResult, error) {
	return h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		return k.Disable(domain.DisableKey{At: h.now(), By: c.By})
	})
}
