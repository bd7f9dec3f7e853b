package projections

import (
	"encoding/json"
	"fmt"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The kinds of rows of the organizations table.
const (
	rowOrganization          = 'o' // id → revision, organization
	rowOrganizationByCreated = 'c' // created, id
)

// An OrganizationRow is one organization. Revision is the position of its last event.
type OrganizationRow struct {
	domain.Organization
	Revision eventstore.Position
}

func applyOrganizations(r rowMap, records []eventstore.Record) error {
	for i := range records {
		id, err := domain.ParseOrgID(records[i].Subject)
		if err != nil {
			continue // an event of another kind of aggregate
		}
		if id != records[i].Org {
			return fmt.Errorf("%w: position %d is of %s in %s", errUnappliable, records[i].Position, id, records[i].Org)
		}
		o, err := loadOrganization(r, id)
		if err != nil {
			return err
		}
		o.Apply(records[i].Event)
		value, err := json.Marshal(o.Organization)
		if err != nil {
			return err
		}
		if err := r.set(organizationRow(id), append(number(uint64(records[i].Position)), value...)); err != nil {
			return err
		}
		bits := id.Bytes()
		if err := r.set(row(rowOrganizationByCreated, moment(o.CreatedAt), bits[:]), nil); err != nil {
			return err
		}
	}
	return nil
}

func organizationRow(id domain.OrgID) []byte { b := id.Bytes(); return row(rowOrganization, b[:]) }

func loadOrganization(r rowMap, id domain.OrgID) (o OrganizationRow, err error) {
	_, err = r.get(organizationRow(id), func(v []byte) error {
		n, v := cutNumber(v)
		o.Revision = eventstore.Position(n)
		return json.Unmarshal(v, &o.Organization)
	})
	return o, err
}

// Organization finds one organization; domain.ErrOrganizationNotFound.
func (s *Store) Organization(id domain.OrgID) (o OrganizationRow, err error) {
	err = s.organizations.read(func(r rows) (err error) {
		o, err = loadOrganization(r, id)
		return err
	})
	if err == nil && o.ID == "" {
		err = domain.ErrOrganizationNotFound
	}
	return o, err
}

// Organizations lists them in the order of their creation, limit at a time. cursor is ""
// or what the page before answered as next, which is "" at the end.
func (s *Store) Organizations(cursor string, limit int) (page []OrganizationRow, next string, err error) {
	from, err := parseCursor(cursor, "organizations")
	if err != nil {
		return nil, "", err
	}
	err = s.organizations.read(func(r rows) error {
		it := r.walk(span{prefix: row(rowOrganizationByCreated), after: from.entry()})
		defer it.close()
		for ; it.valid; it.next() {
			if len(page) == limit {
				next = from.at(0, indexEntry{value: moment(page[limit-1].CreatedAt), id: page[limit-1].ID.Bytes()})
				return nil
			}
			o, err := loadOrganization(r, domain.OrgIDFromBytes(it.at.id))
			if err != nil {
				return err
			}
			page = append(page, o)
		}
		return nil
	})
	return page, next, err
}
