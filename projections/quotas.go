package projections

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the quotas table.
const (
	rowQuota       = 'q' // org, quota → revision, places taken, reservations
	rowHold        = 'h' // org, quota, key → the key's revision that the place was taken for
	rowHolder      = 'k' // key → its places, see holder
	rowFreeable    = 'f' // org, quota, key; of places that can perhaps be given back
	rowPlaced      = 'n' // org → live keys that have a place in the quota of its plan
	rowUnusedPlace = 'u' // when it was taken, key; of keys that have places they do not use
)

// A holder is a key with the places that it has.
type holder struct {
	Org    domain.OrgID `json:"org"`
	Ended  bool         `json:"ended,omitempty"` // it was revoked or has expired
	Places []place      `json:"places"`
}

type place struct {
	domain.QuotaOf
	Revision uint64    `json:"revision,omitempty"`
	Unused   time.Time `json:"unused,omitzero"` // since when; zero: the key is one of the quota's
}

func applyQuotas(r rowMap, records []eventstore.Record) error {
	for i := range records {
		if err := applyQuota(r, &records[i]); err != nil {
			return err
		}
	}
	return nil
}

func applyQuota(r rowMap, record *eventstore.Record) error {
	switch e := record.Event.(type) {
	case domain.QuotaReserved:
		for _, id := range e.Existing {
			if err := moveHolder(r, record, id, func(h *holder) { h.take(place{QuotaOf: e.QuotaOf}) }); err != nil {
				return err
			}
		}
		taken := place{QuotaOf: e.QuotaOf, Revision: e.Revision, Unused: e.At}
		if err := moveHolder(r, record, e.Key, func(h *holder) { h.take(taken) }); err != nil {
			return err
		}
		return moveQuota(r, record, e.QuotaOf)
	case domain.QuotaReleased:
		for _, id := range e.Keys {
			if err := moveHolder(r, record, id, func(h *holder) { h.giveBack(e.QuotaOf) }); err != nil {
				return err
			}
		}
		return moveQuota(r, record, e.QuotaOf)
	case domain.KeyCreated:
		return moveHolder(r, record, e.ID, func(h *holder) { h.use(e.Keyspace, e.Owner, e.At) })
	case domain.KeyUpdated:
		return applyToHolder(r, record, func(h *holder) {
			if e.Owner != nil {
				h.use(h.keyspace(), *e.Owner, e.At)
			}
			h.Ended = h.Ended && e.ExpiresAt == nil && !e.NoExpiry // it can be changed only as long as it is not at its end
		})
	case domain.KeyRevoked, domain.KeyExpired:
		return applyToHolder(r, record, func(h *holder) { h.Ended = true })
	}
	return nil
}

// keyspace is that of the key; "" if no place tells.
func (h *holder) keyspace() (name string) {
	for _, p := range h.Places {
		name = cmp.Or(name, p.Keyspace)
	}
	return name
}

// placed reports whether the key is live and has a place in the quota of its organization's plan.
func (h *holder) placed() bool {
	return !h.Ended && slices.ContainsFunc(h.Places, func(p place) bool { return p.OfPlan() && p.Unused.IsZero() })
}

func (h *holder) take(p place) {
	h.giveBack(p.QuotaOf)
	h.Places = append(h.Places, p)
}

func (h *holder) giveBack(of domain.QuotaOf) {
	h.Places = slices.DeleteFunc(h.Places, func(p place) bool { return p.ID(h.Org) == of.ID(h.Org) })
}

// use notes that from a moment on the key is one of some quotas, and of no others.
func (h *holder) use(keyspace, owner string, at time.Time) {
	k := domain.Key{Keyspace: keyspace, State: domain.Active, Settings: domain.Settings{Owner: owner}}
	for i := range h.Places {
		p := &h.Places[i]
		switch {
		case p.Has(&k):
			p.Unused = time.Time{}
		case p.Unused.IsZero():
			p.Unused = at
		}
	}
}

func applyToHolder(r rowMap, record *eventstore.Record, change func(*holder)) error {
	id, isKey := keyOf(record)
	if !isKey {
		return nil
	}
	return moveHolder(r, record, id, change)
}

