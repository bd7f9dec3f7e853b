package projections

import (
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
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

func (t *keysTable) writeKeys(r rows, records []eventstore.Record) error {
	var totals keyTotals
	for i := range records {
		if err := t.writeKey(r, &records[i], &totals); err != nil {
			return err
		}
	}
	if totals == (keyTotals{}) {
		return nil
	}
	return totals.add(r)
}

func (t *keysTable) writeKey(r rows, record *eventstore.Record, totals *keyTotals) error {
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

// moveCredentials brings the credential rows of a key's secrets in line with its state.
// Secrets that the key has forgotten lose theirs.
func (t *keysTable) moveCredentials(r rows, before, after domain.Key) error {
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
func (t *keysTable) putCredential(r rows, d domain.Digest, id domain.KeyID, credential []byte) error {
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
func (t *keysTable) setCredentials(r rows, d domain.Digest, list []byte) error {
	if !t.fresh {
		t.changed = append(t.changed, d)
	}
	if len(list) == 0 {
		return r.delete(row(rowCredential, d[:]))
	}
	return r.set(row(rowCredential, d[:]), list)
}
