package projections

import (
	"context"
	"runtime/debug"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// warmedAtOnce is how many rows are read from one snapshot.
const warmedAtOnce = 500

// warm fills the cache when the keys have caught up with the ledger, so that a restart is not
// followed by as many look-ups as there are keys. Keys that are used before are looked up.
func (s *Store) warm(ctx context.Context, l *eventstore.Ledger) {
	end, err := l.End(ctx, eventstore.Events)
	if err != nil || s.WaitFor(ctx, end) != nil {
		return // the engine logs why
	}
	var from domain.Digest
	for more := true; more && ctx.Err() == nil && !s.credentials.full(); {
		if from, more, err = s.warmFrom(from); err != nil {
			s.log.WarnContext(ctx, "the cache of credentials is not filled; they are looked up as they are used", "err", err)
			return
		}
	}
	debug.FreeOSMemory() // what the start needed for a moment
}

// warmFrom puts some rows into the cache and tells which digest is next. Rows that have been
// superseded meanwhile are read again.
func (s *Store) warmFrom(from domain.Digest) (next domain.Digest, more bool, err error) {
	now := s.keys.snapshot()
	defer now.release()
	prefix := credentialPrefix(now.rows(s.keys.slot))
	it := now.tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	it.Seek(append(prefix, from[:]...))
	for n := 0; it.Valid(); n++ {
		next = domain.Digest(it.Item().Key()[len(prefix):])
		if n == warmedAtOnce {
			return next, true, nil
		}
		current := false
		err := it.Item().Value(func(v []byte) error {
			current = s.credentials.put(now.number, &next, v)
			return nil
		})
		if err != nil || !current {
			return next, true, err
		}
		it.Next()
	}
	return next, false, nil
}