// moveHolder changes a key's places, and the rows that follow from them. Of an event of a key
// that has none it makes nothing.
func moveHolder(r rowMap, record *eventstore.Record, id domain.KeyID, change func(*holder)) error {
	before, err := loadHolder(r, id)
	if err != nil {
		return err
	}
	_, reserves := record.Event.(domain.QuotaReserved)
	if len(before.Places) == 0 && !reserves {
		return nil
	}
	after := before
	after.Org, after.Places = record.Org, slices.Clone(before.Places)
	change(&after)
	if err := movePlaced(r, &before, &after); err != nil {
		return err
	}
	old, now := before.rows(id), after.rows(id)
	for row := range old {
		if _, stays := now[row]; !stays {
			if err := r.delete([]byte(row)); err != nil {
				return err
			}
		}
	}
	for row, value := range now {
		if err := r.set([]byte(row), value); err != nil {
			return err
		}
	}
	return nil
}

// movePlaced counts a key that has a place in the quota of a plan now, or has none any more.
func movePlaced(r rowMap, before, after *holder) error {
	was, is := before.placed(), after.placed()
	if was == is {
		return nil
	}
	org := after.Org.Bytes()
	n, err := loadCount(r, rowPlaced, org)
	if err != nil {
		return err
	}
	if n++; was {
		n -= 2
	}
	return setCount(r, rowPlaced, org, n)
}

// rows are all rows of a key's places.
func (h *holder) rows(id domain.KeyID) map[string][]byte {
	all := map[string][]byte{}
	if len(h.Places) == 0 {
		return all
	}
	key := id.Bytes()
	value, err := json.Marshal(h)
	if err != nil {
		panic(err) // texts and times alone
	}
	all[string(row(rowHolder, key[:]))] = value
	for _, p := range h.Places {
		of := quotaPart(h.Org, p.QuotaOf)
		all[string(row(rowHold, of, key[:]))] = number(p.Revision)
		if h.Ended || !p.Unused.IsZero() {
			all[string(row(rowFreeable, of, key[:]))] = nil
		}
		if !h.Ended && !p.Unused.IsZero() {
			all[string(row(rowUnusedPlace, moment(p.Unused), key[:]))] = nil
		}
	}
	return all
}

func loadHolder(r rowMap, id domain.KeyID) (h holder, err error) {
	key := id.Bytes()
	_, err = r.get(row(rowHolder, key[:]), func(v []byte) error { return json.Unmarshal(v, &h) })
	return h, err
}

// moveQuota counts an event of a quota.
func moveQuota(r rowMap, record *eventstore.Record, of domain.QuotaOf) error {
	q, _, err := loadQuota(r, record.Org, of)
	if err != nil {
		return err
	}
	q.Apply(record.Event)
	value := append(number(uint64(record.Position)), append(number(uint64(q.Held)), number(uint64(q.Reserved))...)...)
	return r.set(row(rowQuota, quotaPart(record.Org, of)), value)
}

// loadQuota gives a quota without its places, and its revision.
func loadQuota(r rowMap, org domain.OrgID, of domain.QuotaOf) (q domain.Quota, revision eventstore.Position, err error) {
	q.Holds = map[domain.KeyID]uint64{}
	_, err = r.get(row(rowQuota, quotaPart(org, of)), func(v []byte) error {
		n, v := cutNumber(v)
		held, v := cutNumber(v)
		reserved, _ := cutNumber(v)
		revision, q.Held, q.Reserved = eventstore.Position(n), int(held), int(reserved)
		return nil
	})
	return q, revision, err
}

func quotaPart(org domain.OrgID, of domain.QuotaOf) []byte {
	bits := org.Bytes()
	return append(bits[:], text(of.ID(org))...)
}

// maxHolds bounds the places that Quota gives beside those that are asked for.
const maxHolds = 16

// Quota is a quota as of its last event here, at revision, with the places of keys and of some others.
func (s *Store) Quota(org domain.OrgID, of domain.QuotaOf, keys ...domain.KeyID) (q domain.Quota, revision eventstore.Position, err error) {
	err = s.quotas.read(func(r rows) error {
		if q, revision, err = loadQuota(r, org, of); err != nil {
			return err
		}
		part := quotaPart(org, of)
		for _, id := range keys {
			key := id.Bytes()
			if _, err := r.get(row(rowHold, part, key[:]), func(v []byte) error {
				q.Holds[id], _ = cutNumber(v)
				return nil
			}); err != nil {
				return err
			}
		}
		return r.eachKey(row(rowHold, part), maxHolds, func(id domain.KeyID, _, v []byte) error {
			q.Holds[id], _ = cutNumber(v)
			return nil
		})
	})
	return q, revision, err
}

