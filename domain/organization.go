package domain

import "time"

// An Organization is the tenant that keys belong to. The zero value has no history.
type Organization struct {
	ID        OrgID     `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// OrganizationCreated began an organization.
type OrganizationCreated struct {
	ID   OrgID  `json:"org_id"`
	Name string `json:"name"`
	Header
}

// OrganizationUpdated renamed an organization.
type OrganizationUpdated struct {
	Name string `json:"name"`
	Header
}

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

// UpdateOrganization asks for a new name.
type UpdateOrganization struct {
	Name string
	At   time.Time
	By   Principal
}

// Update decides whether the organization may be renamed.
func (o Organization) Update(c UpdateOrganization) (Event, error) {
	if o.ID == "" || !c.By.Reaches(o.ID) {
		return nil, ErrOrganizationNotFound
	}
	if o.Name == c.Name {
		return nil, nil
	}
	return OrganizationUpdated{Name: c.Name, Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves o past e. It cannot fail and must not judge: e already happened.
func (o *Organization) Apply(e Event) {
	switch e := e.(type) {
	case OrganizationCreated:
		o.ID, o.Name, o.CreatedAt = e.ID, e.Name, e.At
	case OrganizationUpdated:
		o.Name = e.Name
	}
}
