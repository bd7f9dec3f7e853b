package domain

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	town                  = NewOrgID("town")
	ada, bob, eve         = NewUserID("ada"), NewUserID("bob"), NewUserID("eve")
	today                 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	first, second         = NewInvitationID(town, "first"), NewInvitationID(town, "second")
	townHall              = Principal{ID: "townHall", Org: Installation, Scopes: []string{"*"}}
	townMayor             = Principal{ID: string(ada), Org: town, User: ada, Scopes: []string{"*"}}
	townClerk             = Principal{ID: string(bob), Org: town, User: bob, Scopes: builtInRoles[RoleAdmin]}
	townsman              = Principal{ID: string(eve), Org: town, User: eve, Scopes: builtInRoles[RoleMember]}
	stranger              = Principal{ID: "stranger", Org: NewOrgID("other"), Scopes: []string{"*"}}
	adaOwns, bobManages   = MembershipCreated{User: ada, Role: RoleOwner}, MembershipCreated{User: bob, Role: RoleAdmin}
	eveIsIn               = MembershipCreated{User: eve, Role: RoleMember}
	auditors, reporters   = RoleDefined{Role: "auditor", Scopes: []string{"audit:read"}}, RoleDefined{Role: "reporter", Scopes: []string{"reports:read"}}
	invited, byBob        = InvitationCreated{ID: first, Email: "eve@example.com", Role: RoleMember, ExpiresAt: today.Add(time.Hour), Digest: Digest{1}}, InvitationCreated{ID: second, Email: "eve@example.com", Role: RoleAdmin, Inviter: bob, ExpiresAt: today.Add(time.Hour), Digest: Digest{1}}
	eveHerself, invitedTo = User{ID: eve, Email: "eve@example.com"}, []Event{adaOwns, bobManages, invited, byBob}
)

func header(p Principal) Header { return Header{At: today, By: p.ID} }

func membersOf(history ...Event) Members {
	m := Members{Org: town}
	for _, e := range history {
		m.Apply(e)
	}
	return m
}