// errEnough ends eachKey.
var errEnough = errors.New("enough")

// eachKey calls f with the ids that the first limit rows with a prefix end with, the rows
// themselves and their values, until f returns an error.
func (r rows) eachKey(prefix []byte, limit int, f func(id domain.KeyID, row, value []byte) error) error {
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key(prefix)})
	defer it.Close()
	for it.Rewind(); it.Valid() && limit > 0; it.Next() {
		limit--
		key := it.Item().KeyCopy(nil)[tableKeyHead:]
		id := domain.KeyIDFromBytes([idSize]byte(key[len(key)-idSize:]))
		if err := it.Item().Value(func(v []byte) error { return f(id, key, v) }); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// maxWalkedHolds is how many places Freeable looks at in a quota of which no event says that
// one is free: of keys that expired a moment ago.
const maxWalkedHolds = 1000

// Freeable are places of a quota that can perhaps be given back, at most limit.
func (s *Store) Freeable(org domain.OrgID, of domain.QuotaOf, now time.Time, limit int) (all []domain.Hold, err error) {
	err = s.quotas.read(func(r rows) error {
		part := quotaPart(org, of)
		add := func(id domain.KeyID, _, _ []byte) error {
			hold, err := r.hold(org, of, id)
			all = append(all, hold)
			return err
		}
		if err := r.eachKey(row(rowFreeable, part), limit, add); err != nil || len(all) > 0 {
			return err
		}
		return s.keys.read(func(keys rows) error {
			return r.eachKey(row(rowHold, part), maxWalkedHolds, func(id domain.KeyID, row, v []byte) error {
				k, err := loadKey(keys, id)
				switch {
				case err != nil:
					return err
				case len(all) == limit:
					return errEnough
				case of.Has(&k.Key) && !k.AtEnd(now):
					return nil
				}
				return add(id, row, v)
			})
		})
	})
	return all, err
}

func (r rows) hold(org domain.OrgID, of domain.QuotaOf, id domain.KeyID) (domain.Hold, error) {
	key := id.Bytes()
	h := domain.Hold{Org: org, QuotaOf: of, Key: id}
	_, err := r.get(row(rowHold, quotaPart(org, of), key[:]), func(v []byte) error {
		h.Revision, _ = cutNumber(v)
		return nil
	})
	return h, err
}

// Unused are places that keys took before a moment and do not use, the longest unused first, of at
// most limit keys.
func (s *Store) Unused(before time.Time, limit int) (all []domain.Hold, err error) {
	err = s.quotas.read(func(r rows) error {
		w := r.walk(span{prefix: row(rowUnusedPlace), until: moment(before)})
		defer w.close()
		for ; w.valid && limit > 0; w.next() {
			limit--
			id := domain.KeyIDFromBytes(w.at.id)
			h, err := loadHolder(r, id)
			if err != nil {
				return err
			}
			for _, p := range h.Places {
				if !p.Unused.IsZero() {
					all = append(all, domain.Hold{Org: h.Org, QuotaOf: p.QuotaOf, Key: id, Revision: p.Revision})
				}
			}
		}
		return nil
	})
	return all, err
}

// Existing are keys that are of a quota and not at their end, at most limit.
func (s *Store) Existing(org domain.OrgID, of domain.QuotaOf, now time.Time, limit int) (ids []domain.KeyID, err error) {
	bits := org.Bytes()
	prefixes := [][]byte{row(rowByCreated, partition(bits, of.Keyspace, domain.Active)), row(rowByCreated, partition(bits, of.Keyspace, domain.Disabled))}
	if of.Owner != nil && *of.Owner != "" {
		prefixes = [][]byte{row(rowByOwner, text(*of.Owner), bits[:])}
	}
	err = s.keys.read(func(r rows) error {
		for _, prefix := range prefixes {
			if err := r.eachKey(prefix, maxExistingWalk, func(id domain.KeyID, _, _ []byte) error {
				if len(ids) == limit {
					return errEnough
				}
				k, err := loadKey(r, id)
				if err == nil && of.Has(&k.Key) && !k.AtEnd(now) {
					ids = append(ids, id)
				}
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}

// maxExistingWalk bounds the rows of keys that a quota's first reservation reads.
const maxExistingWalk = 100_000
