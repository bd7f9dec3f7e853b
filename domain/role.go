package domain

import (
	"maps"
	"slices"
)

// A role is a named set of scopes that a member of an organization has there.

// The roles that are built in. Every other one is an organization's own.
const (
	RoleOwner  = "owner"  // may do everything in the organization; there always is one
	RoleAdmin  = "admin"  // manages keys, members and sinks
	RoleMember = "member" // sees who else is a member, and no keys
)

var builtInRoles = map[string][]string{
	RoleOwner: {"*"},
	RoleAdmin: {"audit:read", "keys:read", "keys:verify", "keys:write", "keyspaces:read", "members:read", "members:write", "organizations:read",
		"owners:read", "owners:write", "plans:read", "sessions:read", "sessions:write", "sinks:read", "sinks:write", "sso:read"},
	RoleMember: {"members:read", "organizations:read"},
}

// BuiltInRoles are the names of the roles that are built in, those with the most scopes first.
func BuiltInRoles() []string { return []string{RoleOwner, RoleAdmin, RoleMember} }

// BuiltInRole is what a role that is built in may do.
func BuiltInRole(name string) (scopes []string, found bool) {
	scopes, found = builtInRoles[name]
	return slices.Clone(scopes), found
}

// A Role is a role of an organization, and how many members have it.
type Role struct {
	Scopes  []string `json:"scopes,omitempty"` // of one that is built in: nil
	Members int      `json:"members,omitempty"`
	Custom  bool     `json:"custom,omitempty"`
}

// RoleDefined gave a role of an organization its scopes: these are all.
type RoleDefined struct {
	Role   string   `json:"role"`
	Scopes []string `json:"scopes"`
	New    bool     `json:"new,omitempty"` // there was none of this name
	Header
}

// RoleRemoved ended a role that no member had.
type RoleRemoved struct {
	Role string `json:"role"`
	Header
}

// maxRoles is how many roles of its own an organization has at most.
const maxRoles = 50

// scopes are what a role may do.
func (m *Members) scopes(role string) ([]string, error) {
	if scopes, builtIn := builtInRoles[role]; builtIn {
		return scopes, nil
	}
	if r, known := m.Roles[role]; known && r.Custom {
		return r.Scopes, nil
	}
	return nil, ErrRoleNotFound
}

// mayHandle refuses a principal that lacks a scope of a role, be it one that a product gives it: it
// can neither give nor take the role.
func (m *Members) mayHandle(p Principal, role string) error {
	scopes, err := m.scopes(role)
	if err == nil && !coversAll(p.Scopes, scopes) {
		return ErrRoleEscalation
	}
	for _, product := range m.Products {
		held := slices.Concat(p.Scopes, product.ScopesOf(p.Role))
		if err == nil && !coversAll(held, product.ScopesOf(role)) {
			return ErrRoleEscalation
		}
	}
	return err
}

// DefineRole asks for a role of the organization's own, or for other scopes of it.
type DefineRole struct {
	Principalled
	Role   string
	Scopes []string
}

// DefineRole decides whether the role may get the scopes. Who changes a role must have what it had
// and what it gets.
func (m Members) DefineRole(c DefineRole) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	if _, builtIn := builtInRoles[c.Role]; builtIn {
		return nil, ErrRoleBuiltIn
	}
	r, known := m.Roles[c.Role]
	switch {
	case !coversAll(c.By.Scopes, c.Scopes) || !coversAll(c.By.Scopes, r.Scopes):
		return nil, ErrRoleEscalation
	case known && slices.Equal(r.Scopes, c.Scopes):
		return nil, nil
	case !known && m.customRoles() >= maxRoles:
		return nil, ErrTooManyRoles
	}
	return RoleDefined{Role: c.Role, Scopes: c.Scopes, New: !known, Header: c.header()}, nil
}

func (m *Members) customRoles() (n int) {
	for r := range maps.Values(m.Roles) {
		if r.Custom {
			n++
		}
	}
	return n
}

// RemoveRole asks to end a role.
type RemoveRole struct {
	Principalled
	Role string
}

// RemoveRole decides whether the role may end: no member has it. An invitation that gives it gives
// nothing from then on.
func (m Members) RemoveRole(c RemoveRole) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	if _, builtIn := builtInRoles[c.Role]; builtIn {
		return nil, ErrRoleBuiltIn
	}
	if err := m.mayHandle(c.By, c.Role); err != nil {
		return nil, err
	}
	if m.Roles[c.Role].Members > 0 {
		return nil, ErrRoleInUse
	}
	return RoleRemoved{Role: c.Role, Header: c.header()}, nil
}
