package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SetKeyring makes the keyring with a fingerprint the installation's. If the installation has
// another one it gives that, and ErrKeyringMismatch, unless it is to be replaced. Of several
// processes that set different ones at the same time the ledger lets one win.
func (h *Handler) SetKeyring(ctx context.Context, fingerprint string, replace bool) (domain.Keyring, error) {
	r := Request{By: domain.System}
	o, err := execute(ctx, h, eventstore.KeyringRef(), r, nil, func(k domain.Keyring) (domain.Event, error) {
		return k.Set(domain.SetKeyring{Fingerprint: fingerprint, Replace: replace, At: h.now(), By: r.By})
	})
	return o.state, err
}

// Keyring is the installation's keyring as the ledger has it.
func (h *Handler) Keyring(ctx context.Context) (k domain.Keyring, err error) {
	_, err = h.ledger.Load(ctx, eventstore.KeyringRef(), 0, func(r eventstore.Record) { k.Apply(r.Event) })
	return k, err
}
