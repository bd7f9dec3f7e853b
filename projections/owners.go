package projections

import (
	"encoding/json"
	"fmt"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowOwner is the one kind of rows of the owners table: id → revision, attributes.
const rowOwner = 'o'

// An OwnerRow is one owner. Revision is the position of its last event, 0: it has none.
type OwnerRow struct {
	domain.Owner
	Revision eventstore.Position
}

// An ownersTable writes the rows of owners that have attributes, or had some.
type ownersTable struct {
	directTable
	outdated outdated // of the cache of attributes
}

func newOwnersTable(s *Store, state tableState) table {
	t := &ownersTable{directTable{tableState: state}, newOutdated(s.attributes)}
	t.write = t.writeOwners
	return t
}

func (t *ownersTable) publishing(number uint64) { t.outdated.publishing(number) }

func (t *ownersTable) writeOwners(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		e, ok := b.Records[i].Event.(domain.OwnerUpdated)
		if !ok {
			continue
		}
		if err := t.writeOwner(r, &b.Records[i], e); err != nil {
			return err
		}
	}
	return nil
}

func (t *ownersTable) writeOwner(r rowMap, record *eventstore.Record, e domain.OwnerUpdated) error {
	id := domain.OwnerBytes(record.Org, e.Owner)
	if domain.OwnerID(record.Subject).Bytes() != id {
		return fmt.Errorf("%w: position %d is of %s, and not of its owner in %s", errUnappliable, record.Position, record.Subject, record.Org)
	}
	attributes, err := json.Marshal(e.Attributes)
	if err != nil {
		return err
	}
	t.outdated.add(idDigest(id))
	return r.set(row(rowOwner, id[:]), append(number(uint64(record.Position)), attributes...))
}

// loadOwner gives the zero OwnerRow if no event is of the owner.
func loadOwner(r rowMap, id [idSize]byte) (o OwnerRow, err error) {
	_, err = r.get(row(rowOwner, id[:]), func(v []byte) error {
		n, v := cutNumber(v)
		o.Revision = eventstore.Position(n)
		return json.Unmarshal(v, &o.Attributes)
	})
	return o, err
}

// Owner finds what is known of an owner of keys of an organization.
func (s *Store) Owner(org domain.OrgID, owner string) (o OwnerRow, err error) {
	err = s.owners.read(func(r rows) (err error) {
		o, err = loadOwner(r, domain.OwnerBytes(org, owner))
		return err
	})
	return o, err
}
