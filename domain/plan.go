package domain

import (
	"bytes"
	"time"
)

// A Plan is what an organization that has it may do with its products' keys. It says nothing of
// management keys. The zero Plan has no history.
type Plan struct {
	Name string `json:"name"`
	PlanDefinition
	CreatedAt time.Time `json:"created_at"`
	RetiredAt time.Time `json:"retired_at,omitzero"` // zero: organizations can be given it
}

// Retired reports whether no organization can be given the plan. Those that have it keep it.
func (p *Plan) Retired() bool { return !p.RetiredAt.IsZero() }

// A PlanDefinition is what an operator writes of a plan. A bound that is left out does not hold.
// The validate tags are the bounds that commands hold it to, and that the API's document states.
type PlanDefinition struct {
	Description        string `json:"description,omitempty" validate:"max=500,text"`
	ProgrammaticAccess bool   `json:"programmatic_access"`                                                 // false: no keys, and those that there are are refused
	KeysAtMost         *int   `json:"keys_at_most,omitempty" validate:"omitempty,min=0,max=100000"`        // of an organization, in all keyspaces together
	UsesAMonth         *int64 `json:"uses_a_month,omitempty" validate:"omitempty,min=0,max=1000000000000"` // of an organization; valid ones, each as often as it costs
	UsesAMonthPerOwner *int64 `json:"uses_a_month_per_owner,omitempty" validate:"omitempty,min=0,max=1000000000000"`
	UsesAMonthPerKey   *int64 `json:"uses_a_month_per_key,omitempty" validate:"omitempty,min=0,max=1000000000000"`
	// RateLimits hold for every key. One of its own can be lower.
	RateLimits []RateLimit `json:"rate_limits,omitempty" validate:"max=5,windows,dive"`
	Scopes     []string    `json:"scopes,omitempty" validate:"omitnil,min=1,max=100,unique,dive,scope"` // nil: all
}

// canonical is the definition as JSON: the same for definitions that mean the same.
func (d PlanDefinition) canonical() []byte { return canonicalJSON(d) }

// PlanDefined began a plan, or brought a retired one back.
type PlanDefined struct {
	Name       string         `json:"name"`
	Definition PlanDefinition `json:"definition"`
	Header
}

// PlanUpdated gave a plan another definition.
type PlanUpdated struct {
	Name       string         `json:"name"`
	Definition PlanDefinition `json:"definition"`
	Header
}

// PlanRetired ended the giving of a plan to organizations. Those that have it keep it.
type PlanRetired struct {
	Name string `json:"name"`
	Header
}

// Quota is how many keys an organization may have that has the plan, if it bounds them.
func (p *Plan) Quota() (q QuotaLimit, bounded bool) {
	if p == nil || p.KeysAtMost == nil {
		return q, false
	}
	return QuotaLimit{Limit: *p.KeysAtMost, Plan: p.Name}, true
}

// DefinePlan asks for a plan, or for another definition of one.
type DefinePlan struct {
	Name       string
	Definition PlanDefinition
	Plans      int // how many there are
	At         time.Time
	By         Principal
}

// maxPlans bounds what all processes have in memory of plans. Of plans that are defined at the same
// moment some more may come to be.
const maxPlans = 200

// Define decides whether the plan may be as c says, be it new, retired or there.
func (p Plan) Define(c DefinePlan) (Event, error) {
	h := Header{c.At, c.By.ID}
	switch {
	case c.By.Org != Installation:
		return nil, ErrOutOfReach
	case p.Name == "" && c.Plans >= maxPlans:
		return nil, ErrTooManyPlans
	case p.Name == "" || p.Retired():
		return PlanDefined{Name: c.Name, Definition: c.Definition, Header: h}, nil
	case bytes.Equal(p.canonical(), c.Definition.canonical()):
		return nil, nil
	}
	return PlanUpdated{Name: c.Name, Definition: c.Definition, Header: h}, nil
}

// RetirePlan asks that no organization is given the plan any more.
type RetirePlan struct {
	At time.Time
	By Principal
}

// Retire decides whether the plan may be retired.
func (p Plan) Retire(c RetirePlan) (Event, error) {
	switch {
	case c.By.Org != Installation:
		return nil, ErrOutOfReach
	case p.Name == "":
		return nil, ErrPlanNotFound
	case p.Retired():
		return nil, nil
	}
	return PlanRetired{Name: p.Name, Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves p past e. It cannot fail and must not judge: e already happened.
func (p *Plan) Apply(e Event) {
	switch e := e.(type) {
	case PlanDefined:
		if p.Name == "" {
			p.Name, p.CreatedAt = e.Name, e.At
		}
		p.PlanDefinition, p.RetiredAt = e.Definition, time.Time{}
	case PlanUpdated:
		p.PlanDefinition = e.Definition
	case PlanRetired:
		p.RetiredAt = e.At
	}
}

// Differences are those between the plan and a definition; none if the plan is new.
func (p Plan) Differences(d PlanDefinition) []Difference {
	if p.Name == "" {
		return nil
	}
	return jsonDifferences(p.canonical(), d.canonical())
}
