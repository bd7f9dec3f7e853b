package projections

import (
	"errors"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Credential is a key as one of its secrets' digests finds it, in one look-up.
type Credential struct {
	domain.Credential
	Owner    string
	Name     string
	Metadata string // as a JSON object

	entry string // what it was decoded from
}

// Credential finds the key with that digest that is within reach: its own, or of all the
// first that the ledger has. It puts it into c, whose slices it uses
// again, or tells that there is none.
func (s *Store) Credential(d *domain.Digest, reach domain.Reach, c *Credential) (found bool, err error) {
	list, err := s.credentials(d)
	for len(list) > 0 {
		var entry string
		entry, list = cutEntry(list)
		if c.decode(entry); reach.Includes(c.Org) {
			return true, nil
		}
	}
	return false, err
}

// Unchanged tells whether Credential with the same d and reach would put the same into c
// again.
func (s *Store) Unchanged(d *domain.Digest, reach domain.Reach, c *Credential) (bool, error) {
	list, err := s.credentials(d)
	for len(list) > 0 {
		var entry string
		entry, list = cutEntry(list)
		if reach.All || entryOrg(entry) == entryOrg(c.entry) {
			return entry == c.entry, nil
		}
	}
	return false, err
}

// credentials is the row of d, "" if there is none.
func (s *Store) credentials(d *domain.Digest) (list string, err error) {
	g := s.groups[eventstore.Events]
	list, cached := g.cache.find(d)
	if !cached {
		return g.lookUp(s.keys(), d)
	}
	return list, nil
}

// lookUp gives the row of d in the table of r, and puts it into the cache; "" if there is
// none.
func (g *group) lookUp(r *runner, d *domain.Digest) (list string, err error) {
	err = g.snapshot.view(func(tx *badger.Txn) error {
		var key [3 + 1 + len(d)]byte
		copy(key[copy(key[:], credentialPrefix(r)):], d[:])
		item, err := tx.Get(key[:])
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			list = string(v)
			g.cache.put(d, v)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return "", nil
	}
	return list, err
}

func credentialPrefix(r *runner) []byte { return append(tablePrefix(r.currentTable()), rowCredential) }
