package domain

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	root, admin := Principal{ID: "root", Org: Installation}, Principal{ID: "admin", Org: NewOrgID("acme")}
	by := Header{noon, "root"}
	small, large := PlanDefinition{ProgrammaticAccess: true, KeysAtMost: new(2)}, PlanDefinition{ProgrammaticAccess: true, KeysAtMost: new(9)}
	defined, retired := PlanDefined{"free", small, by}, PlanRetired{"free", by}
	define := func(p Principal, d PlanDefinition, plans int) func(Plan) (Event, error) {
		return func(given Plan) (Event, error) {
			return given.Define(DefinePlan{Name: "free", Definition: d, Plans: plans, At: noon, By: p})
		}
	}
	retire := func(p Principal) func(Plan) (Event, error) {
		return func(given Plan) (Event, error) { return given.Retire(RetirePlan{noon, p}) }
	}
	for name, c := range map[string]struct {
		given []Event
		when  func(Plan) (Event, error)
		then  Event
		err   error
	}{
		"defining":                       {when: define(root, small, 199), then: defined},
		"one too many":                   {when: define(root, small, 200), err: ErrTooManyPlans},
		"a change of the last one":       {given: []Event{defined}, when: define(root, large, 200), then: PlanUpdated{"free", large, by}},
		"the same definition is no news": {given: []Event{defined, PlanUpdated{"free", large, by}}, when: define(root, large, 1)},
		"no bound is not a bound of 0":   {given: []Event{defined}, when: define(root, PlanDefinition{ProgrammaticAccess: true}, 1), then: PlanUpdated{"free", PlanDefinition{ProgrammaticAccess: true}, by}},
		"a tenant's definition":          {when: define(admin, small, 0), err: ErrOutOfReach},
		"a tenant's change":              {given: []Event{defined}, when: define(admin, large, 1), err: ErrOutOfReach},
		"retiring":                       {given: []Event{defined}, when: retire(root), then: retired},
		"retiring twice is news once":    {given: []Event{defined, retired}, when: retire(root)},
		"retiring what is not there":     {when: retire(root), err: ErrPlanNotFound},
		"a tenant's retirement":          {given: []Event{defined}, when: retire(admin), err: ErrOutOfReach},
		"defining a retired one again":   {given: []Event{defined, retired}, when: define(root, small, 1), then: defined},
		"retiring it after that":         {given: []Event{defined, retired, defined}, when: retire(root), then: retired},
	} {
		t.Run(name, func(t *testing.T) {
			var p Plan
			for _, e := range c.given {
				p.Apply(e)
			}
			if then, err := c.when(p); !reflect.DeepEqual(then, c.then) || !errors.Is(err, c.err) {
				t.Errorf("then %+v, %v; want %+v, %v", then, err, c.then, c.err)
			}
		})
	}
}
