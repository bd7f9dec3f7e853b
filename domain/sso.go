package domain

import (
	"errors"
	"reflect"
	"slices"
	"time"
)

// An SSO is the single sign-on of an organization: the OpenID Connect provider by which its people
// log in to it. The zero SSO has no history.
type SSO struct {
	Org OrgID `json:"org_id"`
	SSODefinition
	HasSecret bool      `json:"has_secret,omitempty"`
	Sealed    []byte    `json:"sealed,omitempty"` // the client secret
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by,omitempty"`
}

// An SSODefinition is what an organization says of its provider.
type SSODefinition struct {
	Issuer      string      `json:"issuer" validate:"required,max=500,issuer" doc:"Of the provider, to the letter: its discovery document is below it."`
	ClientID    string      `json:"client_id" validate:"required,max=200,printable" doc:"By which the provider knows this service."`
	Scopes      []string    `json:"scopes,omitempty" validate:"max=20,unique,dive,required,max=100,printable" doc:"That are asked for beside openid; left out: email and profile."`
	GroupClaim  string      `json:"group_claim,omitempty" validate:"max=100,text" doc:"The claim that names a person's groups; left out: groups."`
	GroupRoles  []GroupRole `json:"group_roles,omitempty" validate:"max=100,unique=Group,dive" doc:"The role of a group's people; who is in several has the first."`
	DefaultRole string      `json:"default_role,omitempty" validate:"omitempty,max=64,role_name" doc:"Of people in none of these groups; left out: they cannot log in."`
	ReturnURLs  []string    `json:"return_urls" validate:"required,min=1,max=20,unique,dive,required,max=1000,return_url" doc:"Where a log-in may end, to the letter."`
	Enforced    bool        `json:"enforced,omitempty" doc:"Sessions in the organization are of this provider alone: nobody comes by password."`
}

// Exists reports whether there is single sign-on.
func (s *SSO) Exists() bool { return s.Issuer != "" }

// Admits reports whether a session that came by the provider with that issuer, "": by none, is good in
// the organization. Those of a provider that it had before ended with that.
func (d *SSODefinition) Admits(issuer string) bool {
	return issuer == d.Issuer || issuer == "" && !d.Enforced
}

// SameProvider reports whether o has the same client of the same provider. With another client it
// could be other people whom the provider lets through.
func (d *SSODefinition) SameProvider(o *SSODefinition) bool {
	return d.Issuer == o.Issuer && d.ClientID == o.ClientID
}

// RoleOf is the role of a person in these groups, "" if they have none.
func (d *SSODefinition) RoleOf(groups []string) string {
	for _, g := range d.GroupRoles {
		if slices.Contains(groups, g.Group) {
			return g.Role
		}
	}
	return d.DefaultRole
}

// Roles are those that d can give.
func (d *SSODefinition) Roles() (roles []string) {
	for _, g := range d.GroupRoles {
		roles = append(roles, g.Role)
	}
	if d.DefaultRole != "" {
		roles = append(roles, d.DefaultRole)
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// SSOConfigured began the single sign-on of an organization.
type SSOConfigured struct {
	SSODefinition
	HasSecret bool   `json:"has_secret,omitempty"`
	Sealed    []byte `json:"-"`
	Header
}

// SSOUpdated gave it another definition, or another client secret.
type SSOUpdated struct {
	SSODefinition
	HasSecret bool   `json:"has_secret,omitempty"`
	Sealed    []byte `json:"-"`
	Header
}

// SSORemoved ended it, and the sessions of its provider.
type SSORemoved struct{ Header }

// Private is the client secret, sealed.
func (e SSOConfigured) Private() Private { return Private{Sealed: e.Sealed} }

// WithPrivate is the event with p for its private facts.
func (e SSOConfigured) WithPrivate(p Private) Event { e.Sealed = p.Sealed; return e }

// Private is the client secret, sealed.
func (e SSOUpdated) Private() Private { return Private{Sealed: e.Sealed} }

// WithPrivate is the event with p for its private facts.
func (e SSOUpdated) WithPrivate(p Private) Event { e.Sealed = p.Sealed; return e }

// SetSSO asks for single sign-on, or for another one.
type SetSSO struct {
	Principalled
	Org        OrgID
	Definition SSODefinition
	Members    Members // of the organization, with its roles
	HasSecret  bool
	Sealed     []byte // nil: the client secret stays as it is
}

// Set decides whether the organization may have this single sign-on. Who sets it decides who is let
// in with which role, and so must hold all that it gives, and that it gave.
func (s SSO) Set(c SetSSO) (Event, error) {
	if err := s.changeable(c.By, c.Org, &c.Members); err != nil {
		return nil, err
	}
	for _, role := range c.Definition.Roles() {
		if err := c.Members.mayHandle(c.By, role); err != nil {
			return nil, err
		}
	}
	if c.Definition.Enforced && c.By.Org != Installation && c.By.Issuer != c.Definition.Issuer {
		return nil, ErrSSOUntried
	}
	if c.Sealed == nil {
		c.HasSecret, c.Sealed = s.HasSecret, s.Sealed
		if reflect.DeepEqual(s.SSODefinition, c.Definition) {
			return nil, nil
		}
	}
	if !s.Exists() {
		return SSOConfigured{c.Definition, c.HasSecret, c.Sealed, c.header()}, nil
	}
	return SSOUpdated{c.Definition, c.HasSecret, c.Sealed, c.header()}, nil
}

// RemoveSSO asks to end single sign-on.
type RemoveSSO struct {
	Principalled
	Org     OrgID
	Members Members
}

// Remove decides whether single sign-on may end.
func (s SSO) Remove(c RemoveSSO) (Event, error) {
	if err := s.changeable(c.By, c.Org, &c.Members); err != nil || !s.Exists() {
		return nil, err
	}
	return SSORemoved{c.header()}, nil
}

// changeable refuses who does not reach the organization, or could not have given what s gives. A
// role that is no more gives nothing.
func (s *SSO) changeable(p Principal, org OrgID, m *Members) error {
	if !p.Reaches(org) {
		return ErrOrganizationNotFound
	}
	for _, role := range s.Roles() {
		if err := m.mayHandle(p, role); err != nil && !errors.Is(err, ErrRoleNotFound) {
			return err
		}
	}
	return nil
}

// Apply moves s past e. It cannot fail and must not judge: e already happened.
func (s *SSO) Apply(e Event) {
	switch e := e.(type) {
	case SSOConfigured:
		s.set(e.SSODefinition, e.HasSecret, e.Sealed, e.Header)
	case SSOUpdated:
		s.set(e.SSODefinition, e.HasSecret, e.Sealed, e.Header)
	case SSORemoved:
		s.set(SSODefinition{}, false, nil, e.Header)
	}
}

func (s *SSO) set(d SSODefinition, hasSecret bool, sealed []byte, h Header) {
	s.SSODefinition, s.HasSecret, s.Sealed, s.UpdatedAt, s.UpdatedBy = d, hasSecret, sealed, h.At, h.By
}
