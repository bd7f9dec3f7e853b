package projections

import (
	"sync"

	badger "github.com/dgraph-io/badger/v4"
)

// A snapshot is the rows as of the last transaction that was published, for many readers
// at once. Badger makes a reader of its own wait for the commit that is under way, which a
// verification has no need of: what it must see is published before it is acknowledged.
type snapshot struct {
	mu sync.RWMutex
	tx *badger.Txn
}

// renew moves the snapshot on to now, and calls then while nobody holds it.
func (s *snapshot) renew(db *badger.DB, then func()) {
	tx := db.NewTransaction(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx != nil {
		s.tx.Discard()
	}
	s.tx = tx
	then()
}

// view calls f with the snapshot, which must not be used after f returns.
func (s *snapshot) view(f func(*badger.Txn) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return f(s.tx)
}

func (s *snapshot) release() { s.tx.Discard() }
