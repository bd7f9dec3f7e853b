package projections

import (
	"encoding/binary"
	"encoding/json"
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
)

// A KeyRow is one key as it is listed. Revision is the position of its last event.
type KeyRow struct {
	domain.Key
	Revision   eventstore.Position
	LastUsedAt time.Time // zero: never
}

func applyKeys(r rows, records []eventstore.Record) error {
	for i := range records {
		if err := applyKey(r, &records[i]); err != nil {
			return err
		}
	}
	return nil
}

func applyKey(r rows, record *eventstore.Record) error {
	id, err := domain.ParseKeyID(record.Subject)
	if err != nil {
		return nil // an event of another kind of aggregate
	}
	created, isNew := record.Event.(domain.KeyCreated)
	var before domain.Key
	if !isNew {
		if before, _, err = loadKey(r, id); err != nil {
			return err
		}
	}
	after := before
	after.Apply(record.Event)
	if err := storeKey(r, after, record.Position); err != nil {
		return err
	}
	if err := moveIndexes(r, before, after); err != nil {
		return err
	}
	if isNew && !created.Imported {
		// Its digest is of fresh randomness: nobody else can have it.
		return setCredentials(r, created.Digest, appendEntry(nil, encodeCredential(after, after.Secrets[0])))
	}
	return moveCredentials(r, before, after)
}

func keyRow(id domain.KeyID) []byte { b := id.Bytes(); return row(rowKey, b[:]) }

// loadKey gives the zero Key if there is none.
func loadKey(r rows, id domain.KeyID) (k domain.Key, revision eventstore.Position, err error) {
	_, err = r.get(keyRow(id), func(v []byte) error {
		revision = eventstore.Position(binary.BigEndian.Uint64(v))
		return json.Unmarshal(v[8:], &k)
	})
	return k, revision, err
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
	var expires []byte
	if !after.ExpiresAt.IsZero() {
		expires = moment(after.ExpiresAt)
	}
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
	org, id, created := k.Org.Bytes(), k.ID.Bytes(), moment(k.CreatedAt)
	part := partition(k.Org, k.Keyspace, filed(k))
	all := [][]byte{
		row(rowByCreated, part, created, id[:]),
		row(rowByName, part, text(k.Name), id[:]),
	}
	if !k.ExpiresAt.IsZero() {
		all = append(all, row(rowByExpiry, part, moment(k.ExpiresAt), id[:]))
		if k.State != domain.Revoked && !k.ExpiryRecorded() {
			all = append(all, row(rowExpiresNext, moment(k.ExpiresAt), id[:]))
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

// filed is the state that k is indexed under: its own, or expired once that is on the
// ledger. The clock has the last word: a listing also looks at keys that it contradicts.
func filed(k domain.Key) domain.State {
	if k.State != domain.Revoked && k.ExpiryRecorded() {
		return domain.Expired
	}
	return k.State
}

// partition is what the sort indexes are cut by, so that a listing of one organization,
// keyspace and state reads only those.
func partition(org domain.OrgID, keyspace string, state domain.State) []byte {
	o := org.Bytes()
	return append(append(o[:], text(keyspace)...), byte(state))
}

// Key finds one key; domain.ErrKeyNotFound.
func (s *Store) Key(id domain.KeyID) (KeyRow, error) {
	var k KeyRow
	err := s.view(s.keys(), func(r rows) (err error) {
		k.Key, k.Revision, err = loadKey(r, id)
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
