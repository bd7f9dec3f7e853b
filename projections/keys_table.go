package projections

import (
	"encoding/json"
	"fmt"
	"slices"

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

// A keysTable writes the rows of keys, and keeps the cache of credentials in line with those
// that are published.
type keysTable struct {
	directTable
	cache   *cache
	changed []domain.Digest // whose credentials were written since rows were published
	fresh   bool            // none of its rows were published: all credentials change
}

func newKeysTable(s *Store, state tableState) table {
	t := &keysTable{directTable: directTable{tableState: state}, cache: s.credentials, fresh: true}
	t.write = t.writeKeys
	return t
}

func (t *keysTable) publishing(number uint64) {
	if t.fresh {
		t.cache.forgetAll(number)
	} else {
		t.cache.forget(number, t.changed)
	}
	t.fresh, t.changed = false, t.changed[:0]
}

func (t *keysTable) writeKeys(r rowMap, b eventstore.Batch) error {
	var totals keyTotals
	for i := range b.Records {
		if err := t.writeKey(r, &b.Records[i], &totals); err != nil {
			return err
		}
	}
	if totals == (keyTotals{}) {
		return nil
	}
	return totals.add(r)
}

func (t *keysTable) writeKey(r rowMap, record *eventstore.Record, totals *keyTotals) error {
	id, err := domain.ParseKeyID(record.Subject)
	if err != nil {
		return nil // an event of another kind of aggregate
	}
	known, err := loadKey(r, id)
	if err != nil {
		return err
	}
	before := known.Key
	if err := follows(before, id, record); err != nil {
		return err
	}
	after := before
	after.Apply(record.Event)
	totals.move(before, after)
	if err := storeKey(r, after, record.Position); err != nil {
		return err
	}
	if err := moveIndexes(r, before, after); err != nil {
		return err
	}
	if created, isNew := record.Event.(domain.KeyCreated); isNew && !created.Imported {
		// Its digest is of fresh randomness: no other key can have it.
		return t.setCredentials(r, created.Digest, appendCredential(nil, encodeCredential(after, after.Secrets[0])))
	}
	return t.moveCredentials(r, before, after)
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

func storeKey(r rowMap, k domain.Key, revision eventstore.Position) error {
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return r.set(keyRow(k.ID), append(number(uint64(revision)), value...))
}

// moveCredentials brings the credential rows of a key's secrets in line with its state.
// Secrets that the key has forgotten lose theirs.
func (t *keysTable) moveCredentials(r rowMap, before, after domain.Key) error {
	for _, s := range after.Secrets {
		if err := t.putCredential(r, s.Digest, after.ID, encodeCredential(after, s)); err != nil {
			return err
		}
	}
	for _, s := range before.Secrets {
		if !slices.ContainsFunc(after.Secrets, func(t domain.KeySecret) bool { return t.Digest == s.Digest }) {
			if err := t.putCredential(r, s.Digest, after.ID, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// putCredential puts a credential into the place of the key's old one, or last; nil takes the
// old one out.
func (t *keysTable) putCredential(r rowMap, d domain.Digest, id domain.KeyID, credential []byte) error {
	var list []byte
	if _, err := r.get(row(rowCredential, d[:]), func(v []byte) error {
		list = replaceCredential(v, id, credential)
		return nil
	}); err != nil {
		return err
	}
	if list == nil && credential != nil {
		list = appendCredential(nil, credential)
	}
	return t.setCredentials(r, d, list)
}

// setCredentials makes list the row of d, or takes it away if there is none.
func (t *keysTable) setCredentials(r rowMap, d domain.Digest, list []byte) error {
	if !t.fresh {
		t.changed = append(t.changed, d)
	}
	if len(list) == 0 {
		return r.delete(row(rowCredential, d[:]))
	}
	return r.set(row(rowCredential, d[:]), list)
}

// moveIndexes writes the index rows that after has and before had not, and deletes the
// others. Their value is when the key expires, so that a walk need not load a key which
// the filter on that leaves out.
func moveIndexes(r rowMap, before, after domain.Key) error {
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
