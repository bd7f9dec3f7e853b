package projections

import (
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// A positionSpan is the positions that a question is about, (after, upto], and the order in which
// they are wanted.
type positionSpan struct {
	after, upto eventstore.Position
	descending  bool
}

// start is where a search begins.
func (s positionSpan) start() eventstore.Position {
	if s.descending {
		return s.upto
	}
	return s.after + 1
}

func (s positionSpan) has(p eventstore.Position) bool { return s.after < p && p <= s.upto }

// behind is what is left of s when p and all before it were found.
func (s positionSpan) behind(p eventstore.Position) positionSpan {
	if s.descending {
		s.upto = p - 1
	} else {
		s.after = p
	}
	return s
}

// from is what is left of s when all before p was looked at.
func (s positionSpan) from(p eventstore.Position) positionSpan {
	if s.descending {
		s.upto = p
	} else {
		s.after = p - 1
	}
	return s
}

// search finds in ascending positions the first one at p or beyond it in the direction of the search.
func (s positionSpan) search(positions []eventstore.Position, p eventstore.Position) (eventstore.Position, bool) {
	at, exact := slices.BinarySearch(positions, p)
	if s.descending && !exact {
		at--
	}
	if at < 0 || at == len(positions) {
		return 0, false
	}
	return positions[at], true
}

// A postingList reads one list: up to a position from the rows, beyond it from memory.
type postingList struct {
	positionSpan
	term   term
	rows   rows
	filed  eventstore.Position   // what the rows stand for
	memory []eventstore.Position // what comes after
	chunk  []eventstore.Position // what was read last

	older, newer *badger.Iterator // in the order of the rows, and against it
}

// openList opens the list of t in one of the tables. The caller closes it.
func (now *snapshot) openList(slot int, t term, s positionSpan) *postingList {
	r, table := now.rows(slot), now.tables[slot]
	l := &postingList{positionSpan: s, term: t, rows: r, filed: table.position}
	if table.unflushed != nil {
		l.memory = table.unflushed.positions(t, s.after, s.upto)
	}
	prefix := r.key([]byte{rowPostings})
	l.older = r.tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
	l.newer = r.tx.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	return l
}

func (l *postingList) close() {
	l.older.Close()
	l.newer.Close()
}

// find is the first position of the list at p or beyond it in the direction of the search, if
// there is one.
func (l *postingList) find(p eventstore.Position) (found eventstore.Position, ok bool, err error) {
	if !l.descending {
		return l.findAscending(p)
	}
	if p > l.filed {
		if found, ok = l.search(l.memory, p); ok {
			return found, true, nil
		}
	}
	return l.findBefore(min(p, l.filed))
}

func (l *postingList) findAscending(p eventstore.Position) (found eventstore.Position, ok bool, err error) {
	found, ok, err = l.findAfter(p)
	if err != nil || ok && found <= l.filed {
		return found, ok, err
	}
	found, ok = l.search(l.memory, p)
	return found, ok, nil
}

// findBefore finds the last position in the rows up to p.
func (l *postingList) findBefore(p eventstore.Position) (eventstore.Position, bool, error) {
	for ; p > l.after; p = (p &^ bucketMask) - 1 {
		if !l.within(p) {
			if err := l.readOlder(p); err != nil {
				return 0, false, err
			}
		}
		if found, ok := l.search(l.chunk, p); ok {
			return found, true, nil
		}
		if p <= bucketMask {
			break
		}
	}
	return 0, false, nil
}

// findAfter finds the first position in the rows from p on: in the chunk that begins at p or
// before, or else it is the first of the next chunk.
func (l *postingList) findAfter(p eventstore.Position) (eventstore.Position, bool, error) {
	for ; p <= min(l.upto, l.filed); p = (p | bucketMask) + 1 {
		if !l.within(p) {
			if err := l.readOlder(p); err != nil {
				return 0, false, err
			}
		}
		if found, ok := l.search(l.chunk, p); ok {
			return found, true, nil
		}
		if err := l.readNewer(p); err != nil {
			return 0, false, err
		}
		if found, ok := l.search(l.chunk, p); ok {
			return found, true, nil
		}
	}
	return 0, false, nil
}

// within reports whether p lies in the chunk that was read last.
func (l *postingList) within(p eventstore.Position) bool {
	return len(l.chunk) > 0 && l.chunk[0] <= p && p <= l.chunk[len(l.chunk)-1]
}

// readOlder reads the chunk of the bucket that begins at p, or else the next one before it.
func (l *postingList) readOlder(p eventstore.Position) error {
	err := l.read(l.older, openRow(l.term, p), p)
	if err != nil || len(l.chunk) > 0 && l.chunk[0] <= p {
		return err
	}
	return l.read(l.older, fullRow(l.term, p), p)
}

// readNewer reads the chunk of the bucket that begins at p, or else the next one after it.
func (l *postingList) readNewer(p eventstore.Position) error {
	return l.read(l.newer, fullRow(l.term, p), p)
}

// read reads the first chunk from a row on in the direction of it, if there is one in the bucket of p.
func (l *postingList) read(it *badger.Iterator, row []byte, p eventstore.Position) error {
	l.chunk = l.chunk[:0]
	it.Seek(l.rows.key(row))
	if !it.ValidForPrefix(l.rows.key(openRow(l.term, p))) {
		return nil
	}
	return it.Item().Value(func(v []byte) error {
		c, err := readChunk(it.Item().Key()[tableKeyHead:], v)
		if err == nil {
			l.chunk = c.positions()
		}
		return err
	})
}

// A conjunction finds the positions that several lists have in common; none: all there are.
type conjunction []*postingList

func (c conjunction) close() {
	for _, l := range c {
		l.close()
	}
}

// maxSteps bounds the look-ups from one snapshot: lists that have little in common are long to
// compare, and the client may have gone.
var maxSteps = 10_000 // tests lower it

// find is what it is for one list: each list in turn moves the position on until all agree. After
// maxSteps it gives where it has come to, on which they do not agree yet.
func (c conjunction) find(p eventstore.Position) (_ eventstore.Position, agree, ok bool, err error) {
	for step, agreed := 0, 0; agreed < len(c); step++ {
		if step == maxSteps {
			return p, false, true, nil
		}
		at, ok, err := c[step%len(c)].find(p)
		if err != nil || !ok {
			return 0, false, false, err
		}
		if at != p {
			p, agreed = at, 0
		}
		agreed++
	}
	return p, true, true, nil
}

// postings are the first positions in s that the lists of all terms have: n, or fewer where that
// takes long. rest is what is left of s; it is empty if there are no more.
func (now *snapshot) postings(slot int, terms []term, s positionSpan, n int) (found []eventstore.Position, rest positionSpan, err error) {
	var lists conjunction
	for _, t := range terms {
		lists = append(lists, now.openList(slot, t, s))
	}
	defer lists.close()
	for len(found) < n {
		p, agree, ok, err := lists.find(s.start())
		switch {
		case err != nil:
			return nil, s, err
		case !ok || !s.has(p):
			return found, positionSpan{}, nil
		case !agree:
			return found, s.from(p), nil
		}
		found, s = append(found, p), s.behind(p)
	}
	return found, s, nil
}
