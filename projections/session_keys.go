package projections

import (
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowSessionKeys is the one row of the table of the keys of sessions.
const rowSessionKeys = 'k' // → their generations

// A sessionKeysTable writes the generations of the keys of sessions, and gives them to the store when
// they are published.
type sessionKeysTable struct {
	directTable
	store *Store
	next  *domain.SessionKeys // that are published next; nil: those that were
}

func newSessionKeysTable(s *Store, state tableState) table {
	t := &sessionKeysTable{directTable: directTable{tableState: state}, store: s, next: new(domain.SessionKeys)}
	t.write = t.writeKeys
	return t
}

func (t *sessionKeysTable) resume(r rows, e catalogEntry) error {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	keys, err := loadSessionKeys(r)
	t.next = &keys
	return err
}

func (t *sessionKeysTable) writeKeys(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		e, ok := b.Records[i].Event.(domain.SessionKeysRotated)
		if !ok {
			continue
		}
		keys, err := loadSessionKeys(r)
		if err != nil {
			return err
		}
		keys.Apply(e)
		value, err := json.Marshal(keys)
		if err != nil {
			return err
		}
		if err := r.set(row(rowSessionKeys), value); err != nil {
			return err
		}
		t.next = &keys
	}
	return nil
}

func loadSessionKeys(r rowMap) (keys domain.SessionKeys, err error) {
	_, err = r.get(row(rowSessionKeys), func(v []byte) error { return json.Unmarshal(v, &keys) })
	return keys, err
}

func (t *sessionKeysTable) publishing(number uint64) {
	if t.next != nil {
		t.store.sessionsAt.Store(number)
		t.store.sessionKeys.Store(t.next)
		t.next = nil
	}
}

// SessionKeys are the generations of the keys of sessions as they were published last. It takes no
// lock.
func (s *Store) SessionKeys() domain.SessionKeys { return *s.sessionKeys.Load() }
