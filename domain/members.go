package domain

import (
	"cmp"
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
	Roles       map[string]Role             `json:"roles,omitempty"` // by name; those that are built in if members had them
	People      map[UserID]Member           `json:"-"`
	Invitations map[InvitationID]Invitation `json:"-"`
	Products    []*SessionPolicy            `json:"-"`                 // of the keyspaces that take sessions: what roles may do there
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
	Digest    Digest       `json:"digest,omitzero"` // of the token; zero: there is none yet
	Inviter   UserID       `json:"inviter_user_id,omitempty"`
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
	User   UserID        `json:"user_id"`
	Role   string        `json:"role"` // that it was
	Reason RemovalReason `json:"reason,omitempty"`
	Header
}

// A RemovalReason is why a membership ended.
type RemovalReason string

// The reasons.
const (
	MemberLeft      RemovalReason = "left"
	MemberRemoved   RemovalReason = "removed"
	RemovedWithUser RemovalReason = "user_removed"
	RemovedBySSO    RemovalReason = "sso" // the organization's provider names no group that has a role
)

// InvitationCreated invited an address. Inviter is the member who did; "": it was the installation, or
// a key of the organization.
type InvitationCreated struct {
	ID        InvitationID `json:"invitation_id"`
	Email     string       `json:"email"`
	Role      string       `json:"role"`
	Inviter   UserID       `json:"inviter_user_id,omitempty"`
	ExpiresAt time.Time    `json:"expires_at"`
	Digest    Digest       `json:"-"`
	Header
}

// Private is the digest of the token.
func (e InvitationCreated) Private() Private { return Private{Digest: e.Digest} }

// WithPrivate is the event with p for its private facts.
func (e InvitationCreated) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }

// InvitationTokenRotated gave an invitation a token, or another one in its place.
type InvitationTokenRotated struct {
	ID     InvitationID `json:"invitation_id"`
	Email  string       `json:"email"`
	Digest Digest       `json:"-"`
	Header
}

// Private is the digest of the token.
func (e InvitationTokenRotated) Private() Private { return Private{Digest: e.Digest} }

// WithPrivate is the event with p for its private facts.
func (e InvitationTokenRotated) WithPrivate(p Private) Event { e.Digest = p.Digest; return e }

// InvitationRevoked took an invitation back, or one that was of no use any more.
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

// MayManage refuses to change the user of a member who may do what the principal may not.
func (m *Members) MayManage(p Principal, user UserID) error {
	now, member := m.People[user]
	if !member {
		return nil
	}
	return m.mayHandle(p, now.Role)
}

// RemoveMember asks to end a membership.
type RemoveMember struct {
	Principalled
	User   UserID
	Reason RemovalReason // "": MemberRemoved, or MemberLeft
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
	by, reason := c.By, cmp.Or(c.Reason, MemberRemoved)
	if by.User == c.User {
		by, reason = System, MemberLeft // who leaves takes nothing from another
	}
	if err := m.mayLose(by, now.Role); err != nil {
		return nil, err
	}
	return MembershipRemoved{User: c.User, Role: now.Role, Reason: reason, Header: c.header()}, nil
}

// CreateInvitation asks to invite an address.
type CreateInvitation struct {
	Principalled
	ID        InvitationID
	Email     string
	Role      string
	ExpiresAt time.Time
	Digest    Digest // of the token; zero: none yet
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
	e := InvitationCreated{ID: c.ID, Email: c.Email, Role: c.Role, ExpiresAt: c.ExpiresAt, Digest: c.Digest, Header: c.header()}
	if c.By.Org == m.Org {
		e.Inviter = c.By.User
	}
	return e, nil
}

// RotateInvitationToken asks for a token of an invitation. The one before is good for nothing then.
type RotateInvitationToken struct {
	Principalled
	ID     InvitationID
	Digest Digest
}

// RotateToken decides whether the invitation may get another token. The holder of the token can be a new
// user with the invited address. So it is for the product alone, which sends it there: an organization
// that had it could make itself users with addresses of others.
func (m Members) RotateToken(c RotateInvitationToken) (Event, error) {
	if c.By.Org != Installation {
		return nil, ErrOutOfReach
	}
	i, pending := m.Invitations[c.ID]
	if !pending || !c.At.Before(i.ExpiresAt) {
		return nil, ErrInvitationNotFound
	}
	return InvitationTokenRotated{ID: c.ID, Email: i.Email, Digest: c.Digest, Header: c.header()}, nil
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

// Accept decides whether the invitation is the user's, and still good. An address is a user's own unless
// an organization's directory said so: it counts in that organization then.
func (m Members) Accept(c AcceptInvitation) (Event, error) {
	i, pending := m.Invitations[c.ID]
	switch {
	case !pending || i.Digest == Digest{} || i.Digest != c.Digest || !c.At.Before(i.ExpiresAt):
		return nil, ErrInvitationNotFound
	case c.User.Email != i.Email || c.User.Directory != "" && c.User.Directory != m.Org:
		return nil, ErrInvitedAnother
	case c.User.Status() != ActiveUser:
		return nil, ErrUserRemoved
	}
	header := Header{c.At, string(c.User.ID)}
	if _, member := m.People[c.User.ID]; member {
		return InvitationRevoked{ID: c.ID, Header: header}, nil
	}
	if err := m.stillInvites(i); err != nil {
		return nil, err
	}
	return MembershipCreated{User: c.User.ID, Role: i.Role, Invitation: c.ID, Header: header}, nil
}

// stillInvites refuses an invitation whose role is no more, and that of a member who is none any more,
// or could not give the role now: who leaves, leaves no way back in.
func (m *Members) stillInvites(i Invitation) error {
	role, err := m.scopes(i.Role)
	if err != nil || i.Inviter == "" {
		return err
	}
	inviter, member := m.People[i.Inviter]
	held, err := m.scopes(inviter.Role)
	if !member || err != nil || !coversAll(held, role) {
		return ErrInvitationNotFound
	}
	return nil
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
		m.Invitations[e.ID] = Invitation{ID: e.ID, Email: e.Email, Role: e.Role, ExpiresAt: e.ExpiresAt, Digest: e.Digest, Inviter: e.Inviter, CreatedAt: e.At, CreatedBy: e.By}
		m.Pending++
	case InvitationTokenRotated:
		if i, known := m.Invitations[e.ID]; known {
			i.Digest = e.Digest
			m.Invitations[e.ID] = i
		}
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
