package projections_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// A town is a ledger on which people come and go, and the read model of it.
type town struct {
	*testing.T
	ledger *eventstore.Ledger
	store  *projections.Store
	last   map[eventstore.Ref]eventstore.Position
}

func newTown(t *testing.T) *town {
	l := eventstoretest.New(t)
	s, _ := run(t, t.TempDir(), l)
	return &town{t, l, s, map[eventstore.Ref]eventstore.Position{}}
}

// happens writes an event and waits until the read model has it.
func (o *town) happens(ref eventstore.Ref, e domain.Event) {
	o.Helper()
	p, err := o.ledger.Append(o.Context(), ref, o.last[ref], eventstore.Command{}, e)
	if err == nil {
		o.last[ref] = p
		err = o.store.WaitFor(o.Context(), p)
	}
	if err != nil {
		o.Fatal(err)
	}
}

// credential is what a session may do; Absent if there is no such session.
func (o *town) credential(id domain.SessionID) (c projections.Credential) {
	o.Helper()
	found, err := o.store.SessionCredential(id, &c)
	if err != nil {
		o.Fatal(err)
	}
	if !found {
		c.State = domain.Absent
	}
	return c
}

var (
	ada   = domain.NewUserID("ada")
	acme  = domain.NewOrgID("acme")
	at    = domain.Header{At: noon, By: "system"}
	first = domain.NewSessionID("first")
)

// settle makes Ada a member of acme who has a session there.
func (o *town) settle(role string) {
	o.happens(eventstore.UserRef(ada), domain.UserCreated{ID: ada, Email: "ada@example.com", Name: "Ada", Password: "$argon2id$", Header: at})
	o.happens(eventstore.AddressRef("ada@example.com"), domain.AddressClaimed{Email: "ada@example.com", User: ada, Header: at})
	o.happens(eventstore.MembersRef(acme), domain.RoleDefined{Role: "auditor", Scopes: []string{"audit:read"}, Header: at})
	o.happens(eventstore.MembersRef(acme), domain.MembershipCreated{User: ada, Role: role, Header: at})
	o.begins(acme, first)
}

func (o *town) begins(org domain.OrgID, id domain.SessionID) {
	o.happens(eventstore.SessionsRef(org, ada), domain.SessionCreated{ID: id, User: ada, Org: org, Method: domain.ByPassword, ExpiresAt: noon.Add(domain.SessionTTL), Header: at})
}

// What a session may do follows from the user, the membership and the role as they are, at once.
func TestASessionIsAsItsUserIs(t *testing.T) {
	kept := domain.NewSessionID("kept")
	member := eventstore.MembersRef(acme)
	for name, c := range map[string]struct {
		happens func(*town)
		state   domain.State
		scopes  []string
	}{
		"nothing": {func(*town) {}, domain.Active, []string{"audit:read"}},
		"signed out": {func(o *town) {
			o.happens(eventstore.SessionsRef(acme, ada), domain.SessionEnded{ID: first, User: ada, Reason: domain.SignedOut, Header: at})
		}, domain.Absent, nil},
		"password changed":  {func(o *town) { o.happens(eventstore.UserRef(ada), domain.PasswordChanged{Kept: kept, Header: at}) }, domain.Revoked, nil},
		"and this one kept": {func(o *town) { o.happens(eventstore.UserRef(ada), domain.PasswordChanged{Kept: first, Header: at}) }, domain.Active, []string{"audit:read"}},
		"all revoked":       {func(o *town) { o.happens(eventstore.UserRef(ada), domain.SessionsRevoked{Header: at}) }, domain.Revoked, nil},
		"user disabled":     {func(o *town) { o.happens(eventstore.UserRef(ada), domain.UserDisabled{Header: at}) }, domain.Disabled, nil},
		"and enabled": {func(o *town) {
			o.happens(eventstore.UserRef(ada), domain.UserDisabled{Header: at})
			o.happens(eventstore.UserRef(ada), domain.UserEnabled{Header: at})
		}, domain.Revoked, nil},
		"user removed": {func(o *town) { o.happens(eventstore.UserRef(ada), domain.UserRemoved{Header: at}) }, domain.Revoked, nil},
		"user renamed": {func(o *town) { o.happens(eventstore.UserRef(ada), domain.UserUpdated{Name: new("A."), Header: at}) }, domain.Active, []string{"audit:read"}},
		"another role": {func(o *town) {
			o.happens(member, domain.MembershipUpdated{User: ada, Role: domain.RoleOwner, Former: "auditor", Header: at})
		}, domain.Active, []string{"*"}},
		"role redefined": {func(o *town) {
			o.happens(member, domain.RoleDefined{Role: "auditor", Scopes: []string{"keys:read"}, Header: at})
		}, domain.Active, []string{"keys:read"}},
		"membership removed": {func(o *town) { o.happens(member, domain.MembershipRemoved{User: ada, Role: "auditor", Header: at}) }, domain.Revoked, nil},
		"and created again": {func(o *town) {
			o.happens(member, domain.MembershipRemoved{User: ada, Role: "auditor", Header: at})
			o.happens(member, domain.MembershipCreated{User: ada, Role: "auditor", Header: at})
		}, domain.Revoked, nil},
		"replaced by another": {func(o *town) {
			o.happens(eventstore.SessionsRef(acme, ada), domain.SessionCreated{ID: kept, User: ada, Org: acme, ExpiresAt: noon.Add(time.Hour), Replaced: []domain.SessionID{first}, Header: at})
		}, domain.Absent, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := newTown(t)
			o.settle("auditor")
			before := o.credential(first) // which is cached
			if before.State != domain.Active || before.Org != acme || before.Owner != string(ada) || before.Name != "ada@example.com" || before.Role != "auditor" {
				t.Fatalf("before: %+v", before)
			}
			c.happens(o)
			now := o.credential(first)
			if now.State != c.state || now.State == domain.Active && !slices.Equal(now.Scopes, c.scopes) {
				t.Errorf("%s, %v", now.State, now.Scopes)
			}
			unchanged, err := o.store.UnchangedSession(&before)
			if want := name == "nothing"; unchanged != want && !(name == "and this one kept") || err != nil {
				t.Errorf("unchanged: %t, %v", unchanged, err)
			}
		})
	}
}

