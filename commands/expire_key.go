package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// ExpireKey writes down that a key's time has run out. Verification refused the key from
// that moment on by itself. Of many nodes that try, the ledger lets one win.
func (h *Handler) ExpireKey(ctx context.Context, org domain.OrgID, key domain.KeyID) error {
	r := Request{By: domain.System}
	r.identify()
	_, err := h.onKey(ctx, org, key, r, func(k domain.Key) (domain.Event, error) { return k.Expire(h.now()) })
	return err
}
