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
	rowOrganizationSuspended = 's' // id; of those that are
	rowOrganizationPlan      = 'p' // id → the plan's name; of those that have one
)

// An OrganizationRow is one organization. Revision is the position of its last event.
type OrganizationRow struct {
	domain.Organization
	Revision eventstore.Position
}

// An organizationsTable writes the rows of organizations, and gives the store those that are
// suspended, and those that have a plan, when they are published.
type organizationsTable struct {
	directTable
	store     *Store
	suspended *orgMap[struct{}]
	planned   *orgMap[string]
	outdated  outdated // of the cache of attributes
}

func newOrganizationsTable(s *Store, state tableState) table {
	t := &organizationsTable{directTable{tableState: state}, s, new(orgMap[struct{}]), new(orgMap[string]), newOutdated(s.attributes)}
	t.write = t.writeOrganizations
	return t
}

func (t *organizationsTable) resume(r rows, e catalogEntry) error {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	if err := r.each([]byte{rowOrganizationSuspended}, func(key, _ []byte) error {
		t.suspended = t.suspended.with([idSize]byte(key[1:]), struct{}{})
		return nil
	}); err != nil {
		return err
	}
	return r.each([]byte{rowOrganizationPlan}, func(key, name []byte) error {
		t.planned = t.planned.with([idSize]byte(key[1:]), string(name))
		return nil
	})
}

func (t *organizationsTable) publishing(number uint64) {
	t.store.suspended.Store(t.suspended)
	t.store.planned.Store(t.planned)
	t.outdated.publishing(number)
}

func (t *organizationsTable) writeOrganizations(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		if err := t.writeOrganization(r, &b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *organizationsTable) writeOrganization(r rowMap, record *eventstore.Record) error {
	id, err := domain.ParseOrgID(record.Subject)
	if err != nil {
		return nil // an event of another kind of aggregate
	}
	if id != record.Org {
		return fmt.Errorf("%w: position %d is of %s in %s", errUnappliable, record.Position, id, record.Org)
	}
	o, err := loadOrganization(r, id)
	if err != nil {
		return err
	}
	before := o.Organization
	o.Apply(record.Event)
	value, err := json.Marshal(o.Organization)
	if err != nil {
		return err
	}
	if err := r.set(organizationRow(id), append(number(uint64(record.Position)), value...)); err != nil {
		return err
	}
	bits := id.Bytes()
	t.outdated.add(idDigest(bits))
	if o.Suspended() != before.Suspended() {
		if err := t.writeSuspension(r, bits, o.Suspended()); err != nil {
			return err
		}
	}
	if o.Plan != before.Plan {
		if err := t.writePlan(r, bits, o.Plan); err != nil {
			return err
		}
	}
	return r.set(row(rowOrganizationByCreated, moment(o.CreatedAt), bits[:]), nil)
}

func (t *organizationsTable) writeSuspension(r rowMap, id [idSize]byte, suspended bool) error {
	if suspended {
		t.suspended = t.suspended.with(id, struct{}{})
		return r.set(row(rowOrganizationSuspended, id[:]), nil)
	}
	t.suspended = t.suspended.without(id)
	return r.delete(row(rowOrganizationSuspended, id[:]))
}

// writePlan notes the plan of an organization; "": none.
func (t *organizationsTable) writePlan(r rowMap, id [idSize]byte, name string) error {
	if name != "" {
		t.planned = t.planned.with(id, name)
		return r.set(row(rowOrganizationPlan, id[:]), []byte(name))
	}
	t.planned = t.planned.without(id)
	return r.delete(row(rowOrganizationPlan, id[:]))
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
