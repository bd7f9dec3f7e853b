// Package projections is the read model: what the ledger says, arranged in Badger so that
// questions are answered fast. It holds no truth of its own and can be thrown away.
//
// A projection is a name, a version and a function from rows and records to rows. Its rows
// and its mark, the position it has applied, are written in one transaction, so that a
// crash resumes exactly. Each projection's rows live in a numbered table; raising the
// version, or a rebuild, fills a new table from the ledger's beginning beside the old one.
package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
)

// A projection is how one set of rows follows from the records of one stream. apply must
// not depend on how the records are cut into batches, on time or on anything but its
// arguments.
type projection struct {
	name    string
	version int
	stream  eventstore.Stream
	apply   func(rows, []eventstore.Record) error // nil: it adds up in the usage buffer
}

// projections are all there are. Raise a version when apply writes other rows.
var projections = []projection{
	{"keys", 6, eventstore.Events, applyKeys},
	{"organizations", 2, eventstore.Events, applyOrganizations},
	{"requests", 1, eventstore.Events, applyRequests},
	{"usage", 2, eventstore.Uses, nil},
}

// Names are the names of all projections.
func Names() (names []string) {
	for _, p := range projections {
		names = append(names, p.name)
	}
	return names
}

// Options of a store. The zero value is usable.
type Options struct {
	CacheBytes uint64 // of memory for credentials at most, 2 MiB at least
	Logger     *slog.Logger
	Metrics    prometheus.Registerer // nil: none
}

// A Store is the read model on one directory. It is safe for concurrent use.
//
// Each stream's projections have a Badger of their own: what many uses write does not lie
// in the way of looking a credential up.
type Store struct {
	log    *slog.Logger
	ledger atomic.Pointer[eventstore.Ledger]
	groups [2]*group // by stream

	rebuilds *rebuilds
}

// Open opens or creates the read model in dir. Run brings it up to date.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Logger, rebuilds: newRebuilds()}
	for stream := range s.groups {
		g, err := openGroup(s, dir, eventstore.Stream(stream), o.CacheBytes)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.groups[stream] = g
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(collector{s})
	}
	return s, nil
}

func openGroup(s *Store, dir string, stream eventstore.Stream, cacheBytes uint64) (*group, error) {
	dir = filepath.Join(dir, stream.String())
	db, err := badger.Open(badgerOptions(dir, s.log))
	if err != nil {
		return nil, fmt.Errorf("open the read model in %s: %w", dir, err)
	}
	g := newGroup(s, stream, db, newCache(cacheBytes))
	if err := g.loadCatalog(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// Close closes the store. Run must have returned.
func (s *Store) Close() (err error) {
	for _, g := range s.groups {
		if g != nil {
			err = errors.Join(err, g.close())
		}
	}
	return err
}

// An entry is what the catalog keeps of a projection.
type entry struct {
	Version int                   `json:"version"`
	Table   uint16                `json:"table"`
	Mark    eventstore.Checkpoint `json:"mark"`
	Flush   *flush                `json:"flush,omitempty"` // of the usage buffer, if a part of it is in the table
}

// The first byte of every key in Badger.
const (
	catalogKeys byte = 0 // + projection name → entry
	tableKeys   byte = 1 // + table number + row key → row
)

func catalogKey(name string) []byte { return append([]byte{catalogKeys}, name...) }

func tablePrefix(table uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableKeys}, table)
}

// loadCatalog finds each projection's table, gives new ones and new versions an empty
// table, and drops the tables that nothing refers to any more. The rows of another version
// are not read: what could read them is the program that wrote them.
func (g *group) loadCatalog() error {
	used := map[uint16]bool{0: true}
	var fresh []*runner
	for _, p := range projections {
		if p.stream != g.stream {
			continue
		}
		r := newRunner(p)
		e, err := g.catalogEntry(p.name)
		if err != nil {
			return err
		}
		used[e.Table] = true // also of another version, until its successor is in the catalog
		if e.Table == 0 || e.Version != p.version {
			fresh = append(fresh, r)
		} else if err := g.resume(r, e); err != nil {
			return err
		}
		g.runners = append(g.runners, r)
	}
	for _, r := range fresh {
		r.table = freeTable(used)
		if err := g.db.Update(func(tx *badger.Txn) error { return r.catalogue(tx, eventstore.Checkpoint{}, nil) }); err != nil {
			return err
		}
	}
	return g.dropStrayTables()
}

// resume goes on where the catalog says that r is.
func (g *group) resume(r *runner, e entry) error {
	r.table = e.Table
	return g.db.View(func(tx *badger.Txn) error {
		var clock usageClock
		var err error
		if r.buffer != nil {
			clock, err = loadUsageClock(rows{tx: tx, table: r.table})
		}
		r.begin(e.Mark, clock)
		r.flush = e.Flush
		return err
	})
}

