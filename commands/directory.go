package commands

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// Directories: how an organization's directory, such as Entra ID or Okta, makes its users members,
// and ends that. A user is active there if and only if they are a member here, so that nothing can
// say otherwise. The steps of each change, and what a crash leaves:
//
//   - Creating a user: the directory has the user; the installation has; the user is a member. After
//     a crash the user is there and not active, and making them active carries out what is missing.
//   - Deactivating a user: the membership ends, which is one event, and in force with it.
//   - Removing a user: the membership ends; the directory has the user no more. After a crash the user
//     is not active, and removing them again goes on.
//   - Changing a group: who is in it, in events of 1,000 users; then the role of each. After a crash
//     some roles are as before, and the same request gives the others.
//
// The directory gives those roles which the organization's mapping of groups names, and who wrote that
// was able to give them. It acts for the organization: it ends memberships of it, and nothing else.

// A DirectoryIndex gives the state of an organization's directory as far as a command is about it.
// The read model does. It may be behind the ledger.
type DirectoryIndex interface {
	Directory(domain.OrgID, domain.DirectoryPart) (domain.Directory, eventstore.Position, error)
	// GroupsOfUser are the groups that a user is in, from which their role follows.
	GroupsOfUser(domain.OrgID, domain.UserID) ([]domain.DirectoryGroupName, error)
	// UserKnownAs is the one user whom a directory has with one of these ids as externalId, or an
	// address; "": there is none.
	UserKnownAs(org domain.OrgID, ids []string, email string) (domain.UserID, error)
}

// A DirectoryResult is a directory after a command, as far as that was about it.
type DirectoryResult struct {
	Directory domain.Directory
	Position  eventstore.Position
	Changed   bool
	Replayed  bool
}

// onDirectory carries out a command on an organization's directory.
func (h *Handler) onDirectory(ctx context.Context, org domain.OrgID, r Request, about domain.DirectoryPart, decide func(domain.Directory) (domain.Event, error)) (DirectoryResult, error) {
	if !r.By.Reaches(org) {
		return DirectoryResult{}, domain.ErrOrganizationNotFound
	}
	var known *assumption[domain.Directory]
	if h.directories != nil {
		d, at, err := h.directories.Directory(org, about)
		if err != nil {
			return DirectoryResult{}, err
		}
		known = &assumption[domain.Directory]{state: d, position: at, base: true}
	}
	o, err := executeOnce(ctx, h, eventstore.DirectoryRef(org), r, known, decide)
	return DirectoryResult{o.state, o.position, o.changed, o.replayed}, err
}

// UpdateDirectory says which roles the groups of an organization's directory give.
type UpdateDirectory struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	domain.DirectorySettings
}

// UpdateDirectory carries out c.
func (h *Handler) UpdateDirectory(ctx context.Context, c UpdateDirectory) (DirectoryResult, error) {
	if err := valid(c); err != nil {
		return DirectoryResult{}, err
	}
	if err := h.mustExist(ctx, c.Org); err != nil {
		return DirectoryResult{}, err
	}
	members, err := h.onMembers(ctx, c.Org, Request{By: c.By}, concerned{}, func(domain.Members) (domain.Event, error) { return nil, nil })
	if err != nil {
		return DirectoryResult{}, err
	}
	members.Members.Org = c.Org
	return h.onDirectory(ctx, c.Org, c.Request, domain.DirectoryPart{}, func(d domain.Directory) (domain.Event, error) {
		return d.Update(domain.UpdateDirectory{Principalled: h.principalled(c.By), DirectorySettings: c.DirectorySettings, Members: members.Members})
	})
}

// CreateDirectoryUser is a new user of a directory.
type CreateDirectoryUser struct {
	Request `validate:"-"`
	Org     domain.OrgID  `validate:"-"`
	Member  domain.UserID `validate:"-"` // who is to be the directory's from now on; "": it is a new user
	Active  bool          `validate:"-"`
	Profile domain.DirectoryProfile
}

