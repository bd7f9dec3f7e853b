package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// The first byte of every key in Badger.
const (
	catalogKeys byte = 0 // + projection name → catalogEntry
	tableKeys   byte = 1 // + table number + row key → row
)

// tableKeyHead is how many bytes of a key come before the row key: the first byte and the
// number of the table.
const tableKeyHead = 1 + 2

func catalogKey(name string) []byte { return append([]byte{catalogKeys}, name...) }

func appendTablePrefix(b []byte, number uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, tableKeys), number)
}

func tablePrefix(number uint16) []byte {
	return appendTablePrefix(make([]byte, 0, tableKeyHead), number)
}

// A catalogEntry is what the catalog keeps of a projection.
type catalogEntry struct {
	Version    int                    `json:"version"`
	Table      uint16                 `json:"table"`
	Checkpoint *eventstore.Checkpoint `json:"checkpoint"`
	Flush      *flushProgress         `json:"flush,omitempty"` // one that is not over, of a buffered table
}

// save makes t the table that counts, at a checkpoint.
func (t *tableState) save(tx *badger.Txn, c eventstore.Checkpoint, f *flushProgress) error {
	if t.building {
		return nil
	}
	return tx.Set(catalogKey(t.name), catalogEntry{Version: t.version, Table: t.number, Checkpoint: &c, Flush: f}.encode())
}

func (c catalogEntry) encode() []byte {
	value, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and times alone
	}
	return value
}

// loadCatalog finds each projection's table, gives new ones and new versions an empty
// table, and drops the tables that nothing refers to any more. The rows of another version,
// and those whose checkpoint is missing, are not read: what could read them is the program
// that wrote them.
func (e *engine) loadCatalog() error {
	var fresh []table
	for _, p := range e.projections {
		t, known, err := e.openTable(e.db, p)
		if err != nil {
			return err
		}
		if !known {
			fresh = append(fresh, t) // under the old number, until its own is in the catalog
		}
		e.tables = append(e.tables, t)
	}
	for _, t := range fresh {
		t.state().number = freeNumber(e.usedNumbers())
		if err := e.saveEmpty(context.Background(), t); err != nil {
			return err
		}
	}
	if len(fresh) > 0 && e.loadsInBulk() {
		return nil // a load leaves no stray tables
	}
	return e.dropStrayTables(context.Background())
}

// openTable goes on where the catalog says that a projection is. Rows of another version, or
// none, are not known.
func (e *engine) openTable(db *database, p projection) (t table, known bool, err error) {
	err = db.View(func(tx *badger.Txn) error {
		entry, err := readCatalog(tx, p.name)
		if err != nil {
			return err
		}
		t = e.newTable(db, p, entry.Table)
		if known = entry.Version == p.version && entry.Checkpoint != nil; !known {
			return nil
		}
		return t.resume(t.state().rows(tx), entry)
	})
	return t, known, err
}

// openTables opens those of a Badger that has them all.
func (e *engine) openTables(db *database) (tables []table, err error) {
	for _, p := range e.projections {
		t, known, err := e.openTable(db, p)
		if err == nil && !known {
			err = fmt.Errorf("the catalog lacks %s", p.name)
		}
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func (e *engine) newTable(db *database, p projection, number uint16) table {
	return p.table(e.store, tableState{projection: p, db: db.DB, number: number})
}

func readCatalog(tx *badger.Txn, name string) (entry catalogEntry, err error) {
	item, err := tx.Get(catalogKey(name))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return entry, nil
	}
	if err != nil {
		return entry, err
	}
	err = item.Value(func(v []byte) error { return json.Unmarshal(v, &entry) })
	return entry, err
}

// saveEmpty empties t, in which a rebuild that was cut off may have left rows, and makes it
// the table that counts.
func (e *engine) saveEmpty(ctx context.Context, t table) error {
	if err := e.dropTable(ctx, t.state().number); err != nil {
		return err
	}
	return e.db.Update(func(tx *badger.Txn) error { return t.state().save(tx, eventstore.Checkpoint{}, nil) })
}

// freeNumber is the number of a table that is not used.
func freeNumber(used map[uint16]bool) uint16 {
	for n := uint16(1); ; n++ {
		if !used[n] {
			return n
		}
	}
}

func (e *engine) usedNumbers() map[uint16]bool {
	used := map[uint16]bool{}
	for _, t := range e.tables {
		used[t.state().number] = true
	}
	if e.building != nil {
		used[e.building.state().number] = true
	}
	return used
}

// dropStrayTables empties every table that no projection uses: an old version's, or one
// that a rebuild left behind when it was cut off.
func (e *engine) dropStrayTables(ctx context.Context) error {
	used := e.usedNumbers()
	for {
		number, err := e.strayTable(used)
		if err != nil || number == 0 {
			return err
		}
		if err := e.dropTable(ctx, number); err != nil {
			return err
		}
	}
}

// strayTable is the first table that has rows and is not used; 0: there is none.
func (e *engine) strayTable(used map[uint16]bool) (stray uint16, err error) {
	err = e.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte{tableKeys}})
		defer it.Close()
		for it.Rewind(); it.Valid(); {
			number := binary.BigEndian.Uint16(it.Item().Key()[1:])
			if !used[number] {
				stray = number
				return nil
			}
			if number == 0xffff {
				return nil
			}
			it.Seek(tablePrefix(number + 1))
		}
		return nil
	})
	return stray, err
}

// dropTable deletes rows one by one, until ctx ends: Badger's own DropPrefix would stop all
// writes.
func (e *engine) dropTable(ctx context.Context, number uint16) error {
	wb := e.db.NewWriteBatch()
	defer wb.Cancel()
	err := e.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.IteratorOptions{Prefix: tablePrefix(number)})
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
