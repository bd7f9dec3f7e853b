package projections

import (
	"encoding/json"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the keyspaces table.
const (
	rowKeyspace         = 'k' // name → revision, keyspace
	rowKeyspaceImported = 'i' // name; of a keyspace that has imported keys
)

// A KeyspaceRow is one keyspace. Revision is the position of its last event, 0: it is as it
// was built in.
type KeyspaceRow struct {
	domain.Keyspace
	Revision eventstore.Position
}

// A keyspacesTable writes the rows of keyspaces, and gives the store the set of all of them
// when they are published.
type keyspacesTable struct {
	directTable
	store   *Store
	changed bool              // the batch under way has written a row
	next    *domain.Keyspaces // to be published; nil: what is published is the latest
}

func newKeyspacesTable(s *Store, state tableState) table {
	t := &keyspacesTable{directTable: directTable{tableState: state}, store: s, next: domain.NewKeyspaces(nil)}
	t.write = t.writeKeyspaces
	return t
}

func (t *keyspacesTable) resume(r rows, e catalogEntry) (err error) {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	t.next, err = loadKeyspaces(r)
	return err
}

func (t *keyspacesTable) apply(tx *badger.Txn, b eventstore.Batch) (err error) {
	t.changed = false
	if err := t.directTable.apply(tx, b); err != nil || !t.changed {
		return err
	}
	t.next, err = loadKeyspaces(t.rows(tx))
	return err
}

func (t *keyspacesTable) publishing(number uint64) {
	if t.next != nil {
		t.store.sessionsAt.Store(number)
		t.store.keyspaceSet.Store(t.next)
		t.next = nil
	}
}

func (t *keyspacesTable) writeKeyspaces(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		if err := t.writeKeyspace(r, &b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *keyspacesTable) writeKeyspace(r rowMap, record *eventstore.Record) error {
	switch e := record.Event.(type) {
	case domain.KeyCreated:
		if e.Imported {
			return t.markImported(r, e.Keyspace)
		}
	case domain.KeyspaceDefined, domain.KeyspaceUpdated, domain.KeyspaceRetired, domain.KeyspaceReinstated:
		k, err := loadKeyspace(r, record.Subject)
		if err != nil {
			return err
		}
		k.Apply(e)
		value, err := json.Marshal(k.Keyspace)
		if err != nil {
			return err
		}
		t.changed = true
		return r.set(keyspaceRow(record.Subject), append(number(uint64(record.Position)), value...))
	}
	return nil
}

func (t *keyspacesTable) markImported(r rowMap, keyspace string) error {
	marked := row(rowKeyspaceImported, []byte(keyspace))
	found, err := r.get(marked, func([]byte) error { return nil })
	if err != nil || found {
		return err
	}
	t.changed = true
	return r.set(marked, nil)
}

func keyspaceRow(name string) []byte { return row(rowKeyspace, []byte(name)) }

// loadKeyspace gives the zero KeyspaceRow if no event is of the name.
func loadKeyspace(r rowMap, name string) (k KeyspaceRow, err error) {
	_, err = r.get(keyspaceRow(name), k.decode)
	return k, err
}

func (k *KeyspaceRow) decode(v []byte) error {
	n, v := cutNumber(v)
	k.Revision = eventstore.Position(n)
	return json.Unmarshal(v, &k.Keyspace)
}

func loadKeyspaces(r rows) (*domain.Keyspaces, error) {
	var defined []domain.Keyspace
	var imported []string
	err := r.each(nil, func(key, value []byte) error {
		if key[0] == rowKeyspaceImported {
			imported = append(imported, string(key[1:]))
			return nil
		}
		var k KeyspaceRow
		err := k.decode(value)
		defined = append(defined, k.Keyspace)
		return err
	})
	return domain.NewKeyspaces(defined, imported...), err
}

// Keyspaces are all keyspaces as they were published last. It takes no lock.
func (s *Store) Keyspaces() *domain.Keyspaces { return s.keyspaceSet.Load() }

// Keyspace finds one keyspace; domain.ErrNoKeyspace.
func (s *Store) Keyspace(name string) (k KeyspaceRow, err error) {
	if err := s.keyspaces.read(func(r rows) (err error) { k, err = loadKeyspace(r, name); return err }); err != nil {
		return k, err
	}
	if k.Name != "" {
		return k, nil
	}
	named, err := s.Keyspaces().Named(name)
	if err != nil {
		return k, domain.ErrNoKeyspace
	}
	return KeyspaceRow{Keyspace: *named}, nil
}
