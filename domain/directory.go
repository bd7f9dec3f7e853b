package domain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Directory is what an organization's own directory, such as Entra ID or Okta, says of its people:
// users and groups. Which of its users is a member, and with which role, Members says: a user that
// the directory deactivates stays one of its users.
//
// Of users and groups it need not have all: those that a command is about are enough, beside the
// counts.
type Directory struct {
	DirectorySettings
	Users      map[UserID]DirectoryUser   `json:"-"`
	Names      map[string]UserID          `json:"-"` // by FoldName of the user name
	Groups     map[GroupID]DirectoryGroup `json:"-"`
	GroupNames map[string]GroupID         `json:"-"` // by FoldName of the name
	UserCount  int                        `json:"users,omitempty"`
	GroupCount int                        `json:"groups,omitempty"`
	Created    int                        `json:"created,omitempty"` // users and groups that there ever were
}

// A DirectoryPart names what of a directory a command is about.
type DirectoryPart struct {
	Users     []UserID
	UserName  string
	Groups    []GroupID
	GroupName string
}

// DirectorySettings say which roles the members have that a directory makes.
type DirectorySettings struct {
	GroupRoles  []GroupRole `json:"group_roles,omitempty" validate:"max=100,dive"`
	DefaultRole string      `json:"default_role,omitempty" validate:"max=64,text"` // of who is in none of the groups; "": member
}

// A GroupRole is the role of who is in a group.
type GroupRole struct {
	Group string `json:"group" validate:"required,max=256,text"` // its name, or its external id
	Role  string `json:"role" validate:"required,max=64,text"`
}

// A DirectoryProfile is what a directory says of a user.
type DirectoryProfile struct {
	UserName    string `json:"user_name" validate:"required,max=256,text"`
	ExternalID  string `json:"external_id,omitempty" validate:"max=256,text"`
	Email       string `json:"email,omitempty" validate:"max=254,text"`
	DisplayName string `json:"display_name,omitempty" validate:"max=256,text"`
	FullName    string `json:"full_name,omitempty" validate:"max=256,text"`
	GivenName   string `json:"given_name,omitempty" validate:"max=256,text"`
	FamilyName  string `json:"family_name,omitempty" validate:"max=256,text"`
}

// Called is how to call the user.
func (p *DirectoryProfile) Called() string {
	return cmp.Or(p.DisplayName, p.FullName, strings.TrimSpace(p.GivenName+" "+p.FamilyName), p.UserName)
}

// Address is the user's, which some directories have as the user name alone.
func (p *DirectoryProfile) Address() string { return cmp.Or(p.Email, p.UserName) }

// RemovedByDirectory is the reason of a membership that the organization's directory ended.
const RemovedByDirectory = "directory"

