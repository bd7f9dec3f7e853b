package projections

import (
	"context"
	"runtime/debug"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// warmedAtOnce is how many rows are read while the snapshot is held.
const warmedAtOnce = 500

// warm fills the cache when the keys have caught up with the ledger, so that a restart is not
// followed by as many look-ups as there are keys. Who comes first is looked up all the same.
func (s *Store) warm(ctx context.Context, l *eventstore.Ledger) {
	end, err := l.End(ctx, eventstore.Events)
	if err != nil || s.WaitFor(ctx, end) != nil {
		return // those who read the ledger tell
	}
	g, r := s.groups[eventstore.Events], s.keys()
	for from := credentialPrefix(r); from != nil && ctx.Err() == nil && !g.cache.full(); {
		err := g.snapshot.view(func(tx *badger.Txn) (err error) {
			from, err = g.warmFrom(tx, credentialPrefix(r), from)
			return err
		})
		if err != nil {
			s.log.WarnContext(ctx, "the cache of credentials is not filled; they are looked up as they are used", "err", err)
			return
		}
	}
	debug.FreeOSMemory() // what the start needed for a moment
}

// warmFrom puts some rows into the cache and tells where the next ones begin; nil: nowhere.
func (g *group) warmFrom(tx *badger.Txn, prefix, from []byte) (next []byte, err error) {
	it := tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	it.Seek(from)
	for range warmedAtOnce {
		if !it.Valid() {
			return nil, nil
		}
		d := domain.Digest(it.Item().Key()[len(prefix):])
		if err := it.Item().Value(func(v []byte) error { g.cache.put(&d, v); return nil }); err != nil {
			return nil, err
		}
		it.Next()
	}
	if !it.Valid() {
		return nil, nil
	}
	return it.Item().KeyCopy(nil), nil
}