func freeTable(used map[uint16]bool) uint16 {
	for t := uint16(1); ; t++ {
		if !used[t] {
			used[t] = true
			return t
		}
	}
}

func (g *group) catalogEntry(name string) (e entry, err error) {
	err = g.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get(catalogKey(name))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error { return json.Unmarshal(v, &e) })
	})
	return e, err
}

// dropStrayTables empties every table that no projection uses: an old version's, or one
// that a rebuild left behind when it was cut off.
func (g *group) dropStrayTables() error {
	used := g.usedTables()
	for {
		table, err := g.strayTable(used)
		if err != nil || table == 0 {
			return err
		}
		if err := g.dropTable(context.Background(), table); err != nil {
			return err
		}
	}
}

func (g *group) usedTables() map[uint16]bool {
	used := map[uint16]bool{0: true}
	for _, r := range g.runners {
		used[r.table] = true
	}
	return used
}

func (g *group) strayTable(used map[uint16]bool) (stray uint16, err error) {
	err = g.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte{tableKeys}})
		defer it.Close()
		for it.Rewind(); it.Valid(); {
			table := binary.BigEndian.Uint16(it.Item().Key()[1:])
			if !used[table] {
				stray = table
				return nil
			}
			if table == 0xffff {
				return nil
			}
			it.Seek(tablePrefix(table + 1))
		}
		return nil
	})
	return stray, err
}

// dropTable deletes rows one by one, until ctx ends: Badger's own DropPrefix would stop all
// writes.
func (g *group) dropTable(ctx context.Context, table uint16) error {
	wb := g.db.NewWriteBatch()
	defer wb.Cancel()
	err := g.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: tablePrefix(table)})
		defer it.Close()
		for it.Rewind(); it.Valid() && ctx.Err() == nil; it.Next() {
			if err := wb.Delete(it.Item().KeyCopy(nil)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return wb.Flush()
}

// Dump gives every row to w in key order, by projection and without table numbers, so
// that two stores can be compared byte for byte.
func (s *Store) Dump(w func(name string, key, value []byte) error) error {
	for _, g := range s.groups {
		for _, r := range g.runners {
			err := s.view(r, func(rows rows) error {
				return rows.each(nil, func(key, value []byte) error { return w(r.name, key, value) })
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// view runs f on the rows of one projection, as of one moment. A rebuild puts another table
// into the place of r's and then drops that: a transaction has all of the table that counted
// both before and after it began.
func (s *Store) view(r *runner, f func(rows) error) error {
	for {
		table := r.currentTable()
		tx := s.groups[r.stream].db.NewTransaction(false)
		if table == r.currentTable() {
			defer tx.Discard()
			return f(rows{tx: tx, table: table})
		}
		tx.Discard()
	}
}

// runner finds a projection by its name.
func (s *Store) runner(name string) *runner {
	for _, g := range s.groups {
		for _, r := range g.runners {
			if r.name == name {
				return r
			}
		}
	}
	return nil
}

func (s *Store) keys() *runner          { return s.groups[eventstore.Events].runners[0] }
func (s *Store) organizations() *runner { return s.groups[eventstore.Events].runners[1] }
func (s *Store) usage() *runner         { return s.groups[eventstore.Uses].runners[0] }

// A ProjectionStatus is how far one projection is.
type ProjectionStatus struct {
	Name     string              `json:"name"`
	Stream   string              `json:"stream"`
	Version  int                 `json:"version"`
	Position eventstore.Position `json:"position"`
	Lag      uint64              `json:"lag" doc:"Messages of the ledger not yet applied."`
	Halted   string              `json:"halted,omitempty" doc:"Why it stopped."`
	Rebuild  *RebuildStatus      `json:"rebuild,omitempty" doc:"The latest rebuild since the service started."`
}

// Status tells how far each projection is behind what is known of the ledger. It asks nobody.
func (s *Store) Status() (all []ProjectionStatus) {
	for _, g := range s.groups {
		end := s.ledger.Load().LastEnd(g.stream)
		g.mu.Lock()
		for _, r := range g.runners {
			st := ProjectionStatus{Name: r.name, Stream: g.stream.String(), Version: r.version, Position: r.mark.Position, Rebuild: s.rebuilds.status(r.name)}
			if end > st.Position {
				st.Lag = uint64(end - st.Position)
			}
			if g.halted != nil {
				st.Halted = "an event cannot be applied; the log has the cause"
			}
			all = append(all, st)
		}
		g.mu.Unlock()
	}
	return all
}
