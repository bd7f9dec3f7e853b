package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// CreateOrganization begins a tenant.
type CreateOrganization struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,min=1,max=200,text"`
}

// CreateOrganization carries out c.
func (h *Handler) CreateOrganization(ctx context.Context, c CreateOrganization) (OrganizationResult, error) {
	c.identify()
	if err := valid(c); err != nil {
		return OrganizationResult{}, err
	}
	id := domain.NewOrgID(c.CommandID)
	return h.onOrganization(ctx, id, c.Request, func(o domain.Organization) (domain.Event, error) {
		return o.Create(domain.CreateOrganization{ID: id, Name: c.Name, At: h.now(), By: c.By})
	})
}
