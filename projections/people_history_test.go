package projections_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A crowd is what a history has made of people, as their aggregates have it, and all that happened.
type crowd struct {
	users    []domain.UserID
	user     map[domain.UserID]*domain.User
	members  map[domain.OrgID]*domain.Members
	sessions map[eventstore.Ref]*domain.Sessions
	last     map[eventstore.Ref]eventstore.Position
	happened []eventstore.Record // position, organization, subject and event
	at       time.Time
}

func newCrowd() *crowd {
	return &crowd{user: map[domain.UserID]*domain.User{}, members: map[domain.OrgID]*domain.Members{}, sessions: map[eventstore.Ref]*domain.Sessions{}, last: map[eventstore.Ref]eventstore.Position{}, at: noon}
}

// happens writes an event of people.
func (h *history) happens(ref eventstore.Ref, e domain.Event) {
	c := h.crowd
	c.last[ref] = h.write(ref, c.last[ref], e)
	c.happened = append(c.happened, eventstore.Record{Position: c.last[ref], Org: ref.Org, Subject: ref.ID, Event: e})
	switch ref.Kind {
	case "user":
		c.user[domain.UserID(ref.ID)].Apply(e)
	case "members":
		c.members[ref.Org].Apply(e)
	case "sessions":
		c.sessions[ref].Apply(e)
	}
}

// changePeople writes an event about people, or some that go together: of few people in few
// organizations, so that they meet.
func (h *history) changePeople() {
	if h.rand.IntN(8) == 0 { // much happens at one moment
		h.crowd.at = h.now()
	}
	at := domain.Header{At: h.crowd.at, By: "system"}
	if len(h.crowd.users) < 5 || h.rand.IntN(50) == 0 {
		h.createUser(at)
		return
	}
	switch h.rand.IntN(9) {
	case 0, 1, 2:
		h.changeUser(at)
	case 3:
		h.changeMember(at)
	case 4:
		h.changeRole(at)
	case 5:
		h.changeInvitation(at)
	default:
		h.changeSession(at)
	}
	if h.rand.IntN(10) == 0 {
		h.logIn(at)
	}
}

func pick[T any](h *history, all []T) T { return all[h.rand.IntN(len(all))] }

func (h *history) createUser(at domain.Header) {
	n := len(h.crowd.users)
	id, email := domain.NewUserID(fmt.Sprint(n)), fmt.Sprintf("user%d@example.com", n)
	h.crowd.user[id] = new(domain.User)
	h.happens(eventstore.AddressRef(email), domain.AddressClaimed{Email: email, User: id, Header: at})
	h.happens(eventstore.UserRef(id), domain.UserCreated{ID: id, Email: email, Name: fmt.Sprint("é\"<>", n), Password: "$argon2id$", Header: at})
	h.crowd.users = append(h.crowd.users, id)
}

