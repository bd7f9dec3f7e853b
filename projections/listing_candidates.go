package projections

import (
	"bytes"
	"slices"

	"github.com/keytrail/keytrail/domain"
)

// candidates looks for a filter whose index has few keys, and gives their ids.
func (l *listing) candidates() (ids [][idSize]byte, few bool) {
	for _, f := range l.filterIndexes() {
		if ids, few = f.collect(maxGathered); few {
			return ids, true
		}
	}
	return nil, false
}

// A filterIndex is the rows that one filter leaves of its index.
type filterIndex struct {
	rows
	spans []span
	org   *[idSize]byte // nil, or the one that the values of the rows end with
}

// filterIndexes are those of the query's filters, those first that tend to leave the fewest.
func (l *listing) filterIndexes() (all []filterIndex) {
	if l.Prefix != "" {
		f := filterIndex{rows: l.keys, spans: []span{{prefix: row(rowByPrefix), within: []byte(l.Prefix)}}}
		if !l.Reach.All {
			org := l.Reach.Org.Bytes()
			f.org = &org
		}
		all = append(all, f)
	}
	if l.Owner != "" {
		all = append(all, filterIndex{rows: l.keys, spans: []span{{prefix: l.run(rowByOwner, l.Owner)}}})
	}
	if l.Scope != "" {
		all = append(all, filterIndex{rows: l.keys, spans: []span{{prefix: l.run(rowByScope, l.Scope)}}})
	}
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

// run is the prefix of the rows with a value that are within reach.
func (l *listing) run(kind byte, value string) []byte {
	if l.Reach.All {
		return row(kind, text(value))
	}
	org := l.Reach.Org.Bytes()
	return row(kind, text(value), org[:])
}

// collect reads the ids, unless there are more than most, or so many of other organizations
// between them that it would take longer.
func (f filterIndex) collect(most int) (ids [][idSize]byte, few bool) {
	seen, walked := map[[idSize]byte]bool{}, 0
	for _, s := range f.spans {
		w := f.walk(s)
		for ; w.valid; w.next() {
			if len(seen) == most || walked == most*skipsPerLoad {
				w.close()
				return nil, false
			}
			walked++
			if f.org != nil && !bytes.HasSuffix(w.at.value, f.org[:]) {
				continue
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
