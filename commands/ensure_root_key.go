package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rootCommand is the one command that makes the root key; the key's id follows from it.
const rootCommand = "keytrail/root-key"

// EnsureRootKey gives a ledger without one its root key, which may do everything. keep is
// handed the secret before the ledger is: were it the other way round, a crash between the
// two would lose the only copy. If keep fails, nothing is written. created is false if the
// ledger had a root key.
func (h *Handler) EnsureRootKey(ctx context.Context, keep func(domain.Secret) error) (created bool, err error) {
	end, err := h.log.Load(ctx, eventstore.KeyRef(domain.Installation, domain.NewKeyID(rootCommand)), 0, func(eventstore.Record) {})
	if err != nil || end != 0 {
		return false, err
	}
	keyspace, err := domain.KeyspaceNamed(domain.ManagementKeyspace)
	if err != nil {
		return false, err
	}
	secret, err := h.mint(keyspace.Format)
	if err != nil {
		return false, err
	}
	if err := keep(secret); err != nil {
		return false, err
	}
	c := CreateKey{Request: Request{By: domain.System, CommandID: rootCommand}, Org: domain.Installation, Keyspace: keyspace.Name,
		Settings: Settings{Name: "root", Scopes: []string{"*"}}}
	result, err := h.create(ctx, c, keyspace.Format, secret)
	return err == nil && !result.Replayed, err
}
