package projections

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
)

// loadedRows are the rows of a table while it is loaded, a rowMap: those that were written last in
// memory and, if there are more than are to be there, the others in a Badger of their own. So what a
// load needs does not grow with the people, or with whatever else a table is about.
type loadedRows struct {
	options badger.Options    // of the table's Badger
	latest  map[string][]byte // nil: deleted
	size    int               // of latest, in bytes
	spilled *badger.DB        // nil: all are in memory
	tx      *badger.Txn       // of spilled, as it is
}

// maxLoadedMemory is how many bytes of a table's rows are in memory, those of some 50,000 people; tests
// lower it.
var maxLoadedMemory = 128 << 20

// loadedRowOverhead is what a row in memory takes beside its key and its value, about.
const loadedRowOverhead = 100

func (m *loadedRows) get(row []byte, f func([]byte) error) (found bool, err error) {
	value, found := m.latest[string(row)]
	switch {
	case found && value != nil:
		return true, f(value)
	case found || m.spilled == nil:
		return false, nil
	}
	return rows{tx: m.tx}.get(row, f)
}

func (m *loadedRows) set(row, value []byte) error { return m.put(row, append([]byte{}, value...)) }

func (m *loadedRows) delete(row []byte) error {
	if m.spilled != nil {
		return m.put(row, nil)
	}
	if value, found := m.latest[string(row)]; found {
		m.size -= len(row) + len(value) + loadedRowOverhead
		delete(m.latest, string(row))
	}
	return nil
}

func (m *loadedRows) put(row, value []byte) error {
	if before, found := m.latest[string(row)]; found {
		m.size -= len(row) + len(before) + loadedRowOverhead
	}
	m.latest[string(row)] = value
	m.size += len(row) + len(value) + loadedRowOverhead
	if m.size < maxLoadedMemory {
		return nil
	}
	return m.spill()
}

// spill moves what is in memory to the Badger.
func (m *loadedRows) spill() error {
	if m.spilled == nil {
		if err := m.open(); err != nil {
			return err
		}
	}
	b := m.spilled.NewWriteBatch()
	defer b.Cancel()
	for row, value := range m.latest {
		key := rows{}.key([]byte(row))
		var err error
		if value == nil {
			err = b.Delete(key)
		} else {
			err = b.Set(key, value)
		}
		if err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return err
	}
	clear(m.latest)
	m.size = 0
	m.tx.Discard()
	m.tx = m.spilled.NewTransaction(false)
	return nil
}

// open makes a Badger beside that of the table, which the next start removes if close does not.
func (m *loadedRows) open() error {
	dir, err := os.MkdirTemp(filepath.Dir(m.options.Dir), "rows-*")
	if err != nil {
		return err
	}
	if m.spilled, err = badger.Open(m.options.WithDir(dir).WithValueDir(dir)); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	m.tx = m.spilled.NewTransaction(false)
	return nil
}

func (m *loadedRows) write(w *rowWriter) error {
	if m.spilled != nil {
		if err := m.spill(); err != nil {
			return err
		}
		return rows{tx: m.tx}.each(nil, w.set)
	}
	for _, row := range slices.Sorted(maps.Keys(m.latest)) {
		if err := w.set([]byte(row), m.latest[row]); err != nil {
			return err
		}
	}
	return nil
}

func (m *loadedRows) close() error {
	if m.spilled == nil {
		return nil
	}
	m.tx.Discard()
	return errors.Join(m.spilled.Close(), os.RemoveAll(m.spilled.Opts().Dir))
}
