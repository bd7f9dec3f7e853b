package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// DefinePlan makes a plan, or gives the one that there is the definition.
type DefinePlan struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,max=40,keyspace_name"`
	domain.PlanDefinition
}

// A PlanResult is a plan after a command. Position is its revision.
type PlanResult struct {
	Plan     domain.Plan
	Position eventstore.Position
	Replayed bool
	Changed  bool // the command wrote an event: it was not so already
	Created  bool // the event, of this call, began the plan
}

// DefinePlan carries out c.
func (h *Handler) DefinePlan(ctx context.Context, c DefinePlan) (PlanResult, error) {
	if err := valid(c); err != nil {
		return PlanResult{}, err
	}
	created := false
	result, err := h.onPlan(ctx, c.Name, c.Request, func(p domain.Plan) (domain.Event, error) {
		created = p.Name == ""
		return p.Define(h.planDecision(c))
	})
	result.Created = created && result.Changed && !result.Replayed
	return result, err
}

func (h *Handler) planDecision(c DefinePlan) domain.DefinePlan {
	return domain.DefinePlan{Name: c.Name, Definition: c.PlanDefinition, Plans: len(h.plans.Plans()), At: h.now(), By: c.By}
}

// PreviewPlan is DefinePlan without its effect: it gives the plan as it would be, at the revision
// that it has, and in what it would differ.
func (h *Handler) PreviewPlan(ctx context.Context, c DefinePlan) (PlanResult, []domain.Difference, error) {
	if err := valid(c); err != nil {
		return PlanResult{}, nil, err
	}
	var p domain.Plan
	end, err := h.ledger.Load(ctx, eventstore.PlanRef(c.Name), 0, func(r eventstore.Record) { p.Apply(r.Event) })
	if err == nil && c.IfMatch != 0 && c.IfMatch != end {
		err = domain.ErrRevisionStale
	}
	if err != nil {
		return PlanResult{}, nil, err
	}
	event, err := p.Define(h.planDecision(c))
	if err != nil {
		return PlanResult{}, nil, err
	}
	differences := p.Differences(c.PlanDefinition)
	if event != nil {
		p.Apply(event)
	}
	return PlanResult{Plan: p, Position: end, Changed: event != nil, Created: end == 0}, differences, nil
}

// onPlan carries out a command on a plan.
func (h *Handler) onPlan(ctx context.Context, name string, r Request, decide func(domain.Plan) (domain.Event, error)) (PlanResult, error) {
	o, err := executeOnce(ctx, h, eventstore.PlanRef(name), r, nil, decide)
	return PlanResult{Plan: o.state, Position: o.position, Replayed: o.replayed, Changed: o.changed}, err
}
