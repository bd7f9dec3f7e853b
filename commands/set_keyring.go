package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SetKeyring makes the keyring with a fingerprint the installation's. Of several processes
// that set different ones the ledger lets one win; the others get ErrKeyringMismatch, and
// the fingerprint that counts. So does a later start, unless it is to replace the keyring.
func (h *Handler) SetKeyring(ctx context.Context, fingerprint string, replace bool) (domain.Keyring, error) {
	r := Request{By: domain.System}
	r.identify()
	o, err := execute(ctx, h, eventstore.KeyringRef(), r, func(k domain.Keyring) (domain.Event, error) {
		return k.Set(domain.SetKeyring{Fingerprint: fingerprint, Replace: replace, At: h.now(), By: r.By})
	})
	return o.state, err
}

// Keyring is what the ledger knows of the installation's keyring.
func (h *Handler) Keyring(ctx context.Context) (k domain.Keyring, err error) {
	_, err = h.ledger.Load(ctx, eventstore.KeyringRef(), 0, func(r eventstore.Record) { k.Apply(r.Event) })
	return k, err
}
