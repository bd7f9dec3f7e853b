package commands

import (
	"context"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A PeopleIndex gives the state of aggregates whose histories grow with every member and every
// log-in, so that a command loads only what came since. The read model is one. Its answer may be
// stale: that costs the command that goes by it a conflict.
type PeopleIndex interface {
	// MembersOf are an organization's members with those users and that invitation alone.
	MembersOf(domain.OrgID, []domain.UserID, domain.InvitationID) (domain.Members, eventstore.Position, error)
	// SessionsOf are the sessions of a user in an organization.
	SessionsOf(domain.OrgID, domain.UserID) (domain.Sessions, eventstore.Position, error)
	// OrganizationsOf are those that a user is a member of.
	OrganizationsOf(domain.UserID) ([]domain.OrgID, error)
	// UserNow is a user by their id.
	UserNow(domain.UserID) (u domain.User, found bool, err error)
	// Identified is the user who logs in by an identity.
	Identified(domain.Identity) (u domain.User, found bool, err error)
}

// MembersResult are an organization's members, as far as a command was about them. Position is
// their revision.
type MembersResult struct {
	Members  domain.Members
	Position eventstore.Position
	Replayed bool
	Changed  bool
	Created  bool // the command made what it is about, in this call
}

// concerned are the people whom a command on members is about.
type concerned struct {
	users      []domain.UserID
	invitation domain.InvitationID
}

// onMembers carries out a command on an organization's members.
func (h *Handler) onMembers(ctx context.Context, org domain.OrgID, r Request, about concerned, decide func(domain.Members) (domain.Event, error)) (MembersResult, error) {
	known, err := h.knownMembers(org, r, about)
	if err != nil {
		return MembersResult{}, err
	}
	var event domain.Event
	o, err := executeOnce(ctx, h, eventstore.MembersRef(org), r, known, func(m domain.Members) (_ domain.Event, err error) {
		m.Org, m.Products = org, h.keyspaces.Keyspaces().SessionPolicies()
		event, err = decide(m)
		return event, err
	})
	return MembersResult{o.state, o.position, o.replayed, o.changed, isNew(event)}, err
}

// isNew reports whether an event begins something of an organization's members. Of a role that is said
// by the decision, which knows whether there was one.
func isNew(e domain.Event) bool {
	switch e := e.(type) {
	case domain.MembershipCreated:
		return true
	case domain.RoleDefined:
		return e.New
	}
	return false
}

// knownMembers are the members as the index has them, unless it knows the request, too: one that was
// carried out is to be found in the whole history. The index of requests is asked second: it has all
// that the first answer stands for.
func (h *Handler) knownMembers(org domain.OrgID, r Request, about concerned) (*assumption[domain.Members], error) {
	if h.people == nil {
		return nil, nil
	}
	m, at, err := h.people.MembersOf(org, about.users, about.invitation)
	if err != nil {
		return nil, err
	}
	if r.Fingerprint != "" && h.requests.index != nil {
		if _, repeated, err := h.requests.index.Request(r.CommandID); repeated || err != nil {
			return nil, err
		}
	}
	return &assumption[domain.Members]{state: m, position: at, base: true}, nil
}

// members are an organization's members as the ledger has them.
func (h *Handler) members(ctx context.Context, org domain.OrgID, about concerned) (m domain.Members, err error) {
	known, err := h.knownMembers(org, Request{}, about)
	if err != nil {
		return m, err
	}
	var from eventstore.Position
	if known != nil {
		m, from = known.state, known.position
	}
	_, err = h.ledger.Load(ctx, eventstore.MembersRef(org), from, func(r eventstore.Record) { m.Apply(r.Event) })
	m.Org, m.Products = org, h.keyspaces.Keyspaces().SessionPolicies()
	return m, err
}

// maxMemberships is how many organizations a user is a member of at most, about: removing the user
// ends each.
const maxMemberships = 1000

// mayJoin refuses a user with too many memberships.
func (h *Handler) mayJoin(user domain.UserID) error {
	if h.people == nil {
		return nil
	}
	orgs, err := h.people.OrganizationsOf(user)
	if err == nil && len(orgs) >= maxMemberships {
		err = domain.ErrTooManyMemberships
	}
	return err
}

// onSessions carries out a command on the sessions of a user in an organization.
func (h *Handler) onSessions(ctx context.Context, org domain.OrgID, user domain.UserID, r Request, decide func(domain.Sessions) (domain.Event, error)) (result[domain.Sessions], error) {
	var known *assumption[domain.Sessions]
	if h.people != nil {
		s, at, err := h.people.SessionsOf(org, user)
		if err != nil {
			return result[domain.Sessions]{}, err
		}
		known = &assumption[domain.Sessions]{state: s, position: at, base: true}
	}
	return execute(ctx, h, eventstore.SessionsRef(org, user), r, known, decide)
}