// CreateDirectoryUser makes a user the directory's, and a member if they are active.
func (h *Handler) CreateDirectoryUser(ctx context.Context, c CreateDirectoryUser) (domain.UserID, eventstore.Position, error) {
	if err := valid(c.Profile); err != nil {
		return "", 0, err
	}
	c.identify()
	id := cmp.Or(c.Member, domain.NewUserID(string(c.Org)+" "+c.CommandID))
	r, err := h.onDirectory(ctx, c.Org, c.Request, domain.DirectoryPart{UserName: c.Profile.UserName, Users: []domain.UserID{id}}, func(d domain.Directory) (domain.Event, error) {
		return d.CreateUser(domain.PutDirectoryUser{Principalled: h.principalled(c.By), User: id, Adopted: c.Member != "", Profile: c.Profile})
	})
	if err != nil {
		return id, r.Position, err
	}
	at, err := h.setActive(ctx, c.Request, c.Org, id, c.Profile, c.Active)
	return id, max(at, r.Position), err
}

// ChangeDirectoryUser changes what a directory says of a user.
type ChangeDirectoryUser struct {
	Request
	Org    domain.OrgID
	User   domain.UserID
	Active *bool                                                          // nil: it stays
	Change func(domain.DirectoryProfile) (domain.DirectoryProfile, error) // of the profile as it is on the ledger
}

// ChangeDirectoryUser carries out c.
func (h *Handler) ChangeDirectoryUser(ctx context.Context, c ChangeDirectoryUser) (eventstore.Position, error) {
	var ended eventstore.Position
	if c.Active != nil && !*c.Active { // first, so that nothing which fails later keeps the user in
		var err error
		if ended, err = h.deactivate(ctx, c.Request, c.Org, c.User); err != nil {
			return ended, err
		}
	}
	profile, at, err := h.changeProfile(ctx, c)
	at = max(at, ended)
	if err != nil || c.Active == nil || !*c.Active {
		return at, err
	}
	active, err := h.activate(ctx, c.Request, c.Org, c.User, profile)
	return max(at, active), err
}

// unnamed is the user name of no user: what a change leaves it, it does not change.
const unnamed = "-"

// changeProfile changes the profile alone, and how the user is called in the installation if the
// directory made them.
func (h *Handler) changeProfile(ctx context.Context, c ChangeDirectoryUser) (profile domain.DirectoryProfile, at eventstore.Position, err error) {
	about := domain.DirectoryPart{Users: []domain.UserID{c.User}}
	if wanted, err := c.Change(domain.DirectoryProfile{UserName: unnamed}); err == nil {
		about.UserName = wanted.UserName // so that its holder is known
	}
	r, err := h.onDirectory(ctx, c.Org, c.Request, about, func(d domain.Directory) (domain.Event, error) {
		now, known := d.Users[c.User]
		if !known {
			return nil, domain.ErrUserNotFound
		}
		var err error
		if profile, err = c.Change(now.DirectoryProfile); err == nil {
			err = valid(profile)
		}
		if err != nil {
			return nil, err
		}
		return d.UpdateUser(domain.PutDirectoryUser{Principalled: h.principalled(c.By), User: c.User, Profile: profile})
	})
	if err != nil || !r.Changed {
		return profile, r.Position, err
	}
	named, err := h.renameUser(ctx, c, profile)
	return profile, max(r.Position, named), err
}

func (h *Handler) renameUser(ctx context.Context, c ChangeDirectoryUser, p domain.DirectoryProfile) (eventstore.Position, error) {
	email, name := p.Address(), p.Called()
	u, err := h.onUser(ctx, c.User, bySystem(c.Request), func(u domain.User) (domain.Event, error) {
		if u.Directory != c.Org || u.Status() != domain.ActiveUser {
			return nil, nil
		}
		return u.Update(domain.UpdateUser{Principalled: h.principalled(domain.System), Email: &email, Name: &name})
	})
	return u.Position, err
}

// RemoveDirectoryUser ends a user of the directory, and their membership.
func (h *Handler) RemoveDirectoryUser(ctx context.Context, r Request, org domain.OrgID, user domain.UserID) (eventstore.Position, error) {
	ended, err := h.deactivate(ctx, r, org, user)
	if err != nil {
		return ended, err
	}
	removed, err := h.onDirectory(ctx, org, r.step(), domain.DirectoryPart{Users: []domain.UserID{user}}, func(d domain.Directory) (domain.Event, error) {
		return d.RemoveUser(h.principalled(r.By), user)
	})
	return max(ended, removed.Position), err
}

// step is the request for another aggregate, of which its command id is not.
func (r Request) step() Request {
	return Request{By: r.By, Correlation: r.Correlation}
}

