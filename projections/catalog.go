package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// An entry is what the catalog keeps of a projection.
type entry struct {
	Version    int                    `json:"version"`
	Table      uint16                 `json:"table"`
	Checkpoint *eventstore.Checkpoint `json:"checkpoint"`
	Flush      *flush                 `json:"flush,omitempty"` // of the usage buffer, if a part of it is in the table
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
// table, and drops the tables that nothing refers to any more. The rows of another version,
// and those whose checkpoint is missing, are not read: what could read them is the program
// that wrote them.
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
		if e.Version != p.version || e.Checkpoint == nil {
			fresh = append(fresh, r)
		} else if err := g.resume(r, e); err != nil {
			return err
		}
		g.runners = append(g.runners, r)
	}
	for _, r := range fresh {
		r.table = freeTable(used)
		if err := g.dropTable(context.Background(), r.table); err != nil { // what a cut-off rebuild left there
			return err
		}
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
		r.begin(*e.Checkpoint, clock)
		r.flush = e.Flush
		return err
	})
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

// catalogue makes r's table the one that counts.
func (r *runner) catalogue(tx *badger.Txn, checkpoint eventstore.Checkpoint, f *flush) error {
	value, err := json.Marshal(entry{Version: r.version, Table: r.table, Checkpoint: &checkpoint, Flush: f})
	if err != nil {
		return err
	}
	return tx.Set(catalogKey(r.name), value)
}

func freeTable(used map[uint16]bool) uint16 {
	for t := uint16(1); ; t++ {
		if !used[t] {
			used[t] = true
			return t
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
