package projections

import (
	"encoding/json"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// rowPlan is the one kind of rows of the plans table: name → revision, plan.
const rowPlan = 'p'

// A PlanRow is one plan. Revision is the position of its last event.
type PlanRow struct {
	domain.Plan
	Revision eventstore.Position
}

// A plansTable writes the rows of plans, and gives the store the set of all of them when they are
// published.
type plansTable struct {
	directTable
	store   *Store
	changed bool         // the batch under way has written a row
	next    domain.Plans // to be published; nil: what is published is the latest
}

func newPlansTable(s *Store, state tableState) table {
	t := &plansTable{directTable: directTable{tableState: state}, store: s, next: domain.Plans{}}
	t.write = t.writePlans
	return t
}

func (t *plansTable) resume(r rows, e catalogEntry) (err error) {
	if err := t.directTable.resume(r, e); err != nil {
		return err
	}
	t.next, err = loadPlans(r)
	return err
}

func (t *plansTable) apply(tx *badger.Txn, b eventstore.Batch) (err error) {
	t.changed = false
	if err := t.directTable.apply(tx, b); err != nil || !t.changed {
		return err
	}
	t.next, err = loadPlans(t.rows(tx))
	return err
}

func (t *plansTable) publishing(uint64) {
	if next := t.next; next != nil {
		t.store.planSet.Store(&next)
		t.next = nil
	}
}

func (t *plansTable) writePlans(r rowMap, b eventstore.Batch) error {
	for i := range b.Records {
		if err := t.writePlan(r, &b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *plansTable) writePlan(r rowMap, record *eventstore.Record) error {
	switch record.Event.(type) {
	case domain.PlanDefined, domain.PlanUpdated, domain.PlanRetired:
	default:
		return nil
	}
	p, err := loadPlan(r, record.Subject)
	if err != nil {
		return err
	}
	p.Apply(record.Event)
	value, err := json.Marshal(p.Plan)
	if err != nil {
		return err
	}
	t.changed = true
	return r.set(row(rowPlan, []byte(record.Subject)), append(number(uint64(record.Position)), value...))
}

// loadPlan gives the zero PlanRow if no event is of the name.
func loadPlan(r rowMap, name string) (p PlanRow, err error) {
	_, err = r.get(row(rowPlan, []byte(name)), p.decode)
	return p, err
}

func (p *PlanRow) decode(v []byte) error {
	n, v := cutNumber(v)
	p.Revision = eventstore.Position(n)
	return json.Unmarshal(v, &p.Plan)
}

func loadPlans(r rows) (domain.Plans, error) {
	all := domain.Plans{}
	err := r.each(nil, func(_, value []byte) error {
		var p PlanRow
		err := p.decode(value)
		all[p.Name] = &p.Plan
		return err
	})
	return all, err
}

// Plans are all plans as they were published last. It takes no lock.
func (s *Store) Plans() domain.Plans { return *s.planSet.Load() }

// PlanNamed finds one plan; domain.ErrPlanNotFound.
func (s *Store) PlanNamed(name string) (p PlanRow, err error) {
	err = s.plans.read(func(r rows) (err error) { p, err = loadPlan(r, name); return err })
	if err == nil && p.Name == "" {
		err = domain.ErrPlanNotFound
	}
	return p, err
}

// Plan is that of an organization, nil: it has none. It takes no lock.
func (s *Store) Plan(org domain.OrgID) *domain.Plan { return s.planOf(org.Bytes()) }

// OrgPlan is that of a credential's organization, without spelling its id.
func (s *Store) OrgPlan(c *Credential) *domain.Plan { return s.planOf(c.OrgBytes()) }

func (s *Store) planOf(org [idSize]byte) *domain.Plan {
	name, has := s.planned.Load().get(org)
	if !has {
		return nil
	}
	return s.Plans()[name]
}
