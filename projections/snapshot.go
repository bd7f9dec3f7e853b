package projections

import (
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// A snapshot is what an engine has published: the rows of all its tables as of one moment,
// which table each projection has and how far it is. It does not change; the next one takes
// its place. All queries read it, those of a microsecond and those of seconds: Badger makes a
// transaction that a query begins itself wait for the commit that is under way, which a
// verification has no need of: what it must see is published before it is acknowledged. Nor
// does a publication wait for the queries that read the one before.
type snapshot struct {
	db         *database
	tx         *badger.Txn
	users      atomic.Int64 // readers, and one more while it is the published one; at 0 tx is discarded
	number     uint64       // counts publications
	tables     []publishedTable
	position   eventstore.Position // the least of the tables'
	halted     bool
	superseded chan struct{} // closed when the next one is published
}

// A publishedTable is a projection's, in the order of the engine's tables.
type publishedTable struct {
	number    uint16 // 0: none has been published yet
	position  eventstore.Position
	unflushed *postingsBuffer // what came after position, as far as it is in memory; nil: nothing is kept there
}

func newSnapshot(db *database, number uint64, tables []publishedTable, halted bool) *snapshot {
	db.readers.Add(1)
	s := &snapshot{db: db, tx: db.NewTransaction(false), number: number, tables: tables, halted: halted, position: tables[0].position, superseded: make(chan struct{})}
	for _, t := range tables {
		s.position = min(s.position, t.position)
	}
	s.users.Store(1)
	return s
}

func (s *snapshot) rows(slot int) rows { return rows{tx: s.tx, table: s.tables[slot].number} }

// acquire fails if s is superseded and its last reader has gone.
func (s *snapshot) acquire() bool {
	for {
		n := s.users.Load()
		if n == 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *snapshot) release() {
	if s.users.Add(-1) == 0 {
		s.tx.Discard()
		s.db.readers.Done()
	}
}

// A view is one projection as queries read it.
type view struct {
	engine *engine
	slot   int // its place among the engine's tables
}

// snapshot is the published one, which the caller releases.
func (v view) snapshot() *snapshot {
	for {
		if s := v.engine.published.Load(); s.acquire() {
			return s
		}
	}
}

// read calls f with the rows as they were published last. They are valid until f returns.
func (v view) read(f func(rows) error) error {
	s := v.snapshot()
	defer s.release()
	return f(s.rows(v.slot))
}
