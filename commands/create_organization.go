package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// CreateOrganization begins a tenant.
type CreateOrganization struct {
	Request `validate:"-"`
	Name    string `json:"name" validate:"required,min=1,max=200,text"`
}

// An OrganizationResult is an organization after a command. Position is its revision.
type OrganizationResult struct {
	Organization domain.Organization
	Position     eventstore.Position
	Replayed     bool
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

// onOrganization carries out a command on an organization.
func (h *Handler) onOrganization(ctx context.Context, id domain.OrgID, r Request, decide func(domain.Organization) (domain.Event, error)) (OrganizationResult, error) {
	o, err := executeOnce(ctx, h, eventstore.OrganizationRef(id), r, decide)
	return OrganizationResult{Organization: o.state, Position: o.position, Replayed: o.replayed}, err
}

// mustExist refuses an organization without history. One that has some exists for ever, so
// the ledger is asked once.
func (h *Handler) mustExist(ctx context.Context, org domain.OrgID) error {
	if _, known := h.orgs.Load(org); known || org == domain.Installation {
		return nil
	}
	end, err := h.ledger.Load(ctx, eventstore.OrganizationRef(org), 0, func(eventstore.Record) {})
	if err == nil && end == 0 {
		return domain.ErrOrganizationNotFound
	}
	if err == nil {
		h.orgs.Store(org, true)
	}
	return err
}