// bySystem is a step that no principal of an organization may take by itself: users are of the
// installation. Who asked is in the directory's own event.
func bySystem(r Request) Request {
	r = r.step()
	r.By = domain.System
	return r
}

// forOrganization is a directory's request as it gives and ends memberships: what it may give, the
// author of the mapping was able to.
func forOrganization(r Request, org domain.OrgID) Request {
	r = r.step()
	r.By = domain.Principal{ID: r.By.ID, Org: org, Scopes: []string{"*"}}
	return r
}

func (h *Handler) setActive(ctx context.Context, r Request, org domain.OrgID, user domain.UserID, p domain.DirectoryProfile, active bool) (eventstore.Position, error) {
	if active {
		return h.activate(ctx, r, org, user, p)
	}
	return h.deactivate(ctx, r, org, user)
}

// activate makes a user of the directory a member with the role that their groups give, unless they
// are one.
func (h *Handler) activate(ctx context.Context, r Request, org domain.OrgID, user domain.UserID, p domain.DirectoryProfile) (eventstore.Position, error) {
	if err := h.ensureUser(ctx, r, org, user, p); err != nil {
		return 0, err
	}
	role, err := h.roleOf(org, user)
	if err != nil {
		return 0, err
	}
	by := forOrganization(r, org)
	m, err := h.onMembers(ctx, org, by, concerned{users: []domain.UserID{user}}, func(m domain.Members) (domain.Event, error) {
		if _, member := m.People[user]; member {
			return nil, nil
		}
		return m.Set(domain.SetMember{Principalled: h.principalled(by.By), User: user, Role: role, Directory: cmp.Or(p.ExternalID, p.UserName), Asserted: true})
	})
	return m.Position, err
}

// ensureUser makes the directory's user one of the installation's, unless they are. The address is no
// claim: it is the organization's word alone.
func (h *Handler) ensureUser(ctx context.Context, r Request, org domain.OrgID, user domain.UserID, p domain.DirectoryProfile) error {
	u, err := h.onUser(ctx, user, bySystem(r), func(u domain.User) (domain.Event, error) {
		if u.ID != "" {
			return nil, nil
		}
		return u.Create(domain.CreateUser{Principalled: h.principalled(domain.System), ID: user, Email: p.Address(), Directory: org, Name: p.Called()})
	})
	if err == nil && u.User.Status() != domain.ActiveUser {
		err = domain.ErrUserRemoved
	}
	return err
}

// roleOf is the role that the groups of a user of the directory give.
func (h *Handler) roleOf(org domain.OrgID, user domain.UserID) (string, error) {
	d, _, err := h.directories.Directory(org, domain.DirectoryPart{})
	if err != nil {
		return "", err
	}
	groups, err := h.directories.GroupsOfUser(org, user)
	return d.RoleIn(groups), err
}

// deactivate ends the membership of a user of the directory. One who is no member is no error.
func (h *Handler) deactivate(ctx context.Context, r Request, org domain.OrgID, user domain.UserID) (eventstore.Position, error) {
	if err := h.mustBeOfDirectory(ctx, r, org, user); err != nil {
		return 0, err
	}
	by := forOrganization(r, org)
	m, err := h.onMembers(ctx, org, by, concerned{users: []domain.UserID{user}}, func(m domain.Members) (domain.Event, error) {
		return m.Remove(domain.RemoveMember{Principalled: h.principalled(by.By), User: user, Reason: domain.RemovedByDirectory})
	})
	if errors.Is(err, domain.ErrMemberNotFound) {
		err = nil
	}
	return m.Position, err
}

// mustBeOfDirectory refuses a user whom the directory does not have: other members are not its own.
func (h *Handler) mustBeOfDirectory(ctx context.Context, r Request, org domain.OrgID, user domain.UserID) error {
	_, err := h.onDirectory(ctx, org, r.step(), domain.DirectoryPart{Users: []domain.UserID{user}}, func(d domain.Directory) (domain.Event, error) {
		if _, known := d.Users[user]; !known {
			return nil, domain.ErrUserNotFound
		}
		return nil, nil
	})
	return err
}

// CreateDirectoryGroup is a new group of a directory.
type CreateDirectoryGroup struct {
	Request `validate:"-"`
	Org     domain.OrgID `validate:"-"`
	domain.DirectoryGroupName
}

