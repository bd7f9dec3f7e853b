package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/scim"
	"github.com/keytrail/keytrail/projections"
)

func groupLocation(id domain.GroupID) string { return scimBase + "/Groups/" + string(id) }

// scimCreateGroup begins a group, and puts its members in. If that fails, the group is there, and the
// directory, which is told that it is when it tries again, sends the members.
func (s *server) scimCreateGroup(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	change, err := scim.ParseGroup(r.body)
	if err != nil {
		return scimAnswer{}, err
	}
	named := domain.DirectoryGroupName{Name: *change.DisplayName, ExternalID: *change.ExternalID}
	id, at, err := s.Commands.CreateDirectoryGroup(ctx, commands.CreateDirectoryGroup{Request: r.command(), Org: r.org, DirectoryGroupName: named})
	if err == nil {
		err = s.waitFor(ctx, at)
	}
	if err == nil {
		change.Cleared = false
		err = s.changeMembers(ctx, r, id, change)
	}
	if err != nil {
		return scimAnswer{}, err
	}
	g, err := s.scimGroup(r, id)
	return scimAnswer{status: http.StatusCreated, resource: g, location: groupLocation(id)}, err
}

// scimGroup is a group as a resource, without its members if the request does not want them: there
// may be many.
func (s *server) scimGroup(r *scimRequest, id domain.GroupID) (*scim.Group, error) {
	row, err := s.Store.DirectoryGroup(r.org, id)
	if err != nil {
		return nil, err
	}
	return s.showDirectoryGroup(r, row)
}

func (s *server) showDirectoryGroup(r *scimRequest, row projections.DirectoryGroupRow) (*scim.Group, error) {
	g := &scim.Group{ID: string(row.ID), ExternalID: row.ExternalID, DisplayName: row.Name,
		Meta: scim.Meta{ResourceType: "Group", Created: row.CreatedAt, LastModified: row.UpdatedAt, Location: groupLocation(row.ID)}}
	if !r.wantsMembers() {
		return g, nil
	}
	users, err := s.Store.DirectoryGroupMembers(r.org, row.ID)
	for _, u := range users {
		g.Members = append(g.Members, scim.Reference{Value: string(u.ID), Display: u.Called(), Ref: userLocation(u.ID)})
	}
	return g, err
}

func (r *scimRequest) wantsMembers() bool {
	query := r.URL.Query()
	return scim.Wants("members", query.Get("attributes"), query.Get("excludedAttributes"))
}

func groupNamed(r *scimRequest) (domain.GroupID, error) {
	id, err := domain.ParseGroupID(r.PathValue("id"))
	if err != nil {
		err = domain.ErrGroupNotFound
	}
	return id, err
}

func (s *server) scimReadGroup(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	id, err := groupNamed(r)
	if err != nil {
		return scimAnswer{}, err
	}
	g, err := found(ctx, s, func() (*scim.Group, bool, error) {
		g, err := s.scimGroup(r, id)
		return g, errors.Is(err, domain.ErrGroupNotFound), err
	})
	return scimAnswer{resource: g}, err
}

func (s *server) scimListGroups(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	f, err := scim.ParseFilter(r.URL.Query().Get("filter"), "displayName", "externalId", "id", "members", "members.value")
	if err != nil {
		return scimAnswer{}, err
	}
	start, count, err := r.page()
	if err != nil || f.Nothing() {
		return scimAnswer{resource: scim.List{Start: start}}, err
	}
	q := projections.DirectoryQuery{ID: f["id"], Name: f["displayName"], ExternalID: f["externalId"], Member: f["members"] + f["members.value"], Start: start, Limit: count}
	list, err := found(ctx, s, func() (scim.List, bool, error) {
		rows, total, err := s.Store.DirectoryGroups(r.org, q)
		list := scim.List{Total: total, Start: start}
		members := 0
		for _, row := range rows {
			if members += row.Size; err != nil || r.wantsMembers() && members > maxSCIMMembers && len(list.Items) > 0 {
				break // the next page begins with it
			}
			var g *scim.Group
			g, err = s.showDirectoryGroup(r, row)
			list.Items = append(list.Items, r.selected(g))
		}
		return list, err == nil && total == 0, err
	})
	return scimAnswer{resource: list}, err
}

func (s *server) scimPutGroup(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	change, err := scim.ParseGroup(r.body)
	return s.changeGroup(ctx, r, change, err)
}

func (s *server) scimPatchGroup(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	operations, err := scim.ParsePatch(r.body)
	var change scim.GroupChange
	if err == nil {
		change, err = scim.ParseGroupPatch(operations)
	}
	return s.changeGroup(ctx, r, change, err)
}

// changeGroup carries out a change that was read, unless that failed. A PATCH is answered with the
// group without its members, or they would be sent with each that is added.
func (s *server) changeGroup(ctx context.Context, r *scimRequest, change scim.GroupChange, err error) (scimAnswer, error) {
	id, notFound := groupNamed(r)
	if err == nil {
		err = notFound
	}
	if err == nil && (change.DisplayName != nil || change.ExternalID != nil) {
		err = s.renameGroup(ctx, r, id, change)
	}
	if err == nil {
		err = s.changeMembers(ctx, r, id, change)
	}
	if err != nil || r.Method == http.MethodPatch {
		return scimAnswer{}, err
	}
	g, err := s.scimGroup(r, id)
	return scimAnswer{resource: g}, err
}

