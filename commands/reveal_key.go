package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RevealKey shows the secret of a key again.
type RevealKey struct {
	Request
	Org domain.OrgID
	Key domain.KeyID
}

// RevealKey carries out c. The event is on the ledger before the secret is in the result. It is no
// command that can be repeated: each time the secret is shown is an event.
func (h *Handler) RevealKey(ctx context.Context, c RevealKey) (KeyResult, error) {
	var secret domain.Secret
	result, err := h.onKey(ctx, c.Org, c.Key, c.Request, func(k domain.Key) (domain.Event, error) {
		event, err := k.Reveal(domain.RevealKey{Recoverable: h.recoverable(k.Keyspace), At: h.now(), By: c.By})
		if err == nil {
			secret, err = h.unseal(ctx, k)
		}
		return event, err
	})
	if err == nil {
		result.Secret = secret
	}
	return result, err
}

// recoverable reports whether a keyspace lets secrets be revealed.
func (h *Handler) recoverable(keyspace string) bool {
	k, err := h.keyspaces.Keyspaces().Named(keyspace)
	return err == nil && k.Recoverable && h.dataKeys != nil
}