func TestMembers(t *testing.T) {
	set := func(by Principal, u UserID, role string) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.Set(SetMember{Principalled: Principalled{today, by}, User: u, Role: role})
		}
	}
	remove := func(by Principal, u UserID) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.Remove(RemoveMember{Principalled: Principalled{today, by}, User: u})
		}
	}
	define := func(by Principal, role string, scopes ...string) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.DefineRole(DefineRole{Principalled: Principalled{today, by}, Role: role, Scopes: scopes})
		}
	}
	drop := func(by Principal, role string) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.RemoveRole(RemoveRole{Principalled: Principalled{today, by}, Role: role})
		}
	}
	invite := func(by Principal, role string) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.Invite(CreateInvitation{Principalled: Principalled{today, by}, ID: first, Email: "eve@example.com", Role: role, ExpiresAt: today.Add(time.Hour)})
		}
	}
	rotate := func(by Principal, at time.Time) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.RotateToken(RotateInvitationToken{Principalled: Principalled{at, by}, ID: first, Digest: Digest{2}})
		}
	}
	accept := func(id InvitationID, u User, d Digest, at time.Time) func(Members) (Event, error) {
		return func(m Members) (Event, error) {
			return m.Accept(AcceptInvitation{At: at, ID: id, Digest: d, User: u})
		}
	}
	three := []Event{adaOwns, bobManages, eveIsIn, auditors, reporters}
	with := func(more ...Event) []Event { return append(slices.Clone(three), more...) }
	crowd := slices.Clone(three)
	for i := range maxInvitations {
		crowd = append(crowd, InvitationCreated{ID: NewInvitationID(town, fmt.Sprint(i))})
	}
	named := slices.Clone(three)
	for i := range maxRoles - 2 {
		named = append(named, RoleDefined{Role: fmt.Sprint("r", i)})
	}
	for name, c := range map[string]struct {
		given []Event
		when  func(Members) (Event, error)
		then  Event
		err   error
	}{
		"the installation adds a first owner":      {nil, set(townHall, ada, RoleOwner), MembershipCreated{User: ada, Role: RoleOwner, Header: header(townHall)}, nil},
		"an owner adds no strangers":               {[]Event{adaOwns}, set(townMayor, eve, RoleMember), nil, ErrUserNotFound},
		"another organization's owner":             {three, set(stranger, eve, RoleOwner), nil, ErrOrganizationNotFound},
		"an owner makes an admin an owner":         {three, set(townMayor, bob, RoleOwner), MembershipUpdated{User: bob, Role: RoleOwner, Former: RoleAdmin, Header: header(townMayor)}, nil},
		"the same role is no news":                 {three, set(townMayor, bob, RoleAdmin), nil, nil},
		"an admin makes himself an owner":          {three, set(townClerk, bob, RoleOwner), nil, ErrRoleEscalation},
		"an admin demotes an owner":                {three, set(townClerk, ada, RoleMember), nil, ErrRoleEscalation},
		"an admin gives a role that he can":        {three, set(townClerk, eve, "auditor"), MembershipUpdated{User: eve, Role: "auditor", Former: RoleMember, Header: header(townClerk)}, nil},
		"an admin gives a role with more":          {three, set(townClerk, eve, "reporter"), nil, ErrRoleEscalation},
		"a role that is not there":                 {three, set(townMayor, eve, "king"), nil, ErrRoleNotFound},
		"the last owner steps down":                {three, set(townMayor, ada, RoleMember), nil, ErrLastOwner},
		"the installation demotes the last owner":  {three, set(townHall, ada, RoleMember), nil, ErrLastOwner},
		"one of two owners steps down":             {with(MembershipUpdated{User: bob, Role: RoleOwner, Former: RoleAdmin}), set(townMayor, ada, RoleMember), MembershipUpdated{User: ada, Role: RoleMember, Former: RoleOwner, Header: header(townMayor)}, nil},
		"a member leaves":                          {three, remove(townsman, eve), MembershipRemoved{User: eve, Role: RoleMember, Reason: MemberLeft, Header: header(townsman)}, nil},
		"an admin removes a member":                {three, remove(townClerk, eve), MembershipRemoved{User: eve, Role: RoleMember, Reason: MemberRemoved, Header: header(townClerk)}, nil},
		"an admin removes an owner":                {three, remove(townClerk, ada), nil, ErrRoleEscalation},
		"the last owner leaves":                    {three, remove(townMayor, ada), nil, ErrLastOwner},
		"who is no member":                         {[]Event{adaOwns}, remove(townMayor, eve), nil, ErrMemberNotFound},
		"another's removal":                        {three, remove(stranger, eve), nil, ErrOrganizationNotFound},
		"a role":                                   {three, define(townMayor, "king", "a:b"), RoleDefined{Role: "king", Scopes: []string{"a:b"}, New: true, Header: header(townMayor)}, nil},
		"the same scopes are no news":              {three, define(townMayor, "auditor", "audit:read"), nil, nil},
		"a role that is built in":                  {three, define(townMayor, RoleMember, "*"), nil, ErrRoleBuiltIn},
		"an admin defines more than he has":        {three, define(townClerk, "king", "*"), nil, ErrRoleEscalation},
		"an admin narrows what he lacks":           {three, define(townClerk, "reporter", "keys:read"), nil, ErrRoleEscalation},
		"a role too many":                          {named, define(townMayor, "king", "a:b"), nil, ErrTooManyRoles},
		"a role is removed":                        {three, drop(townMayor, "auditor"), RoleRemoved{Role: "auditor", Header: header(townMayor)}, nil},
		"a role that a member has":                 {with(MembershipUpdated{User: eve, Role: "auditor", Former: RoleMember}), drop(townMayor, "auditor"), nil, ErrRoleInUse},
		"a role that is gone":                      {with(RoleRemoved{Role: "auditor"}), drop(townMayor, "auditor"), nil, ErrRoleNotFound},
		"owner cannot be removed":                  {three, drop(townMayor, RoleOwner), nil, ErrRoleBuiltIn},
		"an admin removes a role with more":        {three, drop(townClerk, "reporter"), nil, ErrRoleEscalation},
		"an admin invites a member":                {three, invite(townClerk, RoleMember), InvitationCreated{ID: first, Email: "eve@example.com", Role: RoleMember, Inviter: bob, ExpiresAt: today.Add(time.Hour), Header: header(townClerk)}, nil},
		"the installation is no inviter":           {three, invite(townHall, RoleMember), InvitationCreated{ID: first, Email: "eve@example.com", Role: RoleMember, ExpiresAt: today.Add(time.Hour), Header: header(townHall)}, nil},
		"an admin invites an owner":                {three, invite(townClerk, RoleOwner), nil, ErrRoleEscalation},
		"another's invitation":                     {three, invite(stranger, RoleMember), nil, ErrOrganizationNotFound},
		"an invitation too many":                   {crowd, invite(townMayor, RoleMember), nil, ErrTooManyInvitations},
		"a token for the product":                  {invitedTo, rotate(townHall, today), InvitationTokenRotated{ID: first, Email: "eve@example.com", Digest: Digest{2}, Header: header(townHall)}, nil},
		"a token for the owner":                    {invitedTo, rotate(townMayor, today), nil, ErrOutOfReach},
		"a token of what is over":                  {invitedTo, rotate(townHall, today.Add(time.Hour)), nil, ErrInvitationNotFound},
		"accepting":                                {invitedTo, accept(first, eveHerself, Digest{1}, today), MembershipCreated{User: eve, Role: RoleMember, Invitation: first, Header: Header{today, string(eve)}}, nil},
		"accepting with another token":             {invitedTo, accept(first, eveHerself, Digest{2}, today), nil, ErrInvitationNotFound},
		"accepting with the token that was before": {append(slices.Clone(invitedTo), InvitationTokenRotated{ID: first, Digest: Digest{2}}), accept(first, eveHerself, Digest{1}, today), nil, ErrInvitationNotFound},
		"accepting without a token":                {[]Event{adaOwns, InvitationCreated{ID: first, Email: "eve@example.com", Role: RoleMember, ExpiresAt: today.Add(time.Hour)}}, accept(first, eveHerself, Digest{}, today), nil, ErrInvitationNotFound},
		"accepting too late":                       {invitedTo, accept(first, eveHerself, Digest{1}, today.Add(time.Hour)), nil, ErrInvitationNotFound},
		"accepting twice":                          {append(slices.Clone(invitedTo), MembershipCreated{User: eve, Role: RoleMember, Invitation: first}), accept(first, eveHerself, Digest{1}, today), nil, ErrInvitationNotFound},
		"accepting what was revoked":               {append(slices.Clone(invitedTo), InvitationRevoked{ID: first}), accept(first, eveHerself, Digest{1}, today), nil, ErrInvitationNotFound},
		"accepting another's":                      {invitedTo, accept(first, User{ID: bob, Email: "bob@example.com"}, Digest{1}, today), nil, ErrInvitedAnother},
		"accepting as whom a directory calls so":   {invitedTo, accept(first, User{ID: eve, Email: "eve@example.com", Directory: NewOrgID("other")}, Digest{1}, today), nil, ErrInvitedAnother},
		"accepting as whom one's own calls so":     {invitedTo, accept(first, User{ID: eve, Email: "eve@example.com", Directory: town}, Digest{1}, today), MembershipCreated{User: eve, Role: RoleMember, Invitation: first, Header: Header{today, string(eve)}}, nil},
		"accepting while disabled":                 {invitedTo, accept(first, User{ID: eve, Email: "eve@example.com", DisabledAt: today}, Digest{1}, today), nil, ErrUserRemoved},
		"a member uses the invitation up":          {append(slices.Clone(invitedTo), eveIsIn), accept(first, eveHerself, Digest{1}, today), InvitationRevoked{ID: first, Header: Header{today, string(eve)}}, nil},
		"an admin's invitation":                    {invitedTo, accept(second, eveHerself, Digest{1}, today), MembershipCreated{User: eve, Role: RoleAdmin, Invitation: second, Header: Header{today, string(eve)}}, nil},
		"that of an admin who has left":            {append(slices.Clone(invitedTo), MembershipRemoved{User: bob, Role: RoleAdmin}), accept(second, eveHerself, Digest{1}, today), nil, ErrInvitationNotFound},
		"that of who is no admin any more":         {append(slices.Clone(invitedTo), MembershipUpdated{User: bob, Role: RoleMember, Former: RoleAdmin}), accept(second, eveHerself, Digest{1}, today), nil, ErrInvitationNotFound},
		"accepting a role that is gone":            {[]Event{adaOwns, InvitationCreated{ID: first, Email: "eve@example.com", Role: "gone", ExpiresAt: today.Add(time.Hour), Digest: Digest{1}}}, accept(first, eveHerself, Digest{1}, today), nil, ErrRoleNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := c.when(membersOf(c.given...))
			if !reflect.DeepEqual(event, c.then) || !errors.Is(err, c.err) {
				t.Errorf("%+v, %v; want %+v, %v", event, err, c.then, c.err)
			}
		})
	}
}

