package projections

import (
	"bytes"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
)

// A source gives places in order.
type source interface {
	head() (place, bool) // the place it stands at; false: none are left
	next()
	close()
}

// A span is a run of index rows: prefix, then the sort value, then 16 bytes of id.
type span struct {
	prefix  []byte
	within  []byte // the sort value begins with it
	after   *place // leave out all up to and with it, in the direction of the walk
	reverse bool
}

// A walker walks a span in Badger.
type walker struct {
	it    *badger.Iterator
	skip  int // bytes of the table and the prefix
	valid bool
	at    place
}

// walk begins at the span's first row. The caller closes the walker.
func (r rows) walk(s span) *walker {
	full := r.key(append(slices.Clone(s.prefix), s.within...))
	w := &walker{skip: tableKeyHead + len(s.prefix)}
	w.it = r.tx.NewIterator(badger.IteratorOptions{Prefix: full, Reverse: s.reverse})
	switch {
	case s.after != nil:
		from := r.key(slices.Concat(s.prefix, s.after.sort, s.after.id[:]))
		w.it.Seek(from)
		if w.it.Valid() && bytes.Equal(w.it.Item().Key(), from) {
			w.it.Next()
		}
	case s.reverse:
		w.it.Seek(append(full, 0xff))
	default:
		w.it.Seek(full)
	}
	w.read()
	return w
}

func (w *walker) read() {
	if w.valid = w.it.Valid(); !w.valid {
		return
	}
	item := w.it.Item()
	key := item.KeyCopy(nil)[w.skip:]
	w.at = place{sort: key[:len(key)-16], id: [16]byte(key[len(key)-16:])}
	_ = item.Value(func(v []byte) error { // it lies beside the row's key: nothing can fail
		w.at.expires = bytes.Clone(v)
		return nil
	})
}

func (w *walker) next()               { w.it.Next(); w.read() }
func (w *walker) head() (place, bool) { return w.at, w.valid }
func (w *walker) close()              { w.it.Close() }

// places are a source in memory, in the order of the walk.
type places []place

func (p *places) head() (place, bool) {
	if len(*p) == 0 {
		return place{}, false
	}
	return (*p)[0], true
}
func (p *places) next() { *p = (*p)[1:] }
func (*places) close()  {}

// A merge gives the places of several sources as one, in one order.
type merge struct {
	sources []source
	reverse bool
}

// head finds the first of the sources' heads. There are few sources: one for each state
// and keyspace of an organization.
func (m merge) head() (first place, ok bool) {
	at := m.first()
	if at < 0 {
		return first, false
	}
	return m.sources[at].head()
}

func (m merge) next() { m.sources[m.first()].next() }

func (m merge) first() int {
	at, best := -1, place{}
	for i, s := range m.sources {
		p, ok := s.head()
		if ok && (at < 0 || (p.compare(best) < 0) != m.reverse) {
			at, best = i, p
		}
	}
	return at
}

func (m merge) close() {
	for _, s := range m.sources {
		s.close()
	}
}