// renameGroup gives a group another name. Its members get the role that the group of that name gives.
func (s *server) renameGroup(ctx context.Context, r *scimRequest, id domain.GroupID, change scim.GroupChange) error {
	before, err := s.Store.DirectoryGroup(r.org, id)
	if err != nil && !errors.Is(err, domain.ErrGroupNotFound) {
		return err
	}
	result, err := s.Commands.UpdateDirectoryGroup(ctx, commands.UpdateDirectoryGroup{Request: r.command(), Org: r.org, Group: id, Name: change.DisplayName, ExternalID: change.ExternalID})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil || !result.Changed {
		return err
	}
	settings := result.Directory.DirectorySettings
	if !settings.Maps(before.DirectoryGroupName) && !settings.Maps(result.Directory.Groups[id].DirectoryGroupName) {
		return nil
	}
	return s.giveRolesOfGroup(ctx, r.command(), r.org, id)
}

// changeMembers changes who is in a group, and then the role of each whom the request names, if the
// group gives one: also of those who were in it already, so that a request which failed on its way is
// completed by its repetition.
func (s *server) changeMembers(ctx context.Context, r *scimRequest, id domain.GroupID, change scim.GroupChange) error {
	members, err := s.membersOf(ctx, r, id, change)
	if err != nil || len(members) == 0 {
		return s.mustHaveGroup(ctx, r, id, err)
	}
	at, err := s.Commands.ChangeGroupMembers(ctx, commands.ChangeGroupMembers{Request: r.command(), Org: r.org, Group: id, Members: members})
	if waited := s.waitFor(ctx, at); err == nil {
		err = waited
	}
	if err != nil {
		return err
	}
	g, err := s.Store.DirectoryGroup(r.org, id)
	if err != nil {
		return err
	}
	settings, _, err := s.Store.DirectorySettings(r.org)
	if err != nil || !settings.Maps(g.DirectoryGroupName) {
		return err
	}
	users := make([]domain.UserID, 0, len(members))
	for user := range members {
		users = append(users, user)
	}
	return s.giveRoles(ctx, r.command(), r.org, users)
}

// mustHaveGroup refuses a change of nothing in a group that is not there.
func (s *server) mustHaveGroup(ctx context.Context, r *scimRequest, id domain.GroupID, err error) error {
	if err != nil {
		return err
	}
	_, err = found(ctx, s, func() (projections.DirectoryGroupRow, bool, error) {
		g, err := s.Store.DirectoryGroup(r.org, id)
		return g, errors.Is(err, domain.ErrGroupNotFound), err
	})
	return err
}

// membersOf are the users whom a change is about, and whether each is to be in the group.
func (s *server) membersOf(ctx context.Context, r *scimRequest, group domain.GroupID, change scim.GroupChange) (map[domain.UserID]bool, error) {
	members := map[domain.UserID]bool{}
	if change.Cleared {
		if err := s.waitForEnd(ctx); err != nil {
			return nil, err
		}
		now, err := s.Store.DirectoryGroupMembers(r.org, group)
		if err != nil {
			return nil, err
		}
		for _, u := range now {
			members[u.ID] = false
		}
	}
	for text, in := range change.Members {
		id, err := domain.ParseUserID(text)
		switch {
		case err == nil:
			members[id] = in
		case in:
			return nil, domain.ErrGroupMemberUnknown
		}
	}
	return members, nil
}

// giveRolesOfGroup gives each user in a group the role that their groups give.
func (s *server) giveRolesOfGroup(ctx context.Context, command commands.Request, org domain.OrgID, group domain.GroupID) error {
	rows, err := s.Store.DirectoryGroupMembers(org, group)
	users := make([]domain.UserID, 0, len(rows))
	for _, u := range rows {
		users = append(users, u.ID)
	}
	if err != nil {
		return err
	}
	return s.giveRoles(ctx, command, org, users)
}

// giveRoles gives some users of the directory the role that their groups give, one after the other:
// all are of one aggregate. The last owner stays one, which is the answer when the others have their
// roles.
func (s *server) giveRoles(ctx context.Context, command commands.Request, org domain.OrgID, users []domain.UserID) error {
	var last eventstore.Position
	var refused error
	for _, user := range users {
		at, err := s.Commands.GiveRole(ctx, command, org, user)
		if errors.Is(err, domain.ErrLastOwner) || errors.Is(err, domain.ErrRoleNotFound) {
			refused, err = err, nil
		}
		if err != nil {
			return err
		}
		last = max(last, at)
	}
	if err := s.waitFor(ctx, last); err != nil {
		return err
	}
	return refused
}

// scimDeleteGroup takes the members out of a group, and ends it. After a crash the group is smaller.
// The group goes also if its last owner stays one: there is nothing that a repetition could change.
func (s *server) scimDeleteGroup(ctx context.Context, r *scimRequest) (scimAnswer, error) {
	id, err := groupNamed(r)
	if err == nil {
		err = s.changeMembers(ctx, r, id, scim.GroupChange{Cleared: true})
	}
	if err != nil && !errors.Is(err, domain.ErrLastOwner) {
		return scimAnswer{}, err
	}
	result, err := s.Commands.RemoveDirectoryGroup(ctx, r.command(), r.org, id)
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	return scimAnswer{}, err
}