// Whatever is decided, there is an owner once there was one, the counts are those of the people, and each
// member's role exists.
func TestMembersAlwaysHaveAnOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Members{Org: town}
		people := []UserID{ada, bob, eve}
		roles := append(BuiltInRoles(), "auditor", "reporter")
		owned := false
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				counts, pending := map[string]int{}, len(m.Invitations)
				for _, member := range m.People {
					counts[member.Role]++
					if _, err := m.scopes(member.Role); err != nil {
						t.Fatalf("the role %s: %v", member.Role, err)
					}
				}
				owned = owned || counts[RoleOwner] > 0
				if owned && counts[RoleOwner] == 0 {
					t.Fatal("no owner")
				}
				for name, r := range m.Roles {
					if r.Members != counts[name] {
						t.Fatalf("%d members are %s, and %d are counted", counts[name], name, r.Members)
					}
				}
				if m.Pending != pending {
					t.Fatalf("%d invitations, and %d are counted", pending, m.Pending)
				}
			},
			"decide": func(t *rapid.T) {
				by := Principalled{today, rapid.SampledFrom([]Principal{townHall, townMayor, townClerk, townsman, stranger}).Draw(t, "by")}
				user, role := rapid.SampledFrom(people).Draw(t, "user"), rapid.SampledFrom(roles).Draw(t, "role")
				id := NewInvitationID(town, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "invitation"))
				event, err := rapid.SampledFrom([]func() (Event, error){
					func() (Event, error) { return m.Set(SetMember{Principalled: by, User: user, Role: role}) },
					func() (Event, error) { return m.Remove(RemoveMember{Principalled: by, User: user}) },
					func() (Event, error) {
						return m.DefineRole(DefineRole{Principalled: by, Role: role, Scopes: []string{"a:b"}})
					},
					func() (Event, error) { return m.RemoveRole(RemoveRole{Principalled: by, Role: role}) },
					func() (Event, error) {
						if _, pending := m.Invitations[id]; pending {
							return nil, nil // ids are used once
						}
						return m.Invite(CreateInvitation{Principalled: by, ID: id, Email: string(user), Role: role, ExpiresAt: today.Add(1), Digest: Digest{1}})
					},
					func() (Event, error) { return m.RevokeInvitation(RevokeInvitation{Principalled: by, ID: id}) },
					func() (Event, error) {
						return m.Accept(AcceptInvitation{At: today, ID: id, Digest: Digest{1}, User: User{ID: user, Email: string(user)}})
					},
				}).Draw(t, "decision")()
				if err == nil && event != nil {
					m.Apply(event)
				}
			},
		})
	})
}

