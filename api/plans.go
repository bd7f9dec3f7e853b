package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// A Plan is a plan as the API shows it: its definition as it was written, and what became of it.
type Plan struct {
	Name string `json:"name"`
	domain.PlanDefinition
	CreatedAt *time.Time `json:"created_at" doc:"null: it is not there yet; with dry_run alone"`
	RetiredAt *time.Time `json:"retired_at" doc:"null: it is not retired. If it is, organizations that have it keep it, and no other can be given it."`
	Revision  uint64     `json:"revision"`
}

func showPlan(p projections.PlanRow) Plan {
	return Plan{p.Name, p.PlanDefinition, orNull(p.CreatedAt), orNull(p.RetiredAt), uint64(p.Revision)}
}

type planAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Plan
}

func answerPlan(p projections.PlanRow) *planAnswer {
	return &planAnswer{etag(p.Revision), uint64(p.Revision), showPlan(p)}
}

// planBody is a plan without its name, which the path has.
type planBody struct{ domain.PlanDefinition }

// TransformSchema states the bounds of the definition.
func (planBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[domain.PlanDefinition](r, s)
}

// PlanPath names a plan in a path.
type PlanPath struct {
	Name string `path:"name" doc:"The plan's name." maxLength:"40"`
}

type putPlanRequest struct {
	WriteHeaders
	PlanPath
	DryRun bool `query:"dry_run" doc:"Answer the plan as it would be, with what would happen to it, and change nothing."`
	Body   planBody
}

type putPlanAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     struct {
		Plan
		DryRun *DryRun `json:"plan,omitempty" doc:"Of a dry run: what would happen."`
	}
}

func (s *server) putPlan(ctx context.Context, _ domain.Principal, in *putPlanRequest) (*putPlanAnswer, error) {
	if err := s.waitForEnd(ctx); err != nil { // for the number of plans
		return nil, err
	}
	c := commands.DefinePlan{Request: in.request, Name: in.Name, PlanDefinition: in.Body.PlanDefinition}
	if in.DryRun {
		return s.previewPlan(ctx, c)
	}
	result, err := s.Commands.DefinePlan(ctx, c)
	changed, err := s.changedPlan(ctx, result, err)
	if err != nil {
		return nil, err
	}
	a := &putPlanAnswer{Status: http.StatusOK, ETag: changed.ETag, Position: changed.Position}
	if a.Body.Plan = changed.Body; result.Created {
		a.Status = http.StatusCreated
	}
	return a, nil
}

func (s *server) previewPlan(ctx context.Context, c commands.DefinePlan) (*putPlanAnswer, error) {
	result, changes, err := s.Commands.PreviewPlan(ctx, c)
	if err != nil {
		return nil, err
	}
	preview := answerPlan(projections.PlanRow{Plan: result.Plan, Revision: result.Position})
	a := &putPlanAnswer{Status: http.StatusOK, ETag: preview.ETag, Position: preview.Position}
	a.Body.Plan, a.Body.DryRun = preview.Body, newDryRun(result.Created, result.Changed, changes)
	return a, nil
}

func (s *server) changedPlan(ctx context.Context, r commands.PlanResult, err error) (*planAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return answerPlan(projections.PlanRow{Plan: r.Plan, Revision: r.Position}), nil
}

type readPlanRequest struct {
	PlanPath
	AfterParam
}

func (s *server) readPlan(ctx context.Context, _ domain.Principal, in *readPlanRequest) (*planAnswer, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	p, err := s.Store.PlanNamed(in.Name)
	if err != nil {
		return nil, err
	}
	return answerPlan(p), nil
}

// planList is all plans. There are some hundred at most.
type planList struct {
	Body struct {
		Items []Plan `json:"items"`
	}
}

func (s *server) listPlans(ctx context.Context, _ domain.Principal, in *AfterParam) (*planList, error) {
	if err := s.waitAfter(ctx, *in); err != nil {
		return nil, err
	}
	list := &planList{}
	list.Body.Items = []Plan{}
	for _, name := range s.Store.Plans().Names() {
		p, err := s.Store.PlanNamed(name)
		if err != nil {
			return nil, err
		}
		list.Body.Items = append(list.Body.Items, showPlan(p))
	}
	return list, nil
}

type retirePlanRequest struct {
	WriteHeaders
	PlanPath
}

func (s *server) retirePlan(ctx context.Context, _ domain.Principal, in *retirePlanRequest) (*planAnswer, error) {
	result, err := s.Commands.RetirePlan(ctx, commands.RetirePlan{Request: in.request, Name: in.Name})
	return s.changedPlan(ctx, result, err)
}