// A session without an organization may do nothing, and is good.
func TestASessionWithoutAnOrganization(t *testing.T) {
	o := newTown(t)
	o.settle(domain.RoleOwner)
	o.begins("", domain.NewSessionID("none"))
	if c := o.credential(domain.NewSessionID("none")); c.State != domain.Active || c.Org != "" || len(c.Scopes) != 0 {
		t.Errorf("%+v", c)
	}
	all, err := o.store.Sessions(ada)
	if err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

// What an owner of keys is decides about the keys, if the owner is a user.
func TestWhoDeparted(t *testing.T) {
	o := newTown(t)
	state := func(want domain.State, owner string) {
		t.Helper()
		if got, err := o.store.Departed(acme, owner); got != want || err != nil {
			t.Errorf("%s is %s, %v", owner, got, err)
		}
	}
	state(domain.Active, string(ada))
	o.settle("auditor")
	state(domain.Active, string(ada))
	o.happens(eventstore.MembersRef(acme), domain.MembershipRemoved{User: ada, Role: "auditor", Header: at})
	state(domain.Revoked, string(ada))
	state(domain.Active, "a free text")
	if got, err := o.store.Departed(domain.NewOrgID("globex"), string(ada)); got != domain.Active || err != nil {
		t.Errorf("elsewhere %s, %v", got, err)
	}
	o.happens(eventstore.MembersRef(acme), domain.MembershipCreated{User: ada, Role: "auditor", Header: at})
	state(domain.Active, string(ada))
	o.happens(eventstore.UserRef(ada), domain.UserDisabled{Header: at})
	state(domain.Disabled, string(ada))
}

// People are found by what names them, and members counted by role.
func TestPeopleAreFound(t *testing.T) {
	o := newTown(t)
	o.settle("auditor")
	identity := domain.Identity{Org: acme, Issuer: "https://id.example.com", Subject: "1"}
	o.happens(eventstore.UserRef(ada), domain.IdentityLinked{Identity: identity, Header: at})
	for name, find := range map[string]func() (projections.UserRow, error){
		"id":       func() (projections.UserRow, error) { return o.store.User(ada) },
		"address":  func() (projections.UserRow, error) { return o.store.UserByEmail("ada@example.com") },
		"identity": func() (projections.UserRow, error) { return o.store.UserByIdentity(identity) },
	} {
		if u, err := find(); err != nil || u.ID != ada {
			t.Errorf("by %s: %+v, %v", name, u, err)
		}
	}
	o.happens(eventstore.AddressRef("ada@example.com"), domain.AddressReleased{Email: "ada@example.com", User: ada, Header: at})
	if _, err := o.store.UserByEmail("ada@example.com"); !errors.Is(err, domain.ErrUserNotFound) {
		t.Errorf("a released address: %v", err)
	}
	invitation := domain.NewInvitationID(acme, "i")
	o.happens(eventstore.MembersRef(acme), domain.InvitationCreated{ID: invitation, Email: "bob@example.com", Role: "member", ExpiresAt: noon, Header: at})
	m, revision, err := o.store.MembersOf(acme, []domain.UserID{ada}, invitation)
	if err != nil || revision != o.last[eventstore.MembersRef(acme)] || m.Org != acme || m.Roles["auditor"].Members != 1 || m.People[ada].Role != "auditor" || m.Pending != 1 || m.Invitations[invitation].Email != "bob@example.com" {
		t.Errorf("%+v at %d, %v", m, revision, err)
	}
	bob := domain.NewUserID("bob")
	o.happens(eventstore.MembersRef(acme), domain.MembershipCreated{User: bob, Role: "member", Invitation: invitation, Header: at})
	if left, err := o.store.Invitations(acme); len(left) != 0 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
	page, next, err := o.store.Members(acme, "", 1)
	if len(page) != 1 || next == "" || err != nil {
		t.Fatalf("%v, %q, %v", page, next, err)
	}
	rest, next, err := o.store.Members(acme, next, 10)
	if len(rest) != 1 || next != "" || err != nil || rest[0].Role == page[0].Role {
		t.Errorf("%v, %q, %v", rest, next, err)
	}
}
