package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// UpdateOrganization renames a tenant.
type UpdateOrganization struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	Name    string       `json:"name" validate:"required,min=1,max=200,text"`
}

// UpdateOrganization carries out c.
func (h *Handler) UpdateOrganization(ctx context.Context, c UpdateOrganization) (OrganizationResult, error) {
	if err := valid(c); err != nil {
		return OrganizationResult{}, err
	}
	return h.onOrganization(ctx, c.Org, c.Request, func(o domain.Organization) (domain.Event, error) {
		return o.Update(domain.UpdateOrganization{Name: c.Name, At: h.now(), By: c.By})
	})
}
