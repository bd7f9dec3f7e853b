package projections

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowSink is the kind of rows of the sinks table: id → revision, sink. A deleted sink has one, too,
// so that it can be told whose it was.
const rowSink = 's'

// A SinkRow is one sink. Revision is the position of its last event.
type SinkRow struct {
	domain.Sink
	Revision eventstore.Position
}

func (s *SinkRow) decode(v []byte) error {
	n, v := cutNumber(v)
	s.Revision = eventstore.Position(n)
	return json.Unmarshal(v, &s.Sink)
}

// compare orders sinks by their creation.
func (s *SinkRow) compare(o *SinkRow) int {
	return cmp.Or(s.CreatedAt.Compare(o.CreatedAt), cmp.Compare(s.ID, o.ID))
}

// A SinkSet is all sinks that are not deleted, as they were at one moment. It does not change, nor
// do its rows: one that is the same pointer in two sets is the same sink.
type SinkSet struct {
	byID    map[domain.SinkID]*SinkRow
	perOrg  map[domain.OrgID]domain.SinkCounts // without All
	changed chan struct{}                      // closed when a newer set is published
}

func newSinkSet(rows map[domain.SinkID]*SinkRow) *SinkSet {
	s := &SinkSet{byID: rows, perOrg: map[domain.OrgID]domain.SinkCounts{}, changed: make(chan struct{})}
	for _, row := range rows {
		counts := s.perOrg[row.Org]
		counts.OfOrg++
		if row.Type == domain.SinkStream {
			counts.StreamsOfOrg++
		}
		s.perOrg[row.Org] = counts
	}
	return s
}

// with is the set in which some rows are others.
func (s *SinkSet) with(rows map[domain.SinkID]*SinkRow) *SinkSet {
	next := maps.Clone(s.byID)
	for id, row := range rows {
		if row.Exists() {
			next[id] = row
		} else {
			delete(next, id)
		}
	}
	return newSinkSet(next)
}

// Changed is closed when there is a newer set.
func (s *SinkSet) Changed() <-chan struct{} { return s.changed }

// All are the sinks of s, in no order.
func (s *SinkSet) All() iter.Seq[*SinkRow] { return maps.Values(s.byID) }

// Find is the sink of an id; nil if there is none.
func (s *SinkSet) Find(id domain.SinkID) *SinkRow { return s.byID[id] }

// A sinksTable writes the rows of sinks, and gives the store the set of all of them when they are
// published.
type sinksTable struct {
	directTable
	store   *Store
	set     *SinkSet
	changes map[domain.SinkID]*SinkRow // of the batch under way
}

func newSinksTable(s *Store, state tableState) table {
	t := &sinksTable{directTable: directTable{tableState: state}, store: s, set: newSinkSet(map[domain.SinkID]*SinkRow{})}
	t.write = t.writeSinks
	return t
}

func (t *sinksTable) resume(r rows, e catalogEntry) error {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	all := map[domain.SinkID]*SinkRow{}
	err := r.each([]byte{rowSink}, func(_, value []byte) error {
		s := new(SinkRow)
		if err := s.decode(value); err != nil || !s.Exists() {
			return err
		}
		all[s.ID] = s
		return nil
	})
	t.set = newSinkSet(all)
	return err
}

func (t *sinksTable) apply(tx *badger.Txn, b eventstore.Batch) error {
	t.changes = nil
	if err := t.directTable.apply(tx, b); err != nil || t.changes == nil {
		return err
	}
	t.set = t.set.with(t.changes)
	return nil
}

func (t *sinksTable) publishing(uint64) {
	if before := t.store.sinkSet.Swap(t.set); before != t.set {
		close(before.changed)
	}
}

func (t *sinksTable) writeSinks(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		if err := t.writeSink(r, &b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *sinksTable) writeSink(r rowMap, record *eventstore.Record) error {
	id, err := domain.ParseSinkID(record.Subject)
	if err != nil {
		return nil // an event of another kind of aggregate
	}
	s := new(SinkRow)
	if _, err := r.get(sinkRow(id), s.decode); err != nil {
		return err
	}
	s.Apply(record.Event)
	if s.Org != record.Org {
		return fmt.Errorf("%w: position %d is of %s, which belongs to %s, in %s", errUnappliable, record.Position, id, s.Org, record.Org)
	}
	s.Revision = record.Position
	value, err := json.Marshal(s.Sink)
	if err != nil {
		return err
	}
	if t.changes == nil {
		t.changes = map[domain.SinkID]*SinkRow{}
	}
	t.changes[id] = s
	return r.set(sinkRow(id), append(number(uint64(record.Position)), value...))
}

func sinkRow(id domain.SinkID) []byte { return row(rowSink, []byte(id)) }

// SinkSet is all sinks as they were published last. It takes no lock.
func (s *Store) SinkSet() *SinkSet { return s.sinkSet.Load() }

// SinkCounts are how many sinks an organization has, and how many there are.
func (s *Store) SinkCounts(org domain.OrgID) domain.SinkCounts {
	set := s.SinkSet()
	counts := set.perOrg[org]
	counts.All = len(set.byID)
	return counts
}

// Sink finds one sink within reach; domain.ErrSinkNotFound.
func (s *Store) Sink(reach domain.Reach, id domain.SinkID) (SinkRow, error) {
	found := s.SinkSet().Find(id)
	if found == nil || !reach.Includes(found.Org) {
		return SinkRow{}, domain.ErrSinkNotFound
	}
	return *found, nil
}

// SinkOrg is the organization of a sink within reach, be it deleted; domain.ErrSinkNotFound.
func (s *Store) SinkOrg(reach domain.Reach, id domain.SinkID) (domain.OrgID, error) {
	var found SinkRow
	err := s.sinks.read(func(r rows) error {
		_, err := r.get(sinkRow(id), found.decode)
		return err
	})
	if err == nil && !reach.Includes(found.Org) {
		err = domain.ErrSinkNotFound
	}
	return found.Org, err
}

// Sinks lists those within reach in the order of their creation, limit at a time. cursor is ""
// or what the page before answered as next, which is "" at the end.
func (s *Store) Sinks(reach domain.Reach, cursor string, limit int) (page []SinkRow, next string, err error) {
	from, err := parseCursor(cursor, "sinks")
	if err != nil {
		return nil, "", err
	}
	var found []*SinkRow
	for row := range s.SinkSet().All() {
		if reach.Includes(row.Org) && (from.entry() == nil || sinkEntry(row).compare(*from.entry()) > 0) {
			found = append(found, row)
		}
	}
	slices.SortFunc(found, (*SinkRow).compare)
	for _, row := range found[:min(limit, len(found))] {
		page = append(page, *row)
	}
	if len(found) > limit {
		next = from.at(0, sinkEntry(found[limit-1]))
	}
	return page, next, nil
}

// sinkEntry is a sink's place in the listing.
func sinkEntry(s *SinkRow) indexEntry {
	return indexEntry{value: moment(s.CreatedAt), id: s.ID.Bytes()}
}
