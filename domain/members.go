package domain

import (
	"time"
)

// Members are the people of one organization: who they are is of the installation (User), what they
// may do there is of the organization. One aggregate decides about all of them, so that there always
// is an owner, and every role that a member has exists.
//
// Of an organization's members and invitations it need not have all: those that a command is
// about are enough, beside the counts.
type Members struct {
	Org         OrgID                       `json:"org_id"`
	Roles       map[string]Role             `json:"roles,omitempty"` // by name, with those built in that members have
	People      map[UserID]Member           `json:"-"`
	Invitations map[InvitationID]Invitation `json:"-"`
	Pending     int                         `json:"pending,omitempty"` // how many invitations there are
}

// A Member is a user in an organization.
type Member struct {
	Role      string    `json:"role"`
	Directory string    `json:"directory,omitempty"` // the id that the organization's directory has for the user; "": it does not manage it
	Since     time.Time `json:"since"`
	By        string    `json:"by,omitempty"`
}

// An Invitation lets who has its token and its address become a member.
type Invitation struct {
	ID        InvitationID `json:"invitation_id"`
	Email     string       `json:"email"`
	Role      string       `json:"role"`
	ExpiresAt time.Time    `json:"expires_at"`
	Digest    Digest       `json:"digest,omitzero"` // of the token
	CreatedAt time.Time    `json:"created_at"`
	CreatedBy string       `json:"created_by,omitempty"`
}

// Principalled is who asks for something, and when.
type Principalled struct {
	At time.Time
	By Principal
}

func (p Principalled) header() Header { return Header{p.At, p.By.ID} }

// MembershipCreated made a user a member of an organization.
type MembershipCreated struct {
	User       UserID       `json:"user_id"`
	Role       string       `json:"role"`
	Invitation InvitationID `json:"invitation_id,omitempty"` // that was accepted, and with that is used up
	Directory  string       `json:"directory,omitempty"`
	Header
}

// MembershipUpdated gave a member another role.
type MembershipUpdated struct {
	User   UserID `json:"user_id"`
	Role   string `json:"role"`
	Former string `json:"former_role"`
	Header
}

// MembershipRemoved ended a membership, and with it all that the user's keys and sessions may do in
// the organization.
type MembershipRemoved struct {
	User   UserID `json:"user_id"`
	Role   string `json:"role"`             // that it was
	Reason string `json:"reason,omitempty"` // left, removed, directory, user_removed
	Header
}

// InvitationCreated invited an address. The token is its holder's alone.
type InvitationCreated struct {
	ID        InvitationID `json:"invitation_id"`
	Email     string       `json:"email"`
	Role      string       `json:"role"`
	ExpiresAt time.Time    `json:"expires_at"`
	Digest    Digest       `json:"-"`
	Header
}

// Private is the digest of the token.
func (e InvitationCreated) Private() Private { return Private{Digest: e.Digest} }

// WithPrivate is the event with p for its private facts.
func (e InvitationCreated) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }

// InvitationRevoked took an invitation back.
type InvitationRevoked struct {
	ID InvitationID `json:"invitation_id"`
	Header
}

// reachable refuses a principal that does not reach the organization.
func (m *Members) reachable(p Principal) error {
	if !p.Reaches(m.Org) {
		return ErrOrganizationNotFound
	}
	return nil
}

// SetMember asks for a user to be a member with a role.
type SetMember struct {
	Principalled
	User      UserID
	Role      string
	Directory string // the id that the organization's directory has for the user, which asks then
	Asserted  bool   // the organization's own provider or directory says so: the user may be no member yet
}

// Set decides whether the user may be a member with that role. A tenant adds no strangers in this way: the
// user would not be asked, and the tenant would see who that is.
func (m Members) Set(c SetMember) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	now, member := m.People[c.User]
	if !member && c.By.Org != Installation && !c.Asserted {
		return nil, ErrUserNotFound
	}
	if err := m.mayHandle(c.By, c.Role); err != nil {
		return nil, err
	}
	switch {
	case !member:
		return MembershipCreated{User: c.User, Role: c.Role, Directory: c.Directory, Header: c.header()}, nil
	case now.Role == c.Role:
		return nil, nil
	}
	if err := m.mayLose(c.By, now.Role); err != nil {
		return nil, err
	}
	return MembershipUpdated{User: c.User, Role: c.Role, Former: now.Role, Header: c.header()}, nil
}

// mayLose refuses to take a role that the principal could not give, and the last owner's.
func (m *Members) mayLose(p Principal, role string) error {
	if err := m.mayHandle(p, role); err != nil {
		return err
	}
	if role == RoleOwner && m.Roles[RoleOwner].Members <= 1 {
		return ErrLastOwner
	}
	return nil
}

// RemoveMember asks to end a membership.
type RemoveMember struct {
	Principalled
	User   UserID
	Reason string
}

