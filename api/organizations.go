package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// An Organization is a tenant as the API shows it.
type Organization struct {
	ID               domain.OrgID `json:"id"`
	Name             string       `json:"name"`
	CreatedAt        time.Time    `json:"created_at"`
	Plan             *string      `json:"plan" nullable:"true" doc:"null: it has none, and no bounds but those of keyspaces."`
	Attributes       attributes   `json:"attributes"`
	SuspendedAt      *time.Time   `json:"suspended_at" nullable:"true" doc:"null: it is not suspended. If it is, all its keys are refused."`
	SuspensionReason *string      `json:"suspension_reason" nullable:"true"`
	Revision         uint64       `json:"revision"`
}

type organizationAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Organization
}

func showOrganization(o projections.OrganizationRow) Organization {
	shown := Organization{ID: o.ID, Name: o.Name, CreatedAt: o.CreatedAt, Attributes: showAttributes(o.Attributes), Revision: uint64(o.Revision)}
	if o.Plan != "" {
		shown.Plan = &o.Plan
	}
	if o.Suspended() {
		shown.SuspendedAt, shown.SuspensionReason = &o.SuspendedAt, &o.SuspensionReason
	}
	return shown
}

func answerOrganization(o projections.OrganizationRow) *organizationAnswer {
	return &organizationAnswer{etag(o.Revision), uint64(o.Revision), showOrganization(o)}
}

type OrganizationBody struct {
	Name string `json:"name"`
}

// OrganizationChanges are what a request changes of an organization.
type OrganizationChanges struct {
	Name       *string          `json:"name,omitempty" nullable:"false"`
	Plan       *string          `json:"plan,omitempty" nullable:"false" doc:"Its name, empty: none. Like the attributes it is changed by keys that serve the whole installation."`
	Attributes attributeChanges `json:"attributes,omitempty" doc:"Those that are not named stay as they are; null takes one away."`
}

// TransformSchema states the bounds of the name and the attributes.
func (OrganizationChanges) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.UpdateOrganization](r, s)
}

// TransformSchema states the bounds of the name.
func (OrganizationBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.CreateOrganization](r, s)
}

type createOrganizationRequest struct {
	WriteHeaders
	Body OrganizationBody
}

func (s *server) createOrganization(ctx context.Context, p domain.Principal, in *createOrganizationRequest) (*organizationAnswer, error) {
	result, err := s.Commands.CreateOrganization(ctx, commands.CreateOrganization{Request: in.request, Name: in.Body.Name})
	return s.changedOrganization(ctx, result, err)
}

func (s *server) changedOrganization(ctx context.Context, r commands.OrganizationResult, err error) (*organizationAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	return answerOrganization(projections.OrganizationRow{Organization: r.Organization, Revision: r.Position}), nil
}

type OrganizationPath struct {
	ID string `path:"id" maxLength:"64"`
}

type readOrganizationRequest struct {
	OrganizationPath
	AfterParam
}

func (s *server) readOrganization(ctx context.Context, p domain.Principal, in *readOrganizationRequest) (*organizationAnswer, error) {
	id, err := within(p, in.ID)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	o, err := s.Store.Organization(id)
	if err != nil {
		return nil, err
	}
	return answerOrganization(o), nil
}

type updateOrganizationRequest struct {
	WriteHeaders
	OrganizationPath
	Body OrganizationChanges
}

func (s *server) updateOrganization(ctx context.Context, p domain.Principal, in *updateOrganizationRequest) (*organizationAnswer, error) {
	id, err := within(p, in.ID)
	if err == nil {
		err = noNulls(ctx)
	}
	if err != nil {
		return nil, err
	}
	if in.Body.Plan != nil && p.Reach().All { // for a plan that another node was told of
		if err := s.waitForEnd(ctx); err != nil {
			return nil, err
		}
	}
	result, err := s.Commands.UpdateOrganization(ctx, commands.UpdateOrganization{Request: in.request, Org: id, Name: in.Body.Name, Plan: in.Body.Plan,
		AttributeChanges: commands.AttributeChanges{Attributes: in.Body.Attributes}})
	return s.changedOrganization(ctx, result, err)
}

type replaceOrganizationAttributesRequest struct {
	WriteHeaders
	OrganizationPath
	Body attributes
}

func (s *server) replaceOrganizationAttributes(ctx context.Context, p domain.Principal, in *replaceOrganizationAttributesRequest) (*organizationAnswer, error) {
	id, err := within(p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.UpdateOrganization(ctx, commands.UpdateOrganization{Request: in.request, Org: id, AttributeChanges: in.Body.replace()})
	return s.changedOrganization(ctx, result, err)
}

// SuspensionBody says why an organization is suspended.
type SuspensionBody struct {
	Reason string `json:"reason,omitempty"`
}

// TransformSchema states the bound of the reason.
func (SuspensionBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.SuspendOrganization](r, s)
}

type suspendOrganizationRequest struct {
	WriteHeaders
	OrganizationPath
	Body *SuspensionBody `required:"false"`
}

func (s *server) suspendOrganization(ctx context.Context, p domain.Principal, in *suspendOrganizationRequest) (*organizationAnswer, error) {
	id, err := within(p, in.ID)
	if err != nil {
		return nil, err
	}
	c := commands.SuspendOrganization{Request: in.request, Org: id}
	if in.Body != nil {
		c.Reason = in.Body.Reason
	}
	result, err := s.Commands.SuspendOrganization(ctx, c)
	return s.changedOrganization(ctx, result, err)
}

type resumeOrganizationRequest struct {
	WriteHeaders
	OrganizationPath
	Body *struct{} `required:"false"`
}

func (s *server) resumeOrganization(ctx context.Context, p domain.Principal, in *resumeOrganizationRequest) (*organizationAnswer, error) {
	id, err := within(p, in.ID)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.ResumeOrganization(ctx, commands.ResumeOrganization{Request: in.request, Org: id})
	return s.changedOrganization(ctx, result, err)
}

type listOrganizationsRequest struct {
	AfterParam
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" maxLength:"2048"`
}

type organizationPage struct {
	Body struct {
		Items      []Organization `json:"items"`
		NextCursor *string        `json:"next_cursor"`
	}
}

func (s *server) listOrganizations(ctx context.Context, p domain.Principal, in *listOrganizationsRequest) (*organizationPage, error) {
	if err := s.waitAfter(ctx, in.AfterParam); err != nil {
		return nil, err
	}
	page := &organizationPage{}
	page.Body.Items = []Organization{}
	if !p.Reach().All {
		o, err := s.Store.Organization(p.Org)
		page.Body.Items = append(page.Body.Items, showOrganization(o))
		return page, err
	}
	found, next, err := s.Store.Organizations(in.Cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		page.Body.Items = append(page.Body.Items, showOrganization(o))
	}
	page.Body.NextCursor = cursorOrNull(next)
	return page, nil
}
