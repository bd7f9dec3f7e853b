package projections

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/keytrail/keytrail/domain"
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
	Sort           string    // created_at, last_used_at, name or expires_at; "-" before it: descending
	Limit          int       // 1 to 1000
	Cursor         string
	Now            time.Time
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

// perLoad is how many rows can be passed over in the time that loading a key takes.
const perLoad = 10

const (
	sortCreated  = "created_at"
	sortLastUsed = "last_used_at"
	sortName     = "name"
	sortExpires  = "expires_at"
)

// SortKeys are the sorts that a KeyQuery can have, each also with a "-" before it.
var SortKeys = []string{sortCreated, sortLastUsed, sortName, sortExpires}

// Keys lists a page. Keys that never expire, or were never used, come last in a sort by
// that time, ascending or descending.
func (s *Store) Keys(q KeyQuery) (page KeyPage, err error) {
	l := listing{KeyQuery: q, sort: strings.TrimPrefix(q.Sort, "-"), reverse: strings.HasPrefix(q.Sort, "-")}
	if l.cursor, err = parseCursor(q.Cursor, q.hash()); err != nil {
		return page, err
	}
	err = s.keys.read(func(keys rows) error {
		return s.usage.read(func(usage rows) error {
			l.keys, l.usage = keys, usage
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

// A listing is one page in the making, inside one transaction on each stream's tables.
type listing struct {
	KeyQuery
	keys, usage rows
	sort        string
	reverse     bool
	cursor      cursor

	// The last row looked at and its phase: where the next page goes on.
	last      place
	lastPhase int
}

// page collects what the best index gives: few candidates are sorted in memory, many are
// walked in the sort's own order.
func (l *listing) page(page *KeyPage) error {
	candidates, few, err := l.gather()
	if err != nil {
		return err
	}
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

// A phase is a part of the walk: keys that have the time that is sorted by, or those that
// have not, which are walked by their creation.
const (
	withValue = iota
	withoutValue
)

// phases are those that can have keys: a filter on the time that is sorted by leaves out
// keys without it.
func (l *listing) phases() []int {
	if low, high := l.bounds(l.sort); l.sort == sortCreated || l.sort == sortName || low != nil || high != nil {
		return []int{withValue}
	}
	return []int{withValue, withoutValue}
}

// walked fills the page along the sort index, and stops after the work of loading
// maxExamined keys.
func (l *listing) walked(page *KeyPage) error {
	work := 0
	after := l.cursor.place()
	for _, phase := range l.phases() {
		if after != nil && phase != l.cursor.Phase {
			continue // done with before
		}
		m := l.sources(phase, after)
		after = nil
		full, err := l.walkPhase(m, phase, page, &work)
		m.close()
		if err != nil || full {
			return err
		}
	}
	return nil
}

// walkPhase tells whether the page is done before the phase is.
func (l *listing) walkPhase(m merge, phase int, page *KeyPage, work *int) (full bool, err error) {
	for {
		p, ok := m.head()
		if !ok || l.beyond(phase, p) {
			return false, nil
		}
		var k KeyRow
		var matches bool
		*work++
		if !l.leavesOut(phase, p) {
			*work += perLoad - 1
			if k, matches, err = l.load(domain.KeyIDFromBytes(p.id), phase); err != nil {
				return false, err
			}
		}
		if len(page.Keys) == l.Limit && matches || *work > maxExamined*perLoad {
			page.NextCursor = l.cursor.at(l.lastPhase, l.last)
			return true, nil
		}
		if matches {
			page.Keys = append(page.Keys, k)
		}
		l.last, l.lastPhase = p, phase
		m.next()
	}
}

// leavesOut tells what a row of the keys table says without its key, by when that expires.
func (l *listing) leavesOut(phase int, p place) bool {
	if l.sort == sortLastUsed && phase == withValue {
		return false
	}
	never := len(p.expires) == 0
	if l.Status == domain.Active || l.Status == domain.Disabled {
		if !never && bytes.Compare(p.expires, moment(l.Now)) < 0 {
			return true
		}
	}
	_, high := l.bounds(sortExpires)
	return high != nil && (never || bytes.Compare(p.expires, high) >= 0)
}

// beyond tells that a walk has passed the last row that the filter on its own sort allows.
func (l *listing) beyond(phase int, p place) bool {
	low, high := l.bounds(l.sort)
	if phase == withoutValue {
		low, high = l.bounds(sortCreated)
	}
	if l.reverse {
		return low != nil && bytes.Compare(p.sort, low) <= 0
	}
	return high != nil && bytes.Compare(p.sort, high) >= 0
}

// bounds are what the filters say of the sort values of one index: more than low, less
// than high; nil: no bound.
func (l *listing) bounds(sort string) (low, high []byte) {
	switch {
	case sort == sortCreated && !l.CreatedAfter.IsZero():
		return moment(l.CreatedAfter), nil
	case sort == sortExpires && (l.Status == domain.Expired || !l.ExpiresBefore.IsZero()):
		return nil, l.expiresBelow()
	case sort == sortLastUsed && !l.LastUsedBefore.IsZero():
		return nil, moment(l.LastUsedBefore)
	}
	return nil, nil
}

// expiresBelow is what the expiry of the listed keys is less than. An expiry counts from its
// millisecond on.
func (l *listing) expiresBelow() []byte {
	now := moment(l.Now.Add(time.Millisecond))
	switch {
	case l.Status != domain.Expired:
		return moment(l.ExpiresBefore)
	case l.ExpiresBefore.IsZero() || l.ExpiresBefore.After(l.Now):
		return now
	}
	return moment(l.ExpiresBefore)
}

// sources are the index spans of one phase, from after or from the first bound on.
func (l *listing) sources(phase int, after *place) merge {
	sort := l.sort
	if phase == withoutValue {
		sort = sortCreated
	}
	if after == nil {
		after = l.firstBound(sort)
	}
	m := merge{reverse: l.reverse}
	for _, s := range l.spans(sort) {
		s.after, s.reverse = after, l.reverse
		m.sources = append(m.sources, l.table(sort).walk(s))
	}
	return m
}

// lastID sorts after every id.
var lastID = [16]byte(bytes.Repeat([]byte{0xff}, 16))

// firstBound is where a walk can begin because of the filter on its own sort.
func (l *listing) firstBound(sort string) *place {
	low, high := l.bounds(sort)
	switch {
	case l.reverse && high != nil:
		return &place{sort: high}
	case !l.reverse && low != nil:
		return &place{sort: low, id: lastID}
	}
	return nil
}

func (l *listing) table(sort string) rows {
	if sort == sortLastUsed {
		return l.usage
	}
	return l.keys
}

// spans are the runs of the index of one sort that the query can need.
func (l *listing) spans(sort string) []span {
	org := indexOf(l.Reach)
	switch {
	case sort == sortLastUsed:
		return []span{{prefix: row(rowLastUsed, org[:])}}
	case sort == sortCreated && l.Owner != "":
		return []span{{prefix: row(rowByOwner, org[:], text(l.Owner))}}
	case sort == sortCreated && l.Scope != "":
		return []span{{prefix: row(rowByScope, org[:], text(l.Scope))}}
	}
	return l.partitions(org, sort)
}

func (l *listing) partitions(org [16]byte, sort string) (spans []span) {
	kind := map[string]byte{sortCreated: rowByCreated, sortName: rowByName, sortExpires: rowByExpiry}[sort]
	for _, keyspace := range domain.KeyspaceNames() {
		if l.Keyspace != "" && l.Keyspace != keyspace {
			continue
		}
		for _, state := range statesOf(l.Status) {
			s := span{prefix: row(kind, partition(org, keyspace, state))}
			if sort == sortName {
				s.within = []byte(l.Name)
			}
			spans = append(spans, s)
		}
	}
	return spans
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

// ahead tells whether a walk that has seen after has p still before it.
func (l *listing) ahead(p place, after *place) bool {
	switch {
	case after == nil:
		return true
	case l.reverse:
		return p.compare(*after) < 0
	}
	return p.compare(*after) > 0
}

func (l *listing) order(p places) {
	slices.SortFunc(p, func(a, b place) int {
		if l.reverse {
			a, b = b, a
		}
		return a.compare(b)
	})
}

func (l *listing) sortValue(k KeyRow, sort string) []byte {
	switch sort {
	case sortName:
		return text(k.Name)
	case sortExpires:
		return moment(k.ExpiresAt)
	case sortLastUsed:
		return moment(k.LastUsedAt)
	}
	return moment(k.CreatedAt)
}

// gather looks for a filter that leaves few keys, and gives their ids.
func (l *listing) gather() (ids [][16]byte, few bool, err error) {
	for _, spans := range l.selective() {
		ids, few = l.collect(spans)
		if few {
			return ids, true, nil
		}
	}
	return nil, false, nil
}

// A bounded is a span of one sort's index, or of a filter's, and where to leave it.
type bounded struct {
	rows
	span
	high []byte
}

// selective are the filters' own indexes, those first that tend to leave the fewest.
func (l *listing) selective() (all [][]bounded) {
	org := indexOf(l.Reach)
	filter := func(kind byte, value string, prefix bool) {
		if value == "" {
			return
		}
		s := span{prefix: row(kind, org[:]), within: text(value)}
		if prefix {
			s.within = []byte(value)
		}
		all = append(all, []bounded{{rows: l.keys, span: s}})
	}
	filter(rowByPrefix, l.Prefix, true)
	filter(rowByOwner, l.Owner, false)
	filter(rowByScope, l.Scope, false)
	if l.Name != "" {
		all = append(all, l.ranged(sortName))
	}
	for _, sort := range []string{sortExpires, sortLastUsed, sortCreated} {
		if low, high := l.bounds(sort); low != nil || high != nil {
			all = append(all, l.ranged(sort))
		}
	}
	return all
}

// ranged are the spans of one sort's index that the filters on it leave.
func (l *listing) ranged(sort string) (spans []bounded) {
	plain := listing{KeyQuery: l.KeyQuery, keys: l.keys, usage: l.usage}
	plain.Owner, plain.Scope = "", ""
	_, high := l.bounds(sort)
	for _, s := range plain.spans(sort) {
		s.after = plain.firstBound(sort)
		spans = append(spans, bounded{l.table(sort), s, high})
	}
	return spans
}

// collect reads the ids in spans, unless there are more than maxGathered.
func (l *listing) collect(spans []bounded) (ids [][16]byte, few bool) {
	seen := map[[16]byte]bool{}
	for _, b := range spans {
		w := b.walk(b.span)
		for ; w.valid && (b.high == nil || bytes.Compare(w.at.sort, b.high) < 0); w.next() {
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
func (l *listing) sorted(ids [][16]byte, page *KeyPage) error {
	found := map[[16]byte]KeyRow{}
	after := l.cursor.place()
	for _, phase := range l.phases() {
		if after != nil && phase != l.cursor.Phase {
			continue
		}
		sort := l.sort
		if phase == withoutValue {
			sort = sortCreated
		}
		var order places
		for _, id := range ids {
			k, matches, err := l.load(domain.KeyIDFromBytes(id), phase)
			if err != nil {
				return err
			}
			p := place{sort: l.sortValue(k, sort), id: id}
			if matches && l.ahead(p, after) {
				order = append(order, p)
				found[id] = k
			}
		}
		l.order(order)
		after = nil
		for i, p := range order {
			if len(page.Keys) == l.Limit {
				page.NextCursor = l.cursor.at(l.before(order, i, phase, page))
				return nil
			}
			page.Keys = append(page.Keys, found[p.id])
		}
	}
	return nil
}

// before is the place of the last key on the page: of this phase, or of the one before.
func (l *listing) before(order places, i, phase int, page *KeyPage) (int, place) {
	if i > 0 {
		return phase, order[i-1]
	}
	k := page.Keys[len(page.Keys)-1]
	phase = l.phases()[0]
	sort := l.sort
	if phase == withoutValue {
		sort = sortCreated
	}
	return phase, place{sort: l.sortValue(k, sort), id: k.ID.Bytes()}
}

// load reads a key and tells whether it belongs on the listing, in this phase.
func (l *listing) load(id domain.KeyID, phase int) (k KeyRow, matches bool, err error) {
	if k.Key, k.Revision, err = loadKey(l.keys, id); err != nil {
		return k, false, err
	}
	if l.sort == sortLastUsed || !l.LastUsedBefore.IsZero() {
		if k.LastUsedAt, err = loadLastUsed(l.usage, id); err != nil {
			return k, false, err
		}
	}
	return k, l.inPhase(k, phase) && l.matches(k), nil
}

func (l *listing) inPhase(k KeyRow, phase int) bool {
	switch l.sort {
	case sortExpires:
		return k.ExpiresAt.IsZero() == (phase == withoutValue)
	case sortLastUsed:
		return k.LastUsedAt.IsZero() == (phase == withoutValue)
	}
	return true
}

func (l *listing) matches(k KeyRow) bool {
	return k.State != domain.Absent && l.Reach.Includes(k.Org) &&
		(l.Keyspace == "" || k.Keyspace == l.Keyspace) &&
		(l.Status == domain.Absent || k.StateAt(l.Now) == l.Status) &&
		(l.Owner == "" || k.Owner == l.Owner) &&
		(l.Scope == "" || slices.Contains(k.Scopes, l.Scope)) &&
		strings.HasPrefix(k.Name, l.Name) &&
		(l.Prefix == "" || slices.ContainsFunc(k.Secrets, func(s domain.KeySecret) bool { return strings.HasPrefix(s.Prefix, l.Prefix) })) &&
		(l.CreatedAfter.IsZero() || k.CreatedAt.After(l.CreatedAfter)) &&
		(l.LastUsedBefore.IsZero() || !k.LastUsedAt.IsZero() && k.LastUsedAt.Before(l.LastUsedBefore)) &&
		(l.ExpiresBefore.IsZero() || !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(l.ExpiresBefore))
}