// changeUser writes any event of a user who is not removed.
func (h *history) changeUser(at domain.Header) {
	id := pick(h, h.crowd.users)
	u, ref := h.crowd.user[id], eventstore.UserRef(id)
	if u.Status() == domain.RemovedUser {
		return
	}
	identity := domain.Identity{Org: h.orgs[0], Issuer: "https://id.example.com", Subject: fmt.Sprint(h.rand.IntN(3))}
	switch h.rand.IntN(12) {
	case 0:
		name, attributes := fmt.Sprint("n", h.rand.IntN(9)), h.someAttributes()
		h.happens(ref, domain.UserUpdated{Name: &name, Attributes: &attributes, Header: at})
	case 1:
		before, email := u.Email, fmt.Sprintf("user%d@example.com", h.rand.IntN(1000)+1000)
		h.happens(eventstore.AddressRef(email), domain.AddressClaimed{Email: email, User: id, Header: at})
		h.happens(ref, domain.UserUpdated{Email: &email, Header: at})
		h.happens(eventstore.AddressRef(before), domain.AddressReleased{Email: before, User: id, Header: at})
	case 2, 3:
		if u.Status() == domain.DisabledUser {
			h.happens(ref, domain.UserEnabled{Header: at})
		} else {
			h.happens(ref, domain.UserDisabled{Header: at})
		}
	case 4:
		if h.rand.IntN(3) == 0 {
			h.happens(ref, domain.UserRemoved{Email: u.Email, Header: at})
			h.happens(eventstore.AddressRef(u.Email), domain.AddressReleased{Email: u.Email, User: id, Header: at})
		}
	case 5, 6:
		h.happens(ref, domain.PasswordChanged{Kept: h.someSession(id), IP: "192.0.2.1", Password: "$argon2id$2", Header: at})
	case 7:
		h.happens(ref, domain.PasswordResetRequested{Digest: domain.NewSecret(fmt.Sprint(at.At)).Digest(), ExpiresAt: at.At.Add(time.Hour), Header: at})
	case 8, 9:
		h.happens(ref, domain.SessionsRevoked{Kept: h.someSession(id), Header: at})
	case 10:
		h.happens(ref, domain.IdentityLinked{Identity: identity, Header: at})
	case 11:
		h.happens(ref, domain.IdentityUnlinked{Identity: identity, Header: at})
	}
}

// someSession is a session that a user has or had, or none.
func (h *history) someSession(id domain.UserID) domain.SessionID {
	if begun := h.crowd.begun(id); len(begun) > 0 && h.rand.IntN(2) == 0 {
		return pick(h, begun).Event.(domain.SessionCreated).ID
	}
	return ""
}

// begun are the beginnings of a user's sessions.
func (c *crowd) begun(id domain.UserID) (all []eventstore.Record) {
	for _, r := range c.happened {
		if e, ok := r.Event.(domain.SessionCreated); ok && e.User == id {
			all = append(all, r)
		}
	}
	return all
}

// team are the members of one of few organizations.
func (h *history) team() (domain.OrgID, *domain.Members, eventstore.Ref) {
	org := pick(h, h.orgs[:2])
	if h.crowd.members[org] == nil {
		h.crowd.members[org] = &domain.Members{Org: org}
	}
	return org, h.crowd.members[org], eventstore.MembersRef(org)
}

func (h *history) changeMember(at domain.Header) {
	_, m, ref := h.team()
	id := pick(h, h.crowd.users)
	role := pick(h, append(slices.Sorted(maps.Keys(m.Roles)), domain.BuiltInRoles()...))
	switch now, member := m.People[id]; {
	case !member:
		e := domain.MembershipCreated{User: id, Role: role, Header: at}
		if h.rand.IntN(2) == 0 {
			e.Directory = fmt.Sprint(h.rand.IntN(3)) // that another one may have
		}
		h.happens(ref, e)
	case h.rand.IntN(2) == 0:
		h.happens(ref, domain.MembershipUpdated{User: id, Role: role, Former: now.Role, Header: at})
	default:
		h.happens(ref, domain.MembershipRemoved{User: id, Role: now.Role, Reason: domain.MemberRemoved, Header: at})
	}
}

func (h *history) changeRole(at domain.Header) {
	_, m, ref := h.team()
	name := fmt.Sprint("role", h.rand.IntN(3))
	if r := m.Roles[name]; r.Custom && r.Members == 0 && h.rand.IntN(2) == 0 {
		h.happens(ref, domain.RoleRemoved{Role: name, Header: at})
		return
	}
	h.happens(ref, domain.RoleDefined{Role: name, Scopes: []string{fmt.Sprintf("r%d:read", h.rand.IntN(9)), "keys:read"}, New: !m.Roles[name].Custom, Header: at})
}

