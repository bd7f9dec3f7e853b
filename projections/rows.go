package projections

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// rows is one table inside one transaction. The first byte of a row key is its kind.
type rows struct {
	tx    *badger.Txn
	table uint16
}

// A rowMap is the rows of one table as they are written: those of a transaction or, while
// a table is loaded, rows in memory.
type rowMap interface {
	get(row []byte, f func([]byte) error) (found bool, err error)
	set(row, value []byte) error
	delete(row []byte) error
}

func (r rows) key(row []byte) []byte {
	return append(appendTablePrefix(make([]byte, 0, tableKeyHead+len(row)), r.table), row...)
}

// get calls f with the row's value, which is valid only until f returns; found is false if
// there is no such row.
func (r rows) get(row []byte, f func([]byte) error) (found bool, err error) {
	item, err := r.tx.Get(r.key(row))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, item.Value(f)
}

func (r rows) set(row, value []byte) error { return r.tx.Set(r.key(row), value) }
func (r rows) delete(row []byte) error     { return r.tx.Delete(r.key(row)) }

// each calls f with every row that begins with prefix, in order.
func (r rows) each(prefix []byte, f func(row, value []byte) error) error {
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key(prefix), PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		err := it.Item().Value(func(v []byte) error { return f(it.Item().Key()[tableKeyHead:], v) })
		if err != nil {
			return err
		}
	}
	return nil
}

// ascendingRows are rows of one kind of which get is asked in ascending order. The next row is
// mostly some steps away, which is several times cheaper than to look it up.
type ascendingRows struct {
	rows
	it *badger.Iterator
}

// ascending is r for that. The caller closes the iterator.
func (r rows) ascending(kind byte) ascendingRows {
	return ascendingRows{r, r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{kind})})}
}

// stepsBeforeSeek is how many rows it passes before it looks the next one up.
const stepsBeforeSeek = 8

func (r ascendingRows) get(row []byte, f func([]byte) error) (found bool, err error) {
	full := r.key(row)
	if !r.it.Valid() {
		r.it.Seek(full)
	}
	for step := 0; r.it.Valid() && bytes.Compare(r.it.Item().Key(), full) < 0; step++ {
		if step < stepsBeforeSeek {
			r.it.Next()
		} else {
			r.it.Seek(full)
		}
	}
	if r.it.Valid() && bytes.Equal(r.it.Item().Key(), full) {
		return true, r.it.Item().Value(f)
	}
	return false, nil
}

// row builds a row key: its kind, then parts as they are.
func row(kind byte, parts ...[]byte) []byte {
	b := []byte{kind}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// text ends in a zero byte, which no name may hold, so that "a" sorts before "ab".
func text(s string) []byte { return append([]byte(s), 0) }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// cutNumber reads what number wrote, and gives what comes after it.
func cutNumber(b []byte) (n uint64, rest []byte) { return binary.BigEndian.Uint64(b), b[8:] }

// idSize is how many bytes the id of a key or an organization takes in a row.
const idSize = 16

// millis are milliseconds since the Unix epoch, which may lie before it. They sort as time
// does.
func millis(ms int64) []byte { return number(uint64(ms) ^ 1<<63) }

// moment sorts as time does. The zero time is the first.
func moment(t time.Time) []byte {
	if t.IsZero() {
		return number(0)
	}
	return millis(t.UnixMilli())
}

func momentOrNil(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	return moment(t)
}

// errUnappliable stops a projection at once: trying again cannot help.
var errUnappliable = errors.New("the record cannot be applied")

// wrongOrganization stops a projection: its row is one organization's, and the record on
// the ledger another's. To apply it would give one tenant's key to the other.
func wrongOrganization(id domain.KeyID, has, got domain.OrgID) error {
	return fmt.Errorf("%w: %s belongs to %s, and the record to %s", errUnappliable, id, has, got)
}
