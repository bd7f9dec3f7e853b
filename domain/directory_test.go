package domain

import (
	"errors"
	"testing"
	"time"
)

func TestDirectory(t *testing.T) {
	org := NewOrgID("acme")
	by := Principalled{At: time.Unix(0, 0).UTC(), By: Principal{ID: "key_1", Org: org, Scopes: []string{"scim:write"}}}
	ada, bob := NewUserID("ada"), NewUserID("bob")
	admins := NewGroupID(org, "admins")
	profile := func(name string) DirectoryProfile { return DirectoryProfile{UserName: name} }
	created := DirectoryUserCreated{User: ada, DirectoryProfile: profile("Ada@example.com"), Header: by.header()}
	bobToo := DirectoryUserCreated{User: bob, DirectoryProfile: profile("bob@example.com"), Header: by.header()}
	group := DirectoryGroupCreated{Group: admins, DirectoryGroupName: DirectoryGroupName{Name: "Admins"}, Header: by.header()}
	adaIn := DirectoryGroupMembersChanged{Group: admins, Added: []UserID{ada}, Header: by.header()}

	create := func(id UserID, name string) func(Directory) (Event, error) {
		return func(d Directory) (Event, error) {
			return d.CreateUser(PutDirectoryUser{Principalled: by, User: id, Profile: profile(name)})
		}
	}
	update := func(id UserID, name string) func(Directory) (Event, error) {
		return func(d Directory) (Event, error) {
			return d.UpdateUser(PutDirectoryUser{Principalled: by, User: id, Profile: profile(name)})
		}
	}
	change := func(members map[UserID]bool) func(Directory) (Event, error) {
		return func(d Directory) (Event, error) {
			return d.ChangeGroupMembers(ChangeGroupMembers{by, admins, members})
		}
	}
	for name, c := range map[string]struct {
		given []Event
		when  func(Directory) (Event, error)
		then  string
		err   error
	}{
		"a new user": {when: create(ada, "ada@example.com"), then: "directory.user_created"},
		"a user name in another case is the same": {given: []Event{created}, when: create(bob, "ada@EXAMPLE.com"), err: ErrUserNameTaken},
		"a name that was given up is free":        {given: []Event{created, DirectoryUserUpdated{User: ada, DirectoryProfile: profile("a.l@example.com")}}, when: create(bob, "ada@example.com"), then: "directory.user_created"},
		"a removed user's name is free":           {given: []Event{created, DirectoryUserRemoved{User: ada, UserName: "Ada@example.com"}}, when: create(bob, "ada@example.com"), then: "directory.user_created"},
		"an update that changes nothing":          {given: []Event{created}, when: update(ada, "Ada@example.com")},
		"another spelling of one's own name":      {given: []Event{created}, when: update(ada, "ada@example.com"), then: "directory.user_updated"},
		"another's name":                          {given: []Event{created, bobToo}, when: update(bob, "ada@example.com"), err: ErrUserNameTaken},
		"an update of nobody":                     {when: update(ada, "ada@example.com"), err: ErrUserNotFound},
		"a member of a group":                     {given: []Event{created, group}, when: change(map[UserID]bool{ada: true}), then: "directory.group_members_changed"},
		"a member again":                          {given: []Event{created, group, adaIn}, when: change(map[UserID]bool{ada: true})},
		"a stranger leaves a group":               {given: []Event{created, group}, when: change(map[UserID]bool{bob: false})},
		"a stranger cannot be in a group":         {given: []Event{created, group}, when: change(map[UserID]bool{bob: true}), err: ErrGroupMemberUnknown},
		"who was removed is in no group":          {given: []Event{created, group, adaIn, DirectoryUserRemoved{User: ada, UserName: "Ada@example.com"}}, when: change(map[UserID]bool{ada: false})},
		"a group that was removed":                {given: []Event{created, group, DirectoryGroupRemoved{Group: admins, Name: "Admins"}}, when: change(map[UserID]bool{ada: true}), err: ErrGroupNotFound},
		"a group of a name that is taken": {given: []Event{group}, err: ErrGroupNameTaken, when: func(d Directory) (Event, error) {
			return d.CreateGroup(PutDirectoryGroup{by, NewGroupID(org, "2"), DirectoryGroupName{Name: "ADMINS"}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var d Directory
			for _, e := range c.given {
				d.Apply(e)
			}
			e, err := c.when(d)
			if got := TypeOf(e); got != c.then || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.then, c.err)
			}
		})
	}
}

func TestRolesOfADirectoryAreWhatItsAuthorCouldGive(t *testing.T) {
	org := NewOrgID("acme")
	m := Members{Org: org}
	m.Apply(RoleDefined{Role: "auditor", Scopes: []string{"audit:read"}})
	for name, c := range map[string]struct {
		scopes []string
		roles  []GroupRole
		before DirectorySettings
		err    error
	}{
		"an owner":                              {scopes: []string{"*"}, roles: []GroupRole{{"a", RoleOwner}}},
		"an admin cannot give owner":            {scopes: builtInRoles[RoleAdmin], roles: []GroupRole{{"a", RoleOwner}}, err: ErrRoleEscalation},
		"a role of the organization's":          {scopes: builtInRoles[RoleAdmin], roles: []GroupRole{{"a", "auditor"}}},
		"a role that is none":                   {scopes: []string{"*"}, roles: []GroupRole{{"a", "tester"}}, err: ErrRoleNotFound},
		"the default that was is above oneself": {scopes: builtInRoles[RoleAdmin], before: DirectorySettings{DefaultRole: RoleOwner}, err: ErrRoleEscalation},
	} {
		t.Run(name, func(t *testing.T) {
			d := Directory{DirectorySettings: c.before}
			_, err := d.Update(UpdateDirectory{Principalled{By: Principal{Org: org, Scopes: c.scopes}}, DirectorySettings{GroupRoles: c.roles}, m})
			if !errors.Is(err, c.err) {
				t.Errorf("%v, want %v", err, c.err)
			}
		})
	}
}

func TestTheFirstGroupRoleCounts(t *testing.T) {
	s := DirectorySettings{GroupRoles: []GroupRole{{"Admins", RoleAdmin}, {"g-9", RoleOwner}}}
	admins, owners, others := DirectoryGroupName{Name: "ADMINS"}, DirectoryGroupName{Name: "x", ExternalID: "g-9"}, DirectoryGroupName{Name: "y"}
	for role, groups := range map[string][]DirectoryGroupName{RoleAdmin: {others, owners, admins}, RoleOwner: {others, owners}, RoleMember: {others}} {
		if got := s.RoleIn(groups); got != role {
			t.Errorf("%v: %s, want %s", groups, got, role)
		}
	}
}