func (h *history) changeInvitation(at domain.Header) {
	org, m, ref := h.team()
	if len(m.Invitations) == 0 || h.rand.IntN(3) == 0 {
		h.happens(ref, domain.InvitationCreated{ID: domain.NewInvitationID(org, fmt.Sprint(len(h.crowd.happened))), Email: "new@example.com", Role: "member", ExpiresAt: at.At.Add(time.Hour), Header: at})
		return
	}
	i, user := slices.Min(slices.Collect(maps.Keys(m.Invitations))), pick(h, h.crowd.users)
	_, member := m.People[user]
	switch n := h.rand.IntN(3); {
	case n == 0:
		h.happens(ref, domain.InvitationTokenRotated{ID: i, Email: "new@example.com", Digest: domain.NewSecret(string(i)).Digest(), Header: at})
	case n == 1 && !member:
		h.happens(ref, domain.MembershipCreated{User: user, Role: "member", Invitation: i, Header: at})
	default:
		h.happens(ref, domain.InvitationRevoked{ID: i, Header: at})
	}
}

// changeSession begins a session of somebody, which may take the place of others, or ends one.
func (h *history) changeSession(at domain.Header) {
	id := pick(h, h.crowd.users)
	org, m, _ := h.team()
	if _, member := m.People[id]; !member {
		org = ""
	}
	ref := eventstore.SessionsRef(org, id)
	if h.crowd.sessions[ref] == nil {
		h.crowd.sessions[ref] = new(domain.Sessions)
	}
	live := h.crowd.sessions[ref].Live
	if len(live) > 0 && h.rand.IntN(4) == 0 {
		h.happens(ref, domain.SessionEnded{ID: pick(h, live).ID, User: id, Reason: domain.SignedOut, Header: at})
		return
	}
	e := domain.SessionCreated{ID: domain.NewSessionID(fmt.Sprint(len(h.crowd.happened))), User: id, Org: org, Method: domain.ByPassword, IP: fmt.Sprintf("192.0.2.%d", h.rand.IntN(30)), UserAgent: "<é>",
		ExpiresAt: at.At.Add(time.Duration(h.rand.IntN(100)) * time.Second), Header: at}
	if len(live) > 3 {
		e.Replaced = []domain.SessionID{live[0].ID}
	}
	h.happens(ref, e)
}

// logIn writes that log-ins failed, or that the keys of sessions are others.
func (h *history) logIn(at domain.Header) {
	if h.rand.IntN(4) == 0 {
		ref := eventstore.SessionKeysRef()
		h.happens(ref, domain.SessionKeysRotated{Generation: int(h.crowd.last[ref]) + 1, OldUntil: at.At, Header: at})
		return
	}
	id := pick(h, h.crowd.users)
	h.happens(eventstore.LogInsRef(id), domain.LogInRefused{User: id, Count: 5, First: at.At, Header: at, Addresses: []domain.AddressFailures{
		{IP: fmt.Sprintf("192.0.2.%d", h.rand.IntN(30)), Count: 2}, {IP: fmt.Sprintf("192.0.2.%d", h.rand.IntN(30)), Known: true, Count: 1}}})
}

// standing is what has become of a session, in the plainest way: by all that came after it began.
// found is false if it ended by an event of its own.
func (c *crowd) standing(begun eventstore.Record) (state domain.State, found bool) {
	s := begun.Event.(domain.SessionCreated)
	ended := false
	for _, r := range c.happened {
		if r.Position <= begun.Position {
			continue
		}
		ofUser := r.Subject == string(s.User)
		switch e := r.Event.(type) {
		case domain.SessionEnded:
			if e.ID == s.ID {
				return domain.Absent, false
			}
		case domain.SessionCreated: // which drops the others that are over
			if slices.Contains(e.Replaced, s.ID) || e.User == s.User && e.Org == s.Org && !e.At.Before(s.ExpiresAt) {
				return domain.Absent, false
			}
		case domain.PasswordChanged:
			ended = ended || ofUser && e.Kept != s.ID
		case domain.SessionsRevoked:
			ended = ended || ofUser && e.Kept != s.ID
		case domain.UserDisabled:
			ended = ended || ofUser
		case domain.UserRemoved:
			ended = ended || ofUser
		case domain.MembershipRemoved:
			ended = ended || e.User == s.User && r.Org == s.Org
		}
	}
	switch c.user[s.User].Status() {
	case domain.RemovedUser:
		return domain.Revoked, true
	case domain.DisabledUser:
		return domain.Disabled, true
	}
	if ended {
		return domain.Revoked, true
	}
	return domain.Active, true
}

