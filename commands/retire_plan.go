package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// RetirePlan ends the giving of a plan to organizations.
type RetirePlan struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,max=40,keyspace_name"`
}

// RetirePlan carries out c.
func (h *Handler) RetirePlan(ctx context.Context, c RetirePlan) (PlanResult, error) {
	if err := valid(c); err != nil {
		return PlanResult{}, domain.ErrPlanNotFound
	}
	return h.onPlan(ctx, c.Name, c.Request, func(p domain.Plan) (domain.Event, error) {
		return p.Retire(domain.RetirePlan{At: h.now(), By: c.By})
	})
}
