package projections

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A KeyQuery is what to list. Every empty field but Reach leaves its filter out.
type KeyQuery struct {
	Reach          domain.Reach
	Keyspace       string
	Status         domain.State // Absent: any
	Owner          string
	Scope          string // listed on the key exactly so
	Name           string // the name begins with it
	Prefix         string // the prefix of a secret begins with it
	CreatedAfter   time.Time
	LastUsedBefore time.Time // keys that were used, but not since
	ExpiresBefore  time.Time // keys that expire, before
	NeverRotated   bool      // keys that have their first secret
	RotationDue    bool      // keys whose keyspace says that they should be rotated by now
	Sort           string    // one of SortKeys; "-" before it: descending
	Limit          int       // 1 to 1000
	Cursor         string
	Now            time.Time
	At             *eventstore.Position // as keys were then, by Now, without when they were used; nil: as they are
}

// A KeyPage is one page. It may be shorter than the limit, even empty, and not be the
// last: NextCursor is "" at the end and only there.
type KeyPage struct {
	Keys       []KeyRow
	NextCursor string
}

// A page reads at most so many rows, so that each one is answered in milliseconds whatever
// is asked of however many keys: maxGathered candidates, or maxExamined on a walk.
var (
	maxGathered = 1000 // candidates that are sorted in memory; tests lower both
	maxExamined = 2000 // keys that a walk loads
)

// Keys lists a page. Keys that never expire, or were never used, come last in a sort by
// that time, ascending or descending.
func (s *Store) Keys(q KeyQuery) (page KeyPage, err error) {
	if q.At != nil && s.Position() < *q.At {
		return page, domain.ErrReadModelBehind
	}
	l := listing{KeyQuery: q, all: s.Keyspaces()}
	l.keyspaces = l.all.Names()
	if q.RotationDue {
		l.keyspaces = slices.DeleteFunc(l.keyspaces, func(name string) bool { return l.bounds(name).RotateAfter == 0 })
	}
	l.order, l.reverse = orderOf(q.Sort)
	if l.cursor, err = parseCursor(q.Cursor, q.hash()); err != nil {
		return page, err
	}
	err = s.keys.read(func(keys rows) error {
		return s.usage.read(func(usage rows) error {
			l.keys, l.usage = keys, usage
			if q.At != nil {
				h := keys.history(*q.At)
				defer h.close()
				l.history = &h
			}
			return l.page(&page)
		})
	})
	return page, err
}

