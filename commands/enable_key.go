package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// EnableKey puts a disabled key back into use.
type EnableKey struct {
	Request
	Org domain.OrgID
	Key domain.KeyID
}

// EnableKey carries out c.
func (h *Handler) EnableKey(ctx context.Context, c EnableKey) (KeyResult, error) {
	return h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		return k.Enable(domain.EnableKey{Plan: h.plans.Plan(k.Org), At: h.now(), By: c.By})
	})
}
