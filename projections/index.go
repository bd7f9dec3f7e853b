package projections

import (
	"bytes"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// An indexEntry is one row of an index: the value that it sorts by, and the id of its key or
// organization.
type indexEntry struct {
	value   []byte
	id      [idSize]byte
	expires []byte // when the key does, if the row is of the keys table; empty: never
}

func (e indexEntry) compare(f indexEntry) int {
	if c := bytes.Compare(e.value, f.value); c != 0 {
		return c
	}
	return bytes.Compare(e.id[:], f.id[:])
}

// A span is a run of index rows: prefix, then the value, then the id.
type span struct {
	prefix  []byte
	within  []byte      // the value begins with it
	after   *indexEntry // leave out all up to and with it, in the direction of the walk
	until   []byte      // leave out this value and all beyond, in the direction of the walk
	reverse bool
}

// A walker walks a span in Badger.
type walker struct {
	span
	it    *badger.Iterator
	skip  int // bytes of the table and the prefix
	valid bool
	at    indexEntry
}

// walk begins at the span's first row. The caller closes the walker.
func (r rows) walk(s span) *walker {
	full := r.key(append(slices.Clone(s.prefix), s.within...))
	w := &walker{span: s, skip: tableKeyHead + len(s.prefix)}
	w.it = r.tx.NewIterator(badger.IteratorOptions{Prefix: full, Reverse: s.reverse})
	switch {
	case s.after != nil:
		from := r.key(slices.Concat(s.prefix, s.after.value, s.after.id[:]))
		w.it.Seek(from)
		if w.it.Valid() && bytes.Equal(w.it.Item().Key(), from) {
			w.it.Next()
		}
	case s.reverse:
		w.it.Seek(slices.Concat(full, lastID[:], []byte{0xff})) // behind every row that begins with full
	default:
		w.it.Seek(full)
	}
	w.read()
	return w
}

func (w *walker) read() {
	w.valid = w.it.Valid()
	if !w.valid {
		return
	}
	item := w.it.Item()
	key := item.KeyCopy(nil)[w.skip:]
	end := len(key) - idSize
	w.at = indexEntry{value: key[:end], id: [idSize]byte(key[end:])}
	w.valid = !w.ended(w.at.value)
	_ = item.Value(func(v []byte) error { // it lies beside the row's key: nothing can fail
		w.at.expires = bytes.Clone(v)
		return nil
	})
}

func (s *span) ended(value []byte) bool {
	switch {
	case s.until == nil:
		return false
	case s.reverse:
		return bytes.Compare(value, s.until) <= 0
	}
	return bytes.Compare(value, s.until) >= 0
}

func (w *walker) next()  { w.it.Next(); w.read() }
func (w *walker) close() { w.it.Close() }

// A merge gives the entries of several walkers as one, in one order. There are few: one for
// each state and keyspace.
type merge struct {
	walkers []*walker
	reverse bool
}

// first is the walker that is at the next entry; nil: none are left.
func (m merge) first() (first *walker) {
	for _, w := range m.walkers {
		if w.valid && (first == nil || (w.at.compare(first.at) < 0) != m.reverse) {
			first = w
		}
	}
	return first
}

func (m merge) close() {
	for _, w := range m.walkers {
		w.close()
	}
}

// everyOrganization stands for all of them in an index: each index row is there twice, so
// that a listing of the whole installation walks as few rows as one of an organization,
// however many there are.
var everyOrganization = [idSize]byte(bytes.Repeat([]byte{0xff}, 16))

// indexedUnder is what a row of an organization's key is indexed under.
func indexedUnder(org [idSize]byte) [2][idSize]byte { return [2][idSize]byte{org, everyOrganization} }

// indexPart is the part of an index that has what is within reach.
func indexPart(reach domain.Reach) [idSize]byte {
	if reach.All {
		return everyOrganization
	}
	return reach.Org.Bytes()
}

// A keyPartition is what an index is cut by below an organization.
type keyPartition struct {
	keyspace string
	state    domain.State
}

// partitions are those below a prefix that have rows, found with one seek each: of many
// keyspaces an organization uses few, and a walk of each costs an iterator.
func (r rows) partitions(prefix []byte) (all []keyPartition) {
	full := r.key(prefix)
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: full})
	defer it.Close()
	for it.Seek(full); it.Valid(); {
		keyspace, rest, _ := bytes.Cut(it.Item().Key()[len(full):], []byte{0})
		p := keyPartition{string(keyspace), domain.State(rest[0])}
		all = append(all, p)
		it.Seek(slices.Concat(full, text(p.keyspace), []byte{byte(p.state) + 1}))
	}
	return all
}

// partition is what the sort indexes are cut by, so that a listing of one organization,
// keyspace and state reads only those.
func partition(org [idSize]byte, keyspace string, state domain.State) []byte {
	return append(append(org[:], text(keyspace)...), byte(state))
}