// hash ties a cursor to its filters and sort.
func (q KeyQuery) hash() string {
	q.Limit, q.Cursor, q.Now = 0, "", time.Time{}
	b, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and times alone
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// expiresBelow is what the expiry of the listed keys is less than; nil: it does not matter.
// An expiry counts from its millisecond on.
func (q *KeyQuery) expiresBelow() []byte {
	if q.Status == domain.Expired && (q.ExpiresBefore.IsZero() || q.ExpiresBefore.After(q.Now)) {
		return moment(q.Now.Add(time.Millisecond))
	}
	return momentOrNil(q.ExpiresBefore)
}

// matches reports whether the filters leave k.
func (q *KeyQuery) matches(k *KeyRow) bool {
	return k.State != domain.Absent && q.Reach.Includes(k.Org) &&
		(q.Keyspace == "" || k.Keyspace == q.Keyspace) &&
		(q.Status == domain.Absent || k.StateAt(q.Now) == q.Status) &&
		(q.Owner == "" || k.Owner == q.Owner) &&
		(q.Scope == "" || slices.Contains(k.Scopes, q.Scope)) &&
		(!q.NeverRotated || len(k.Secrets) == 1) &&
		strings.HasPrefix(k.Name, q.Name) &&
		(q.Prefix == "" || slices.ContainsFunc(k.Secrets, func(s domain.KeySecret) bool { return strings.HasPrefix(s.Prefix, q.Prefix) })) &&
		(q.CreatedAfter.IsZero() || k.CreatedAt.After(q.CreatedAfter)) &&
		(q.LastUsedBefore.IsZero() || !k.LastUsedAt.IsZero() && k.LastUsedAt.Before(q.LastUsedBefore)) &&
		(q.ExpiresBefore.IsZero() || !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(q.ExpiresBefore))
}

// A listing is one page in the making, on one snapshot of each stream's tables.
type listing struct {
	KeyQuery
	keys, usage rows
	history     *keyHistory // nil: keys are listed as they are
	all         *domain.Keyspaces
	keyspaces   []string // the names of those that can have keys which match
	order       *sortOrder
	reverse     bool
	cursor      cursor

	// The last entry looked at and its phase: where the next page goes on.
	last      indexEntry
	lastPhase phase
}

// page collects what the best index gives: few candidates are sorted in memory, many are
// walked in the sort's own order.
func (l *listing) page(page *KeyPage) error {
	if l.history != nil {
		return l.formerPage(page)
	}
	candidates, few := l.candidates()
	var err error
	if few {
		err = l.sorted(candidates, page)
	} else {
		err = l.walked(page)
	}
	if err != nil {
		return err
	}
	for i := range page.Keys {
		k := &page.Keys[i]
		if k.LastUsedAt, err = loadLastUsed(l.usage, k.ID); err != nil {
			return err
		}
	}
	return nil
}

// A phase is a part of a listing: the keys that have the value that is sorted by, in that
// order, and then those without, in that of their creation.
type phase struct {
	number int // in cursors
	order  *sortOrder
}

const (
	withValue = iota
	withoutValue
	phasesEnd
)

// phases are those that can have keys and that the cursor has not passed: a filter on what is
// sorted by leaves out keys without it.
func (l *listing) phases() []phase {
	all := []phase{{withValue, l.order}, {withoutValue, byCreation}}
	if !l.order.optional || !l.order.values(&l.KeyQuery).isAll() {
		all = all[:1]
	}
	return all[min(l.cursor.Phase, len(all)):]
}

// after is where the cursor points if that is in p, else nil.
func (l *listing) after(p phase) *indexEntry {
	if p.number != l.cursor.Phase {
		return nil
	}
	return l.cursor.entry()
}

// nextCursor is where the next page goes on.
func (l *listing) nextCursor() string { return l.cursor.at(l.lastPhase.number, l.last) }

// load reads a key and reports whether it belongs on the listing, in this phase.
func (l *listing) load(id domain.KeyID, p phase) (k KeyRow, matches bool, err error) {
	if l.history != nil {
		k, err = l.history.key(id)
	} else {
		k, err = loadKey(l.keys, id)
	}
	if err != nil {
		return k, false, err
	}
	if l.order.usage || !l.LastUsedBefore.IsZero() {
		if k.LastUsedAt, err = loadLastUsed(l.usage, id); err != nil {
			return k, false, err
		}
	}
	inPhase := (l.order.value(&k) == nil) == (p.number == withoutValue)
	due := !l.RotationDue || l.bounds(k.Keyspace).RotationDue(&k.Key, l.Now)
	return k, inPhase && due && l.matches(&k), nil
}

// bounds are those of a keyspace.
func (l *listing) bounds(name string) domain.KeyBounds {
	keyspace, err := l.all.Named(name)
	if err != nil {
		return domain.KeyBounds{}
	}
	return keyspace.Bounds
}

// indexRuns are the prefixes of an order's index under which the query can find keys.
func (l *listing) indexRuns(o *sortOrder) (prefixes [][]byte) {
	org := indexPart(l.Reach)
	if o.usage {
		return [][]byte{row(o.index, org[:])}
	}
	for _, p := range l.partitions(o, org) {
		if _, known := slices.BinarySearch(l.keyspaces, p.keyspace); known && slices.Contains(l.states(), p.state) {
			prefixes = append(prefixes, row(o.index, partition(org, p.keyspace, p.state)))
		}
	}
	return prefixes
}

// partitions are those of an index that keys of the query's keyspace can be in; if it names
// none, those that there are.
func (l *listing) partitions(o *sortOrder, org [idSize]byte) (all []keyPartition) {
	if l.Keyspace == "" {
		return l.table(o).partitions(row(o.index, org[:]))
	}
	for _, state := range l.states() {
		all = append(all, keyPartition{l.Keyspace, state})
	}
	return all
}

// states are those of the index rows of keys that can match: whatever a key's state is, at a past
// moment it may have been another.
func (l *listing) states() []domain.State {
	if l.history != nil {
		return statesOf(domain.Absent)
	}
	return statesOf(l.Status)
}

// statesOf are the states that keys of a status are in. Expired is none: the clock decides.
func statesOf(status domain.State) []domain.State {
	switch status {
	case domain.Absent:
		return []domain.State{domain.Active, domain.Disabled, domain.Revoked}
	case domain.Expired:
		return []domain.State{domain.Active, domain.Disabled}
	}
	return []domain.State{status}
}

// table has the index of o.
func (l *listing) table(o *sortOrder) rows {
	if o.usage {
		return l.usage
	}
	return l.keys
}
