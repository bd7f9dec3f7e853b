package projections

import (
	"bytes"

	"github.com/keytrail/keytrail/domain"
)

// skipsPerLoad is how many rows can be passed over in the time that loading a key takes.
const skipsPerLoad = 10

// walked fills the page along the index of its order, and stops after the work of loading
// maxExamined keys.
func (l *listing) walked(page *KeyPage) error {
	work := 0 // rows passed over
	for _, p := range l.phases() {
		full, err := l.walkPhase(p, page, &work)
		if err != nil || full {
			return err
		}
	}
	return nil
}

// walkPhase reports whether the page is done before the phase is.
func (l *listing) walkPhase(p phase, page *KeyPage, work *int) (full bool, err error) {
	m := l.open(p)
	defer m.close()
	for w := m.first(); w != nil; w = m.first() {
		var k KeyRow
		var matches bool
		*work++
		if !l.leavesOut(p, w.at) {
			*work += skipsPerLoad - 1
			if k, matches, err = l.load(domain.KeyIDFromBytes(w.at.id), p); err != nil {
				return false, err
			}
		}
		if len(page.Keys) == l.Limit && matches || *work > maxExamined*skipsPerLoad {
			page.NextCursor = l.nextCursor()
			return true, nil
		}
		if matches {
			page.Keys = append(page.Keys, k)
		}
		l.last, l.lastPhase = w.at, p
		w.next()
	}
	return false, nil
}

// open begins a walk of one phase where the cursor points, or at the first value that the
// filters leave.
func (l *listing) open(p phase) merge {
	m := merge{reverse: l.reverse}
	for _, prefix := range l.walkedRuns(p.order) {
		s := p.order.values(&l.KeyQuery).span(prefix, l.reverse)
		if after := l.after(p); after != nil {
			s.after = after
		}
		m.walkers = append(m.walkers, l.table(p.order).walk(s))
	}
	return m
}

// walkedRuns are those of the order's index, or of a filter's that is in the same order.
func (l *listing) walkedRuns(o *sortOrder) [][]byte {
	if o == byCreation && !l.Reach.All && l.history == nil { // with all, those rows are by organization first
		switch {
		case l.Owner != "":
			return [][]byte{l.run(rowByOwner, l.Owner)}
		case l.Scope != "":
			return [][]byte{l.run(rowByScope, l.Scope)}
		}
	}
	return l.indexRuns(o)
}

// leavesOut reports whether the filters leave out the key of an index row, as far as its expiry
// says: the row has it, so that the key need not be loaded.
func (l *listing) leavesOut(p phase, e indexEntry) bool {
	if p.order.usage || l.history != nil {
		return false
	}
	never := len(e.expires) == 0
	if l.Status == domain.Active || l.Status == domain.Disabled {
		if !never && bytes.Compare(e.expires, moment(l.Now)) < 0 {
			return true
		}
	}
	below := l.expiresBelow()
	return below != nil && (never || bytes.Compare(e.expires, below) >= 0)
}
