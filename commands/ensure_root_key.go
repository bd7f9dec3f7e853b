package commands

import (
	"context"
	"strconv"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rootCommand is the id of the command that makes the n-th root key.
func rootCommand(n int) string { return "keytrail/root-key/" + strconv.Itoa(n) }

// rootID is the id of the n-th root key.
func rootID(n int) domain.KeyID { return domain.NewKeyID(domain.Installation, rootCommand(n)) }

// EnsureRootKey creates the root key, which may do everything, on a ledger that has none. keep
// stores its secret first: in the other order a crash between the two would lose the only
// copy. If keep fails, nothing is written. created is false if the ledger had a root key, or
// another process was quicker.
func (h *Handler) EnsureRootKey(ctx context.Context, keep func(domain.Secret) error) (created bool, err error) {
	n, key, err := h.rootKey(ctx)
	if err != nil || key.State != domain.Absent {
		return false, err
	}
	secret, err := h.mintRootSecret(keep)
	if err != nil {
		return false, err
	}
	return h.createRootKey(ctx, n, secret)
}

// rootKey is the first root key that is not revoked, and its number. It is Absent if there is
// none: on an empty ledger, or after a reset that a crash cut off.
func (h *Handler) rootKey(ctx context.Context) (n int, k domain.Key, err error) {
	for n = 1; ; n++ {
		k = domain.Key{}
		ref := eventstore.KeyRef(domain.Installation, rootID(n))
		if _, err := h.ledger.Load(ctx, ref, 0, func(r eventstore.Record) { k.Apply(r.Event) }); err != nil {
			return 0, domain.Key{}, err
		}
		if k.State != domain.Revoked {
			return n, k, nil
		}
	}
}

// mintRootSecret makes a secret for a root key, and has keep store it.
func (h *Handler) mintRootSecret(keep func(domain.Secret) error) (domain.Secret, error) {
	secret, err := h.mint(rootShape())
	if err != nil {
		return domain.Secret{}, err
	}
	return secret, keep(secret)
}

// rootShape is how the secrets of root keys look.
func rootShape() domain.Shape { return domain.Management().Format.Shapes()[0] }

// createRootKey creates the n-th root key, unless another process has.
func (h *Handler) createRootKey(ctx context.Context, n int, secret domain.Secret) (created bool, err error) {
	shape := rootShape()
	r := Request{By: domain.System, CommandID: rootCommand(n)}
	result, err := h.onKey(ctx, domain.Installation, rootID(n), r, func(k domain.Key) (domain.Event, error) {
		return k.Create(domain.CreateKey{ID: rootID(n), Org: domain.Installation, Keyspace: domain.ManagementKeyspace, Settings: domain.Settings{Name: "root", Scopes: []string{"*"}},
			Digest: secret.Digest(), Prefix: shape.DisplayPrefix(secret), Root: true, At: h.now(), By: domain.System})
	})
	return err == nil && !withSecret(result, secret).Replayed, err
}