// checkPeople compares what the read model says of users, members and sessions.
func (h *history) checkPeople(s *projections.Store) {
	h.t.Helper()
	c := h.crowd
	for _, id := range c.users {
		h.checkUser(s, id)
		for _, begun := range c.begun(id) {
			h.checkSession(s, begun)
		}
	}
	for org, want := range c.members {
		h.checkMembers(s, org, want)
	}
}

func (h *history) checkUser(s *projections.Store, id domain.UserID) {
	h.t.Helper()
	want := *h.crowd.user[id]
	got, err := s.User(id)
	revision := got.Revision
	want.Ended, got.Ended = domain.SessionsEnd{}, domain.SessionsEnd{} // which sessions tell
	if err != nil || !sameJSON(got.User, want) || revision != h.crowd.last[eventstore.UserRef(id)] {
		h.t.Errorf("%s is %+v at %d, %v; want %+v", id, got.User, revision, err, want)
	}
	found, err := s.UserByEmail(want.Email)
	if removed := want.Status() == domain.RemovedUser; removed != errors.Is(err, domain.ErrUserNotFound) || !removed && found.ID != id {
		h.t.Errorf("%s is found by %s: %+v, %v", id, want.Email, found, err)
	}
}

func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, failed := json.Marshal(b)
	return errors.Join(err, failed) == nil && string(x) == string(y)
}

func (h *history) checkSession(s *projections.Store, begun eventstore.Record) {
	h.t.Helper()
	session := begun.Event.(domain.SessionCreated)
	want, wanted := h.crowd.standing(begun)
	var c projections.Credential
	found, err := s.SessionCredential(session.ID, &c)
	if err != nil || found != wanted || found && c.State != want {
		h.t.Errorf("%s, which began at %d, is found: %t, %s, %v; want %t, %s", session.ID, begun.Position, found, c.State, err, wanted, want)
	}
	if want == domain.Active && session.Org != "" {
		m := h.crowd.members[session.Org]
		role := m.People[session.User].Role
		scopes, builtIn := domain.BuiltInRole(role)
		if !builtIn {
			scopes = m.Roles[role].Scopes
		}
		if c.Role != role || !slices.Equal(c.Scopes, scopes) {
			h.t.Errorf("%s has %s, %v; want %s, %v", session.ID, c.Role, c.Scopes, role, scopes)
		}
	}
}

func (h *history) checkMembers(s *projections.Store, org domain.OrgID, want *domain.Members) {
	h.t.Helper()
	m, revision, err := s.MembersOf(org, h.crowd.users, "")
	if err != nil || !sameJSON(m, want) || len(m.People)+len(want.People) > 0 && !reflect.DeepEqual(m.People, want.People) || revision != h.crowd.last[eventstore.MembersRef(org)] {
		h.t.Errorf("the members of %s are %+v at %d, %v; want %+v", org, m, revision, err, want)
	}
	pending, err := s.Invitations(org)
	if err != nil || len(pending) != len(want.Invitations) {
		h.t.Errorf("%d invitations, %v; want %d", len(pending), err, len(want.Invitations))
	}
	for _, i := range pending {
		if !reflect.DeepEqual(i, want.Invitations[i.ID]) {
			h.t.Errorf("an invitation is %+v; want %+v", i, want.Invitations[i.ID])
		}
	}
}

// What a session may do is what all that happened since it began left of it, in the caches as well.
func TestPeopleAreWhatHappenedToThem(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	s, _ := run(t, t.TempDir(), l)
	for range 100 {
		for range 10 {
			h.changePeople()
		}
		catchUp(t, s, l)
		h.checkPeople(s)
	}
}
