package main

import (
	"time"

	"github.com/keytrail/keytrail/commands"
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

// ActiveKeys makes it a commands.NoticeIndex.
func (i keyIndex) ActiveKeys(keyspace, cursor string, limit int, now time.Time) (page []commands.UsedKey, next string, err error) {
	found, err := i.store.Keys(projections.KeyQuery{Reach: domain.All, Keyspace: keyspace, Status: domain.Active, Sort: "created_at", Limit: limit, Cursor: cursor, Now: now})
	for _, k := range found.Keys {
		page = append(page, commands.UsedKey{Key: k.Key, LastUsedAt: k.LastUsedAt})
	}
	return page, found.NextCursor, err
}