// A command knows some of the members, and decides as if it knew all.
func TestSomeMembersDecideLikeAll(t *testing.T) {
	history := []Event{adaOwns, bobManages, eveIsIn, auditors}
	all := membersOf(history...)
	some := Members{Org: town, Roles: maps.Clone(all.Roles), People: map[UserID]Member{ada: all.People[ada]}, Pending: all.Pending}
	for _, e := range []Event{MembershipUpdated{User: bob, Role: RoleOwner, Former: RoleAdmin}, MembershipRemoved{User: eve, Role: RoleMember}, RoleRemoved{Role: "auditor"}, invited, InvitationTokenRotated{ID: second}} {
		all.Apply(e)
		some.Apply(e)
	}
	leave := RemoveMember{Principalled: Principalled{today, townMayor}, User: ada}
	want, _ := all.Remove(leave)
	if got, err := some.Remove(leave); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if !reflect.DeepEqual(some.Roles, all.Roles) || some.Pending != all.Pending || len(some.Invitations) != 1 {
		t.Errorf("%+v, want %+v", some, all)
	}
}

// What a product gives a role counts for who may give it, as what the API gives does.
func TestARoleIsGivenByThoseWhoHaveItsProductsScopes(t *testing.T) {
	m := Members{Org: NewOrgID("acme"), Products: []*SessionPolicy{
		{Roles: []RoleScopes{{Role: "clerk", Scopes: []string{"invoices:write"}}, {Role: "chief", Scopes: []string{"invoices:*"}}, {Role: "admin", Scopes: []string{"invoices:read"}}}},
	}}
	for _, role := range []string{"clerk", "chief", "plain"} {
		m.Apply(RoleDefined{Role: role, Scopes: []string{"members:write"}})
	}
	m.Apply(MembershipCreated{User: NewUserID("u"), Role: "plain"})
	admin, _ := BuiltInRole(RoleAdmin)
	for _, c := range []struct {
		by   Principal
		role string
		want error
	}{
		{Principal{Scopes: admin, Role: RoleAdmin}, "clerk", ErrRoleEscalation},
		{Principal{Scopes: admin, Role: RoleAdmin}, RoleAdmin, nil},
		{Principal{Scopes: []string{"members:write"}, Role: "chief"}, "clerk", nil},
		{Principal{Scopes: []string{"members:write"}, Role: "clerk"}, "chief", ErrRoleEscalation},
		{Principal{Scopes: []string{"members:write"}}, "clerk", ErrRoleEscalation}, // a key
		{Principal{Scopes: []string{"*"}, Role: RoleOwner}, "chief", nil},
	} {
		c.by.Org = m.Org
		if _, err := m.Set(SetMember{Principalled: Principalled{By: c.by}, User: NewUserID("u"), Role: c.role}); !errors.Is(err, c.want) {
			t.Errorf("%s gives %s: %v, want %v", c.by.Role, c.role, err, c.want)
		}
	}
}
