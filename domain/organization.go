package domain

import "time"

// An Organization is the tenant that keys belong to. The zero value has no history.
type Organization struct {
	ID               OrgID      `json:"id"`
	Name             string     `json:"name"`
	CreatedAt        time.Time  `json:"created_at"`
	Plan             string     `json:"plan,omitempty"` // its name; "": none
	Attributes       Attributes `json:"attributes,omitempty"`
	SuspendedAt      time.Time  `json:"suspended_at,omitzero"` // zero: it is not
	SuspensionReason string     `json:"suspension_reason,omitempty"`
}

// Suspended reports whether the organization's keys are refused.
func (o *Organization) Suspended() bool { return !o.SuspendedAt.IsZero() }

// OrganizationCreated began an organization.
type OrganizationCreated struct {
	ID   OrgID  `json:"org_id"`
	Name string `json:"name"`
	Header
}

// OrganizationUpdated gave an organization another name, another plan ("": none), or other
// attributes: these are all.
type OrganizationUpdated struct {
	Name       *string     `json:"name,omitempty"`
	Plan       *string     `json:"plan,omitempty"`
	Attributes *Attributes `json:"attributes,omitempty"`
	Header
}

// OrganizationSuspended made all keys of an organization be refused.
type OrganizationSuspended struct {
	Reason string `json:"reason,omitempty"`
	Header
}

// OrganizationResumed ended a suspension.
type OrganizationResumed struct{ Header }

// CreateOrganization asks for a new tenant.
type CreateOrganization struct {
	ID   OrgID
	Name string
	At   time.Time
	By   Principal
}

// Create decides whether the organization may come to be.
func (o Organization) Create(c CreateOrganization) (Event, error) {
	if o.ID != "" {
		return nil, ErrOrganizationExists
	}
	if c.By.Org != Installation {
		return nil, ErrOutOfReach
	}
	return OrganizationCreated{ID: c.ID, Name: c.Name, Header: Header{c.At, c.By.ID}}, nil
}

// UpdateOrganization asks for another name, another plan, or other attributes.
type UpdateOrganization struct {
	Name       *string // nil: as it is
	Plan       *string // nil: as it is; "": none
	Plans      Plans   // that there are
	Attributes AttributeChanges
	At         time.Time
	By         Principal
}

// Update decides whether the organization may be changed. What it was sold, and what keyspaces can
// require of it, is not for itself to change.
func (o Organization) Update(c UpdateOrganization) (Event, error) {
	switch {
	case o.ID == "" || !c.By.Reaches(o.ID):
		return nil, ErrOrganizationNotFound
	case (c.Plan != nil || c.Attributes.some()) && c.By.Org != Installation:
		return nil, ErrInstallationOnly
	}
	plan, err := o.changedPlan(c)
	if err != nil {
		return nil, err
	}
	attributes, err := o.Attributes.changed(c.Attributes)
	if err != nil {
		return nil, err
	}
	e := OrganizationUpdated{Name: merge(&o.Name, c.Name, equal), Plan: plan, Header: Header{c.At, c.By.ID}}
	if attributes != nil {
		e.Attributes = &attributes
	}
	if e.Name == nil && e.Plan == nil && e.Attributes == nil {
		return nil, nil
	}
	return e, nil
}

// changedPlan is the plan that it is to get; nil: it has that already.
func (o Organization) changedPlan(c UpdateOrganization) (*string, error) {
	if c.Plan == nil || *c.Plan == o.Plan {
		return nil, nil
	}
	if *c.Plan != "" {
		p, err := c.Plans.Named(*c.Plan)
		switch {
		case err != nil:
			return nil, ErrPlanNotFound.In("plan")
		case p.Retired():
			return nil, ErrPlanRetired
		}
	}
	return c.Plan, nil
}

// SuspendOrganization asks to refuse all keys of the organization, until it is resumed.
type SuspendOrganization struct {
	Reason string
	At     time.Time
	By     Principal
}

// Suspend decides whether the organization may be suspended. Its own keys may not: they could
// not take it back.
func (o Organization) Suspend(c SuspendOrganization) (Event, error) {
	if err := o.suspendable(c.By); err != nil || o.Suspended() {
		return nil, err
	}
	return OrganizationSuspended{Reason: c.Reason, Header: Header{c.At, c.By.ID}}, nil
}

// ResumeOrganization asks to end a suspension.
type ResumeOrganization struct {
	At time.Time
	By Principal
}

// Resume decides whether the suspension may end.
func (o Organization) Resume(c ResumeOrganization) (Event, error) {
	if err := o.suspendable(c.By); err != nil || !o.Suspended() {
		return nil, err
	}
	return OrganizationResumed{Header{c.At, c.By.ID}}, nil
}

func (o Organization) suspendable(p Principal) error {
	switch {
	case p.Org != Installation:
		return ErrOutOfReach
	case o.ID == "":
		return ErrOrganizationNotFound
	}
	return nil
}

// Apply moves o past e. It cannot fail and must not judge: e already happened.
func (o *Organization) Apply(e Event) {
	switch e := e.(type) {
	case OrganizationCreated:
		o.ID, o.Name, o.CreatedAt = e.ID, e.Name, e.At
	case OrganizationUpdated:
		merge(&o.Name, e.Name, equal)
		merge(&o.Plan, e.Plan, equal)
		if e.Attributes != nil {
			o.Attributes = *e.Attributes
		}
	case OrganizationSuspended:
		o.SuspendedAt, o.SuspensionReason = e.At, e.Reason
	case OrganizationResumed:
		o.SuspendedAt, o.SuspensionReason = time.Time{}, ""
	}
}
