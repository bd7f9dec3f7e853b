package commands_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A planned is a PlanIndex in which every organization has one plan, or none.
type planned struct{ plan atomic.Pointer[domain.Plan] }

func (p *planned) Plans() domain.Plans            { return nil }
func (p *planned) Plan(domain.OrgID) *domain.Plan { return p.plan.Load() }

// atMost makes it a plan with so many keys.
func (p *planned) atMost(n int) {
	p.plan.Store(&domain.Plan{Name: "free", PlanDefinition: domain.PlanDefinition{ProgrammaticAccess: true, KeysAtMost: &n}})
}

// onPlan is f with a handler that has a read model, and keeps to a plan.
func (f fixture) onPlan(b domain.KeyBounds) (fixture, *planned, *projections.Store) {
	store, plan := f.readModel(), new(planned)
	o := boundedOptions(b, store)
	o.Plans = plan
	f.Handler = commands.New(f.ledger, o)
	return f, plan, store
}

// The keys of all keyspaces count, those from before there was a plan and while it was away too.
func TestAPlansKeysAreOfAllKeyspaces(t *testing.T) {
	f, plan, store := setUp(t).onPlan(domain.KeyBounds{KeysPerOwner: 3})
	first := f.create(f.of("ann"))
	f.create(f.simple())
	f.wait(store)
	plan.atMost(3)
	f.create(f.of("ann"))
	f.refused("plan_forbids", f.of("bob"))
	f.refused("plan_forbids", f.simple())
	f.revoke(first)
	f.wait(store)
	f.create(f.simple())
	f.refused("plan_forbids", f.of("ann"))

	plan.plan.Store(nil)
	f.create(f.of("ann"))
	last := f.create(f.of("bob"))
	f.wait(store)
	plan.atMost(4)
	f.refused("plan_forbids", f.of("bob"))
	plan.atMost(6)
	f.create(f.of("bob"))
	f.refused("plan_forbids", f.of("bob"))
	f.revoke(last)
	f.wait(store)
	f.create(f.simple())
	f.refused("plan_forbids", f.simple())
	management := f.simple()
	management.Keyspace = domain.ManagementKeyspace
	f.create(management)
	plan.atMost(0)
	f.refused("plan_forbids", f.simple())
}

// A key that gets another owner keeps its place.
func TestAPlacesKeyChangesItsOwner(t *testing.T) {
	f, plan, store := setUp(t).onPlan(domain.KeyBounds{KeysPerOwner: 2})
	plan.atMost(2)
	k := f.create(f.of("ann"))
	f.wait(store)
	if _, err := f.UpdateKey(t.Context(), commands.UpdateKey{Request: commands.Request{By: f.simple().By}, Org: f.org, Key: k.Key.ID, Changes: domain.Changes{Owner: new("bob")}}); err != nil {
		t.Fatal(err)
	}
	f.create(f.of("ann"))
	f.wait(store)
	f.refused("plan_forbids", f.of("ann"))
	if n, err := store.Unplaced(f.org); n != 0 || err != nil {
		t.Errorf("%d keys have no place, %v", n, err)
	}
}

func TestAPlansKeysAreExactAtOnce(t *testing.T) {
	f, plan, _ := setUp(t).onPlan(domain.KeyBounds{KeysPerOwner: 4})
	plan.atMost(7)
	var created, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			c := f.of(fmt.Sprint(i % 3))
			if i%2 == 0 {
				c = f.simple()
			}
			switch _, err := f.CreateKey(t.Context(), c); {
			case err == nil:
				created.Add(1)
			case errors.Is(err, domain.ErrPlanForbids):
				refused.Add(1)
			case !errors.Is(err, domain.ErrKeyLimitReached):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if created.Load() != 7 || refused.Load() == 0 {
		t.Errorf("%d keys were created and %d refused, and the plan allows 7", created.Load(), refused.Load())
	}
}
