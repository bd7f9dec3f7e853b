package projections

import (
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// candidates looks for a filter whose index has few keys, and gives their ids.
func (l *listing) candidates() (ids [][idSize]byte, few bool) {
	for _, f := range l.filterIndexes() {
		if ids, few = f.collect(); few {
			return ids, true
		}
	}
	return nil, false
}

// A filterIndex is the rows that one filter leaves of its index.
type filterIndex struct {
	rows
	spans []span
}

// filterIndexes are those of the query's filters, those first that tend to leave the fewest.
func (l *listing) filterIndexes() (all []filterIndex) {
	org := indexPart(l.Reach)
	add := func(kind byte, value string, within []byte) {
		if value != "" {
			all = append(all, filterIndex{l.keys, []span{{prefix: row(kind, org[:]), within: within}}})
		}
	}
	add(rowByPrefix, l.Prefix, []byte(l.Prefix))
	add(rowByOwner, l.Owner, text(l.Owner))
	add(rowByScope, l.Scope, text(l.Scope))
	for _, o := range slices.Backward(sortOrders) {
		values := o.values(&l.KeyQuery)
		if values.isAll() {
			continue
		}
		f := filterIndex{rows: l.table(o)}
		for _, prefix := range l.indexRuns(o) {
			f.spans = append(f.spans, values.span(prefix, false))
		}
		all = append(all, f)
	}
	return all
}

// collect reads the ids, unless there are more than maxGathered.
func (f filterIndex) collect() (ids [][idSize]byte, few bool) {
	seen := map[[idSize]byte]bool{}
	for _, s := range f.spans {
		w := f.walk(s)
		for ; w.valid; w.next() {
			if len(seen) == maxGathered {
				w.close()
				return nil, false
			}
			if !seen[w.at.id] {
				seen[w.at.id] = true
				ids = append(ids, w.at.id)
			}
		}
		w.close()
	}
	return ids, true
}

// sorted fills the page from candidates, sorted in memory.
func (l *listing) sorted(ids [][idSize]byte, page *KeyPage) error {
	for _, p := range l.phases() {
		found, err := l.sortedPhase(ids, p)
		if err != nil {
			return err
		}
		for _, k := range found {
			if len(page.Keys) == l.Limit {
				page.NextCursor = l.nextCursor()
				return nil
			}
			page.Keys = append(page.Keys, k.KeyRow)
			l.last, l.lastPhase = k.at, p
		}
	}
	return nil
}

// A sortedKey is a key and where an index would have it.
type sortedKey struct {
	KeyRow
	at indexEntry
}

// sortedPhase is the candidates of one phase that come after the cursor, in the order of the
// listing.
func (l *listing) sortedPhase(ids [][idSize]byte, p phase) (found []sortedKey, err error) {
	compare := indexEntry.compare
	if l.reverse {
		compare = func(a, b indexEntry) int { return b.compare(a) }
	}
	after := l.after(p)
	for _, id := range ids {
		k, matches, err := l.load(domain.KeyIDFromBytes(id), p)
		if err != nil {
			return nil, err
		}
		at := indexEntry{value: p.order.value(&k), id: id}
		if matches && (after == nil || compare(at, *after) > 0) {
			found = append(found, sortedKey{k, at})
		}
	}
	slices.SortFunc(found, func(a, b sortedKey) int { return compare(a.at, b.at) })
	return found, nil
}
