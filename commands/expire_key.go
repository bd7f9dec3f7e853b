package commands

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// An ExpiryIndex finds keys whose time has run out. The read model has one.
type ExpiryIndex interface {
	// Overdue are keys whose time has run out by now and whose key.expired the index has not
	// seen, the longest overdue first, at most limit.
	Overdue(now time.Time, limit int) ([]domain.Key, error)
}

// expireEvery is how soon after its end a key's expiry is written down; tests lower it.
// Verification needs no such event: it goes by the clock.
var expireEvery = time.Second

// maxExpired bounds the keys of one pass.
const maxExpired = 1000

// ExpireKeys writes down the expiry of the keys that index finds, in a pass every second,
// until ctx ends. Of many nodes that do so, the ledger lets one win.
func (h *Handler) ExpireKeys(ctx context.Context, index ExpiryIndex) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.expireOverdue(ctx, index)
		}
	}
}

// expireOverdue is one pass. A key that cannot be changed does not keep the others from it.
func (h *Handler) expireOverdue(ctx context.Context, index ExpiryIndex) {
	keys, err := index.Overdue(h.now(), maxExpired)
	failed := 0
	for _, k := range keys {
		if failure := h.ExpireKey(ctx, k.Org, k.ID); failure != nil {
			failed, err = failed+1, failure
		}
	}
	if err != nil && ctx.Err() == nil {
		h.log.WarnContext(ctx, "expiry not written; the next pass tries again", "keys", failed, "err", err)
	}
}

// ExpireKey writes down that a key's time has run out, unless that is on the ledger already.
func (h *Handler) ExpireKey(ctx context.Context, org domain.OrgID, key domain.KeyID) error {
	_, err := h.onKey(ctx, org, key, Request{By: domain.System}, func(k domain.Key) (domain.Event, error) { return k.Expire(h.now()) })
	return err
}
