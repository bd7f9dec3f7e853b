package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// ResumeOrganization ends the suspension of a tenant.
type ResumeOrganization struct {
	Request
	Org domain.OrgID
}

// ResumeOrganization carries out c.
func (h *Handler) ResumeOrganization(ctx context.Context, c ResumeOrganization) (OrganizationResult, error) {
	return h.onOrganization(ctx, c.Org, c.Request, func(o domain.Organization) (domain.Event, error) {
		return o.Resume(domain.ResumeOrganization{At: h.now(), By: c.By})
	})
}
