package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// SuspendOrganization makes all keys of a tenant be refused, until ResumeOrganization.
type SuspendOrganization struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	Reason  string       `json:"reason" validate:"max=500,text"`
}

// SuspendOrganization carries out c.
func (h *Handler) SuspendOrganization(ctx context.Context, c SuspendOrganization) (OrganizationResult, error) {
	if err := valid(c); err != nil {
		return OrganizationResult{}, err
	}
	return h.onOrganization(ctx, c.Org, c.Request, func(o domain.Organization) (domain.Event, error) {
		return o.Suspend(domain.SuspendOrganization{Reason: c.Reason, At: h.now(), By: c.By})
	})
}