// CreateDirectoryGroup carries out c.
func (h *Handler) CreateDirectoryGroup(ctx context.Context, c CreateDirectoryGroup) (domain.GroupID, eventstore.Position, error) {
	if err := valid(c); err != nil {
		return "", 0, err
	}
	c.identify()
	id := domain.NewGroupID(c.Org, c.CommandID)
	r, err := h.onDirectory(ctx, c.Org, c.Request, domain.DirectoryPart{GroupName: c.Name}, func(d domain.Directory) (domain.Event, error) {
		return d.CreateGroup(domain.PutDirectoryGroup{Principalled: h.principalled(c.By), Group: id, DirectoryGroupName: c.DirectoryGroupName})
	})
	return id, r.Position, err
}

// UpdateDirectoryGroup gives a group another name, or external id.
type UpdateDirectoryGroup struct {
	Request
	Org        domain.OrgID
	Group      domain.GroupID
	Name       *string // nil: it stays
	ExternalID *string
}

// UpdateDirectoryGroup carries out c.
func (h *Handler) UpdateDirectoryGroup(ctx context.Context, c UpdateDirectoryGroup) (DirectoryResult, error) {
	about := domain.DirectoryPart{Groups: []domain.GroupID{c.Group}}
	if c.Name != nil {
		about.GroupName = *c.Name
	}
	return h.onDirectory(ctx, c.Org, c.Request, about, func(d domain.Directory) (domain.Event, error) {
		named := d.Groups[c.Group].DirectoryGroupName
		if c.Name != nil {
			named.Name = *c.Name
		}
		if c.ExternalID != nil {
			named.ExternalID = *c.ExternalID
		}
		e, err := d.UpdateGroup(domain.PutDirectoryGroup{Principalled: h.principalled(c.By), Group: c.Group, DirectoryGroupName: named})
		if err == nil {
			err = valid(named)
		}
		return e, err
	})
}

// ChangeGroupMembers puts users into a group, and takes others out: whether each is to be in it.
type ChangeGroupMembers struct {
	Request
	Org     domain.OrgID
	Group   domain.GroupID
	Members map[domain.UserID]bool
}

// ChangeGroupMembers carries out c, in as many events as its size takes. The roles that follow from
// it are given by GiveRoles, when the read model has these events.
func (h *Handler) ChangeGroupMembers(ctx context.Context, c ChangeGroupMembers) (last eventstore.Position, err error) {
	users := make([]domain.UserID, 0, len(c.Members))
	for user := range c.Members {
		users = append(users, user)
	}
	slices.Sort(users)
	for part := range slices.Chunk(users, domain.MaxMemberChanges) {
		members := map[domain.UserID]bool{}
		for _, user := range part {
			members[user] = c.Members[user]
		}
		r, err := h.onDirectory(ctx, c.Org, c.step(), domain.DirectoryPart{Users: part, Groups: []domain.GroupID{c.Group}}, func(d domain.Directory) (domain.Event, error) {
			return d.ChangeGroupMembers(domain.ChangeGroupMembers{Principalled: h.principalled(c.By), Group: c.Group, Members: members})
		})
		if err != nil {
			return last, err
		}
		last = max(last, r.Position)
	}
	return last, nil
}

// GiveRole gives a user of the directory the role that their groups give, if they are a member.
func (h *Handler) GiveRole(ctx context.Context, r Request, org domain.OrgID, user domain.UserID) (eventstore.Position, error) {
	role, err := h.roleOf(org, user)
	if err != nil {
		return 0, err
	}
	by := forOrganization(r, org)
	m, err := h.onMembers(ctx, org, by, concerned{users: []domain.UserID{user}}, func(m domain.Members) (domain.Event, error) {
		if now, member := m.People[user]; !member || now.Role == role {
			return nil, nil
		}
		return m.Set(domain.SetMember{Principalled: h.principalled(by.By), User: user, Role: role, Asserted: true})
	})
	return m.Position, err
}

// RemoveDirectoryGroup ends a group that has no members any more.
func (h *Handler) RemoveDirectoryGroup(ctx context.Context, r Request, org domain.OrgID, group domain.GroupID) (DirectoryResult, error) {
	return h.onDirectory(ctx, org, r.step(), domain.DirectoryPart{Groups: []domain.GroupID{group}}, func(d domain.Directory) (domain.Event, error) {
		return d.RemoveGroup(h.principalled(r.By), group)
	})
}
