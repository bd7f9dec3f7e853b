package commands

import (
	"context"
	"strconv"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rootCommand makes the n-th root key, whose id follows from it.
func rootCommand(n int) string { return "keytrail/root-key/" + strconv.Itoa(n) }

func rootID(n int) domain.KeyID { return domain.NewKeyID(domain.Installation, rootCommand(n)) }

// EnsureRootKey gives a ledger without one its root key, which may do everything. keep is
// handed the secret before the ledger is: were it the other way round, a crash between the
// two would lose the only copy. If keep fails, nothing is written. created is false if the
// ledger had a root key, or another process was quicker.
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

// rootKey is the root key that counts, the first that is not revoked, and its number. It is
// Absent if there is none: on an empty ledger, or after a reset that a crash cut off.
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

func (h *Handler) mintRootSecret(keep func(domain.Secret) error) (domain.Secret, error) {
	keyspace, err := domain.KeyspaceNamed(domain.ManagementKeyspace)
	if err != nil {
		return domain.Secret{}, err
	}
	secret, err := h.mint(keyspace.Format)
	if err != nil {
		return domain.Secret{}, err
	}
	return secret, keep(secret)
}

func (h *Handler) createRootKey(ctx context.Context, n int, secret domain.Secret) (created bool, err error) {
	keyspace, err := domain.KeyspaceNamed(domain.ManagementKeyspace)
	if err != nil {
		return false, err
	}
	r := Request{By: domain.System, CommandID: rootCommand(n)}
	result, err := h.onKey(ctx, domain.Installation, rootID(n), r, func(k domain.Key) (domain.Event, error) {
		return k.Create(domain.CreateKey{ID: rootID(n), Org: domain.Installation, Keyspace: keyspace.Name, Settings: domain.Settings{Name: "root", Scopes: []string{"*"}},
			Digest: secret.Digest(), Prefix: keyspace.Format.ShownPrefix(secret), Root: true, At: h.now(), By: domain.System})
	})
	return err == nil && !withSecret(result, secret).Replayed, err
}
