package projections

import (
	"fmt"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the keys table. Everything follows from one key's state: its row,
// the credentials of its secrets, and the index rows that listings and the expiry pass walk.
const (
	rowKey         = 'k' // id → key, see KeyRow.encode
	rowFormer      = 'h' // id, position → key as it was from there on, see KeyRow.former
	rowCredential  = 'd' // digest → credentials
	rowByCreated   = 'c' // org, keyspace, state, created, id
	rowByName      = 'n' // org, keyspace, state, name, id
	rowByExpiry    = 'e' // org, keyspace, state, expiry, id; only of keys that expire
	rowByOwner     = 'o' // owner, org, created, id
	rowByScope     = 's' // scope, org, created, id
	rowByPrefix    = 'p' // prefix, org, id
	rowExpiresNext = 'x' // expiry, id; until the key's end is on the ledger
	rowKeyTotals   = 't' // → numbers of keys by state
	rowLive        = 'l' // org, created, id; of live keys
	rowLiveKeys    = 'm' // org → number of live keys
)

// A keysTable writes the rows of keys, and keeps the cache of credentials in line with those
// that are published.
type keysTable struct {
	directTable
	outdated outdated // of the cache of credentials
	surplus  outdated // of the cache of keys beyond plans
}

func newKeysTable(s *Store, state tableState) table {
	t := &keysTable{directTable{tableState: state}, newOutdated(s.credentials), newOutdated(s.surplus)}
	t.write = t.writeKeys
	return t
}

func (t *keysTable) publishing(number uint64) {
	t.outdated.publishing(number)
	t.surplus.publishing(number)
}

func (t *keysTable) writeKeys(r rowMap, b eventstore.Batch) error {
	var totals keyTotals
	live := liveKeys{}
	for i := range b.Records {
		if err := t.writeKey(r, &b.Records[i], &totals, live); err != nil {
			return err
		}
	}
	if err := live.add(r); err != nil {
		return err
	}
	if totals == (keyTotals{}) {
		return nil
	}
	return totals.add(r)
}

func (t *keysTable) writeKey(r rowMap, record *eventstore.Record, totals *keyTotals, live liveKeys) error {
	id, isKey := keyOf(record)
	if !isKey {
		return nil
	}
	known, err := loadKey(r, id)
	if err != nil {
		return err
	}
	if err := follows(known.Key, id, record); err != nil {
		return err
	}
	next := known.after(record)
	before, after := known.Key, next.Key
	totals.move(before, after)
	if live.move(&before, &after) {
		t.surplus.add(idDigest(after.Org.Bytes()))
	}
	if err := known.setFormer(r); err != nil {
		return err
	}
	if err := r.set(keyRow(id), next.encode()); err != nil {
		return err
	}
	if err := moveIndexes(r, &known, &next); err != nil {
		return err
	}
	if created, isNew := record.Event.(domain.KeyCreated); isNew && !created.Imported {
		// Its digest is of fresh randomness: no other key can have it.
		return t.setCredentials(r, created.Digest, appendCredential(nil, encodeCredential(after, after.Secrets[0])))
	}
	return t.moveCredentials(r, before, after)
}

// keyOf is the key that an event is of. That a key was abandoned makes none.
func keyOf(record *eventstore.Record) (id domain.KeyID, is bool) {
	if _, abandoned := record.Event.(domain.KeyAbandoned); abandoned {
		return "", false
	}
	id, err := domain.ParseKeyID(record.Subject)
	return id, err == nil
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

// after is k as an event leaves it.
func (k KeyRow) after(record *eventstore.Record) KeyRow {
	before := k
	k.Apply(record.Event)
	k.Revision = record.Position
	if !k.listedLike(&before) {
		k.Since = record.Position
	}
	return k
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
	t.outdated.add(d)
	if len(list) == 0 {
		return r.delete(row(rowCredential, d[:]))
	}
	return r.set(row(rowCredential, d[:]), list)
}
