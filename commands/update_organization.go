package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
)

// UpdateOrganization gives a tenant another name, another plan, or other attributes.
type UpdateOrganization struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	Name    *string      `json:"name,omitempty" validate:"omitnil,required,max=200,text"` // nil: as it is
	Plan    *string      `json:"plan,omitempty" validate:"omitempty,max=40"`              // nil: as it is; "": none
	AttributeChanges
}

// AttributeChanges are new attributes of an owner or an organization; nil takes one away. Those
// that are not named stay, unless Replace is set.
type AttributeChanges struct {
	Attributes map[string]*string `json:"attributes,omitempty" validate:"max=50,dive,keys,min=1,max=64,metakey,endkeys,omitnil,max=500,text"`
	Replace    bool               `json:"-"`
}

func (c AttributeChanges) decision() domain.AttributeChanges {
	return domain.AttributeChanges{Values: c.Attributes, Replace: c.Replace}
}

// UpdateOrganization carries out c.
func (h *Handler) UpdateOrganization(ctx context.Context, c UpdateOrganization) (OrganizationResult, error) {
	if err := valid(c); err != nil {
		return OrganizationResult{}, err
	}
	return h.onOrganization(ctx, c.Org, c.Request, func(o domain.Organization) (domain.Event, error) {
		return o.Update(domain.UpdateOrganization{Name: c.Name, Plan: c.Plan, Plans: h.plans.Plans(), Attributes: c.decision(), At: h.now(), By: c.By})
	})
}