// Remove decides whether the membership may end. Members may leave.
func (m Members) Remove(c RemoveMember) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	now, member := m.People[c.User]
	if !member {
		return nil, ErrMemberNotFound
	}
	by := c.By
	if by.User == c.User {
		by = System // who leaves takes nothing from another
	}
	if err := m.mayLose(by, now.Role); err != nil {
		return nil, err
	}
	return MembershipRemoved{User: c.User, Role: now.Role, Reason: c.Reason, Header: c.header()}, nil
}

// CreateInvitation asks to invite an address.
type CreateInvitation struct {
	Principalled
	ID        InvitationID
	Email     string
	Role      string
	ExpiresAt time.Time
	Digest    Digest
}

// maxInvitations is how many invitations of an organization there are at most at a time.
const maxInvitations = 1000

// Invite decides whether the address may be invited.
func (m Members) Invite(c CreateInvitation) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	if err := m.mayHandle(c.By, c.Role); err != nil {
		return nil, err
	}
	if err := inFuture(c.ExpiresAt, c.At); err != nil {
		return nil, err
	}
	if m.Pending >= maxInvitations {
		return nil, ErrTooManyInvitations
	}
	return InvitationCreated{ID: c.ID, Email: c.Email, Role: c.Role, ExpiresAt: c.ExpiresAt, Digest: c.Digest, Header: c.header()}, nil
}

// RevokeInvitation asks to take an invitation back.
type RevokeInvitation struct {
	Principalled
	ID InvitationID
}

// RevokeInvitation decides whether there is an invitation to take back.
func (m Members) RevokeInvitation(c RevokeInvitation) (Event, error) {
	if err := m.reachable(c.By); err != nil {
		return nil, err
	}
	if _, pending := m.Invitations[c.ID]; !pending {
		return nil, ErrInvitationNotFound
	}
	return InvitationRevoked{ID: c.ID, Header: c.header()}, nil
}

// AcceptInvitation is a user with an invitation's token.
type AcceptInvitation struct {
	At     time.Time
	ID     InvitationID
	Digest Digest
	User   User
}

// Accept decides whether the invitation is the user's, and still good. What an invitation gives was
// decided when it was made; a role that is no more gives nothing.
func (m Members) Accept(c AcceptInvitation) (Event, error) {
	i, pending := m.Invitations[c.ID]
	switch {
	case !pending || i.Digest != c.Digest || !c.At.Before(i.ExpiresAt):
		return nil, ErrInvitationNotFound
	case c.User.Email != i.Email:
		return nil, ErrInvitedAnother
	}
	if _, member := m.People[c.User.ID]; member {
		return InvitationRevoked{ID: c.ID, Header: Header{c.At, string(c.User.ID)}}, nil
	}
	if _, err := m.scopes(i.Role); err != nil {
		return nil, err
	}
	return MembershipCreated{User: c.User.ID, Role: i.Role, Invitation: c.ID, Header: Header{c.At, string(c.User.ID)}}, nil
}

// Apply moves m past e. It cannot fail and must not judge: e already happened.
func (m *Members) Apply(e Event) {
	m.init()
	switch e := e.(type) {
	case MembershipCreated:
		m.People[e.User] = Member{Role: e.Role, Directory: e.Directory, Since: e.At, By: e.By}
		m.count(e.Role, 1)
		if e.Invitation != "" {
			m.end(e.Invitation)
		}
	case MembershipUpdated:
		now := m.People[e.User]
		now.Role = e.Role
		m.People[e.User] = now
		m.count(e.Former, -1)
		m.count(e.Role, 1)
	case MembershipRemoved:
		delete(m.People, e.User)
		m.count(e.Role, -1)
	case RoleDefined:
		r := m.Roles[e.Role]
		r.Scopes, r.Custom = e.Scopes, true
		m.Roles[e.Role] = r
	case RoleRemoved:
		delete(m.Roles, e.Role)
	case InvitationCreated:
		m.Invitations[e.ID] = Invitation{ID: e.ID, Email: e.Email, Role: e.Role, ExpiresAt: e.ExpiresAt, Digest: e.Digest, CreatedAt: e.At, CreatedBy: e.By}
		m.Pending++
	case InvitationRevoked:
		m.end(e.ID)
	}
}

func (m *Members) init() {
	if m.People == nil {
		m.People = map[UserID]Member{}
	}
	if m.Roles == nil {
		m.Roles = map[string]Role{}
	}
	if m.Invitations == nil {
		m.Invitations = map[InvitationID]Invitation{}
	}
}

func (m *Members) end(id InvitationID) {
	delete(m.Invitations, id)
	m.Pending--
}

func (m *Members) count(role string, by int) {
	r := m.Roles[role]
	r.Members += by
	m.Roles[role] = r
}
