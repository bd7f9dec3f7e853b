package commands

import (
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A KeyIndex finds keys without reading the ledger. The read model has one. Its answer may be
// stale: that costs the command that goes by it a conflict.
type KeyIndex interface {
	// KnownKey is a key and its revision.
	KnownKey(domain.OrgID, domain.KeyID) (k domain.Key, revision eventstore.Position, found bool)
}

// knownKey is the key as the index has it, if there is an index and the key is in it.
func (h *Handler) knownKey(org domain.OrgID, id domain.KeyID) (k domain.Key, revision eventstore.Position, found bool) {
	if h.keys == nil {
		return k, 0, false
	}
	return h.keys.KnownKey(org, id)
}
