package main

import (
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A keyIndex is the read model as commands.KeyIndex.
type keyIndex struct{ store *projections.Store }

func (i keyIndex) KnownKey(org domain.OrgID, id domain.KeyID) (domain.Key, eventstore.Position, bool) {
	k, err := i.store.KeyState(domain.Only(org), id)
	return k.Key, k.Revision, err == nil
}
