package projections

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the keys table. Everything follows from one key's state: its row,
// the credentials of its secrets, and the index rows that listings and the expiry pass walk.
const (
	rowKey         = 'k' // id → revision, key
	rowCredential  = 'd' // digest → credentials
	rowByCreated   = 'c' // org, keyspace, state, created, id
	rowByName      = 'n' // org, keyspace, state, name, id
	rowByExpiry    = 'e' // org, keyspace, state, expiry, id; only of keys that expire
	rowByOwner     = 'o' // org, owner, created, id
	rowByScope     = 's' // org, scope, created, id
	rowByPrefix    = 'p' // org, prefix, created, id
	rowExpiresNext = 'x' // expiry, id; until the key's end is on the ledger
	rowKeyTotals   = 't' // → numbers of keys by state
)

// A KeyRow is one key as it is listed. Revision is the position of its last event.
type KeyRow struct {
	domain.Key
	Revision   eventstore.Position
	LastUsedAt time.Time // zero: never
}

// follows stops at an event that cannot be one of the key that has that row: to apply it
// would put one key, perhaps another organization's, into the place of another.
func follows(before domain.Key, id domain.KeyID, record *eventstore.Record) error {
	created, isNew := record.Event.(domain.KeyCreated)
	org := before.Org
	switch {
	case isNew && before.State != domain.Absent:
		return fmt.Errorf("%w: position %d creates %s, which %s has", errUnappliable, record.Position, id, before.Org)
	case isNew:
		org = created.Org
	case before.State == domain.Absent:
		return fmt.Errorf("%w: position %d is of %s, which was not created", errUnappliable, record.Position, id)
	}
	if org != record.Org {
		return wrongOrganization(id, org, record.Org)
	}
	return nil
}

func keyRow(id domain.KeyID) []byte { b := id.Bytes(); return row(rowKey, b[:]) }

// loadKey gives the zero KeyRow if there is none. When it was used last is in another table.
func loadKey(r rows, id domain.KeyID) (k KeyRow, err error) {
	_, err = r.get(keyRow(id), k.decode)
	return k, err
}

func (k *KeyRow) decode(v []byte) error {
	revision, v := cutNumber(v)
	k.Revision = eventstore.Position(revision)
	return json.Unmarshal(v, &k.Key)
}

func storeKey(r rows, k domain.Key, revision eventstore.Position) error {
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return r.set(keyRow(k.ID), append(number(uint64(revision)), value...))
}

// moveIndexes writes the index rows that after has and before had not, and deletes the
// others. Their value is when the key expires, so that a walk need not load a key which
// the filter on that leaves out.
func moveIndexes(r rows, before, after domain.Key) error {
	var old map[string]bool
	if before.State != domain.Absent {
		old = map[string]bool{}
		for _, row := range indexRows(before) {
			old[string(row)] = true
		}
	}
	expires := momentOrNil(after.ExpiresAt)
	for _, row := range indexRows(after) {
		stays := old[string(row)] && before.ExpiresAt.Equal(after.ExpiresAt)
		delete(old, string(row))
		if stays {
			continue
		}
		if err := r.set(row, expires); err != nil {
			return err
		}
	}
	for row := range old {
		if err := r.delete([]byte(row)); err != nil {
			return err
		}
	}
	return nil
}

// indexRows are the keys of all index rows of k.
func indexRows(k domain.Key) [][]byte {
	if k.State == domain.Absent {
		return nil
	}
	var all [][]byte
	for _, org := range indexedUnder(k.Org.Bytes()) {
		all = appendIndexRows(all, k, org)
	}
	if !k.ExpiresAt.IsZero() && k.State != domain.Revoked && !k.ExpiryRecorded() {
		id := k.ID.Bytes()
		all = append(all, row(rowExpiresNext, moment(k.ExpiresAt), id[:]))
	}
	return all
}

// appendIndexRows adds the rows by which listings of one reach find k.
func appendIndexRows(all [][]byte, k domain.Key, org [idSize]byte) [][]byte {
	id, created := k.ID.Bytes(), moment(k.CreatedAt)
	part := partition(org, k.Keyspace, k.State)
	listed := KeyRow{Key: k}
	for _, o := range sortOrders {
		if o.usage {
			continue
		}
		if value := o.value(&listed); value != nil {
			all = append(all, row(o.index, part, value, id[:]))
		}
	}
	if k.Owner != "" {
		all = append(all, row(rowByOwner, org[:], text(k.Owner), created, id[:]))
	}
	for _, s := range k.Scopes {
		all = append(all, row(rowByScope, org[:], text(s), created, id[:]))
	}
	for _, s := range k.Secrets {
		all = append(all, row(rowByPrefix, org[:], text(s.Prefix), created, id[:]))
	}
	return all
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

// partition is what the sort indexes are cut by, so that a listing of one organization,
// keyspace and state reads only those.
func partition(org [idSize]byte, keyspace string, state domain.State) []byte {
	return append(append(org[:], text(keyspace)...), byte(state))
}

// Key finds one key; domain.ErrKeyNotFound.
func (s *Store) Key(id domain.KeyID) (k KeyRow, err error) {
	err = s.keys.read(func(r rows) (err error) {
		k, err = loadKey(r, id)
		return err
	})
	if err == nil && k.State == domain.Absent {
		return k, domain.ErrKeyNotFound
	}
	if err == nil {
		k.LastUsedAt, err = s.lastUsed(id)
	}
	return k, err
}