// A DirectoryUser is a user as a directory has them.
type DirectoryUser struct {
	DirectoryProfile
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// A DirectoryGroupName is what a directory calls a group.
type DirectoryGroupName struct {
	Name       string `json:"name" validate:"required,max=256,text"`
	ExternalID string `json:"external_id,omitempty" validate:"max=256,text"`
}

// A DirectoryGroup is a group of a directory's users.
type DirectoryGroup struct {
	DirectoryGroupName
	Size      int             `json:"size"`
	Members   map[UserID]bool `json:"-"` // those that a command is about: whether they are in it
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// Called reports whether a GroupRole means the group.
func (g *DirectoryGroupName) Called(name string) bool {
	return name == g.ExternalID || FoldName(name) == FoldName(g.Name)
}

// Maps reports whether some entry is about the group.
func (s *DirectorySettings) Maps(g DirectoryGroupName) bool {
	return slices.ContainsFunc(s.GroupRoles, func(r GroupRole) bool { return g.Called(r.Group) })
}

// RoleIn is the role of who is in some groups: that of the first entry which is about one of them.
func (s *DirectorySettings) RoleIn(groups []DirectoryGroupName) string {
	for _, entry := range s.GroupRoles {
		if slices.ContainsFunc(groups, func(g DirectoryGroupName) bool { return g.Called(entry.Group) }) {
			return entry.Role
		}
	}
	if s.DefaultRole != "" {
		return s.DefaultRole
	}
	return RoleMember
}

// The bounds of a directory. One event has the changes of MaxMemberChanges members, at 35 bytes each.
const (
	maxDirectoryUsers  = 100_000
	MaxDirectoryGroups = 1000
	maxGroupSize       = 20_000
	MaxMemberChanges   = 1000
)

// FoldName is a name as it is compared: SCIM's names have no case.
func FoldName(name string) string { return strings.ToLower(name) }

// DirectoryUpdated gave a directory other settings: these are all.
type DirectoryUpdated struct {
	DirectorySettings
	Header
}

// DirectoryUserCreated made a user one of the directory's.
type DirectoryUserCreated struct {
	User UserID `json:"user_id"`
	DirectoryProfile
	Adopted bool `json:"adopted,omitempty"` // they were a member of the organization before
	Header
}

// DirectoryUserUpdated changed what the directory says of a user: this is all.
type DirectoryUserUpdated struct {
	User UserID `json:"user_id"`
	DirectoryProfile
	Header
}

// DirectoryUserRemoved ended a user of the directory, and their being in its groups.
type DirectoryUserRemoved struct {
	User     UserID `json:"user_id"`
	UserName string `json:"user_name"`
	Header
}

// DirectoryGroupCreated began a group.
type DirectoryGroupCreated struct {
	Group GroupID `json:"group_id"`
	DirectoryGroupName
	Header
}

// DirectoryGroupUpdated gave a group another name.
type DirectoryGroupUpdated struct {
	Group GroupID `json:"group_id"`
	DirectoryGroupName
	Header
}

// DirectoryGroupMembersChanged put users into a group, and took others out.
type DirectoryGroupMembersChanged struct {
	Group   GroupID  `json:"group_id"`
	Added   []UserID `json:"added_user_ids,omitempty"`
	Removed []UserID `json:"removed_user_ids,omitempty"`
	Header
}

// DirectoryGroupRemoved ended a group.
type DirectoryGroupRemoved struct {
	Group GroupID `json:"group_id"`
	Name  string  `json:"name"`
	Header
}

// UpdateDirectory asks for other settings of an organization's directory. Members are those of the
// organization, whose roles they name.
type UpdateDirectory struct {
	Principalled
	DirectorySettings
	Members Members
}

// Update decides whether the directory may give those roles: who says so must be able to.
func (d Directory) Update(c UpdateDirectory) (Event, error) {
	roles := []string{d.RoleIn(nil), c.RoleIn(nil)}
	for _, g := range c.GroupRoles {
		roles = append(roles, g.Role)
	}
	for _, role := range roles {
		if err := c.Members.mayHandle(c.By, role); err != nil {
			return nil, err
		}
	}
	if d.DefaultRole == c.DefaultRole && slices.Equal(d.GroupRoles, c.GroupRoles) {
		return nil, nil
	}
	return DirectoryUpdated{c.DirectorySettings, c.header()}, nil
}

// PutDirectoryUser asks for a user of a directory. User is the id that a new one gets; Adopted: it is
// that of a member.
type PutDirectoryUser struct {
	Principalled
	User    UserID
	Adopted bool
	Profile DirectoryProfile
}

// CreateUser decides whether the directory may have the user.
func (d Directory) CreateUser(c PutDirectoryUser) (Event, error) {
	if _, taken := d.Names[FoldName(c.Profile.UserName)]; taken {
		return nil, ErrUserNameTaken
	}
	if _, known := d.Users[c.User]; known {
		return nil, ErrUserNameTaken // a member who has another name there
	}
	if d.UserCount >= maxDirectoryUsers {
		return nil, ErrDirectoryFull
	}
	return DirectoryUserCreated{User: c.User, DirectoryProfile: c.Profile, Adopted: c.Adopted, Header: c.header()}, nil
}

// UpdateUser decides whether the directory may say that of the user.
func (d Directory) UpdateUser(c PutDirectoryUser) (Event, error) {
	now, known := d.Users[c.User]
	if !known {
		return nil, ErrUserNotFound
	}
	if holder, taken := d.Names[FoldName(c.Profile.UserName)]; taken && holder != c.User {
		return nil, ErrUserNameTaken
	}
	if now.DirectoryProfile == c.Profile {
		return nil, nil
	}
	return DirectoryUserUpdated{User: c.User, DirectoryProfile: c.Profile, Header: c.header()}, nil
}

// RemoveUser decides whether there is a user to remove from the directory.
func (d Directory) RemoveUser(c Principalled, user UserID) (Event, error) {
	now, known := d.Users[user]
	if !known {
		return nil, ErrUserNotFound
	}
	return DirectoryUserRemoved{user, now.UserName, c.header()}, nil
}

// PutDirectoryGroup asks for a group of a directory.
type PutDirectoryGroup struct {
	Principalled
	Group GroupID
	DirectoryGroupName
}

// CreateGroup decides whether the directory may have the group.
func (d Directory) CreateGroup(c PutDirectoryGroup) (Event, error) {
	if _, taken := d.GroupNames[FoldName(c.Name)]; taken {
		return nil, ErrGroupNameTaken
	}
	if d.GroupCount >= MaxDirectoryGroups {
		return nil, ErrDirectoryFull
	}
	return DirectoryGroupCreated{c.Group, c.DirectoryGroupName, c.header()}, nil
}

// UpdateGroup decides whether the group may have another name.
func (d Directory) UpdateGroup(c PutDirectoryGroup) (Event, error) {
	now, known := d.Groups[c.Group]
	if !known {
		return nil, ErrGroupNotFound
	}
	if holder, taken := d.GroupNames[FoldName(c.Name)]; taken && holder != c.Group {
		return nil, ErrGroupNameTaken
	}
	if now.DirectoryGroupName == c.DirectoryGroupName {
		return nil, nil
	}
	return DirectoryGroupUpdated{c.Group, c.DirectoryGroupName, c.header()}, nil
}

// ChangeGroupMembers asks for users to be in a group, or not: at most MaxMemberChanges.
type ChangeGroupMembers struct {
	Principalled
	Group   GroupID
	Members map[UserID]bool
}

// ChangeGroupMembers decides which of the users are news.
func (d Directory) ChangeGroupMembers(c ChangeGroupMembers) (Event, error) {
	g, known := d.Groups[c.Group]
	if !known {
		return nil, ErrGroupNotFound
	}
	e := DirectoryGroupMembersChanged{Group: c.Group, Header: c.header()}
	for _, user := range slices.Sorted(maps.Keys(c.Members)) {
		_, exists := d.Users[user]
		switch in := c.Members[user]; {
		case in == g.Members[user]:
		case !in:
			e.Removed = append(e.Removed, user)
		case !exists:
			return nil, ErrGroupMemberUnknown
		default:
			e.Added = append(e.Added, user)
		}
	}
	switch {
	case len(e.Added)+len(e.Removed) == 0:
		return nil, nil
	case g.Size+len(e.Added)-len(e.Removed) > maxGroupSize:
		return nil, ErrGroupFull
	}
	return e, nil
}

// RemoveGroup decides whether there is a group to remove. Its members leave it before, in as many
// events as that takes.
func (d Directory) RemoveGroup(c Principalled, group GroupID) (Event, error) {
	now, known := d.Groups[group]
	if !known {
		return nil, ErrGroupNotFound
	}
	if now.Size > 0 {
		return nil, ErrGroupNotEmpty
	}
	return DirectoryGroupRemoved{group, now.Name, c.header()}, nil
}

// Apply moves d past e. It cannot fail and must not judge: e already happened.
func (d *Directory) Apply(e Event) {
	d.init()
	switch e := e.(type) {
	case DirectoryUpdated:
		d.DirectorySettings = e.DirectorySettings
	case DirectoryUserCreated:
		d.putUser(e.User, DirectoryUser{e.DirectoryProfile, e.At, e.At})
		d.UserCount++
		d.Created++
	case DirectoryUserUpdated:
		now := d.Users[e.User]
		d.forgetName(now.UserName, e.User)
		d.putUser(e.User, DirectoryUser{e.DirectoryProfile, now.CreatedAt, e.At})
	case DirectoryUserRemoved:
		d.forgetName(e.UserName, e.User)
		delete(d.Users, e.User)
		for _, g := range d.Groups {
			delete(g.Members, e.User)
		}
		d.UserCount--
	case DirectoryGroupCreated:
		d.putGroup(e.Group, DirectoryGroup{DirectoryGroupName: e.DirectoryGroupName, CreatedAt: e.At, UpdatedAt: e.At})
		d.GroupCount++
		d.Created++
	case DirectoryGroupUpdated:
		now := d.Groups[e.Group]
		d.forgetGroupName(now.Name, e.Group)
		now.DirectoryGroupName, now.UpdatedAt = e.DirectoryGroupName, e.At
		d.putGroup(e.Group, now)
	case DirectoryGroupMembersChanged:
		d.changeMembers(e)
	case DirectoryGroupRemoved:
		d.forgetGroupName(e.Name, e.Group)
		delete(d.Groups, e.Group)
		d.GroupCount--
	}
}

func (d *Directory) init() {
	if d.Users == nil {
		d.Users, d.Names = map[UserID]DirectoryUser{}, map[string]UserID{}
		d.Groups, d.GroupNames = map[GroupID]DirectoryGroup{}, map[string]GroupID{}
	}
}

// Know adds users and groups that are so already, to a directory that has not all of them.
func (d *Directory) Know(users map[UserID]DirectoryUser, groups map[GroupID]DirectoryGroup) {
	d.init()
	for id, u := range users {
		d.putUser(id, u)
	}
	for id, g := range groups {
		d.putGroup(id, g)
	}
}

func (d *Directory) putUser(id UserID, u DirectoryUser) {
	d.Users[id], d.Names[FoldName(u.UserName)] = u, id
}

func (d *Directory) putGroup(id GroupID, g DirectoryGroup) {
	d.Groups[id], d.GroupNames[FoldName(g.Name)] = g, id
}

// forgetName forgets whose a name is, unless it is another's by now.
func (d *Directory) forgetName(name string, id UserID) {
	if d.Names[FoldName(name)] == id {
		delete(d.Names, FoldName(name))
	}
}

func (d *Directory) forgetGroupName(name string, id GroupID) {
	if d.GroupNames[FoldName(name)] == id {
		delete(d.GroupNames, FoldName(name))
	}
}

func (d *Directory) changeMembers(e DirectoryGroupMembersChanged) {
	g := d.Groups[e.Group]
	g.Members = maps.Clone(g.Members)
	if g.Members == nil {
		g.Members = map[UserID]bool{}
	}
	for _, user := range e.Added {
		g.Members[user] = true
	}
	for _, user := range e.Removed {
		delete(g.Members, user)
	}
	g.Size += len(e.Added) - len(e.Removed)
	g.UpdatedAt = e.At
	d.Groups[e.Group] = g
}
