package domain

import "time"

// An Owner is whom keys of an organization were given to, in the organization's own words. The
// zero Owner has no history, which does not keep keys from having it.
type Owner struct{ Attributes Attributes }

// OwnerUpdated gave an owner other attributes: these are all.
type OwnerUpdated struct {
	Owner      string     `json:"owner"`
	Attributes Attributes `json:"attributes"`
	Header
}

// UpdateOwner asks for other attributes.
type UpdateOwner struct {
	Org        OrgID
	Owner      string
	Attributes AttributeChanges
	At         time.Time
	By         Principal
}

// Update decides whether the owner may get other attributes.
func (o Owner) Update(c UpdateOwner) (Event, error) {
	if !c.By.Reaches(c.Org) {
		return nil, ErrOrganizationNotFound
	}
	next, err := o.Attributes.changed(c.Attributes)
	if next == nil || err != nil {
		return nil, err
	}
	return OwnerUpdated{Owner: c.Owner, Attributes: next, Header: Header{c.At, c.By.ID}}, nil
}

// Apply moves o past e. It cannot fail and must not judge: e already happened.
func (o *Owner) Apply(e Event) {
	if e, ok := e.(OwnerUpdated); ok {
		o.Attributes = e.Attributes
	}
}
