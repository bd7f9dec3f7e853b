package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A DirectoryMapping says which roles the groups of an organization's directory give.
type DirectoryMapping struct {
	GroupRoles  []DirectoryRole `json:"group_roles" doc:"The role of who is in a group: that of the first entry which is about one of theirs."`
	DefaultRole string          `json:"default_role,omitempty" doc:"Of who is in none of them when they become a member; without one: member."`
}

// A DirectoryRole is the role of who is in a group.
type DirectoryRole struct {
	Group string `json:"group" doc:"The group's displayName, or its externalId."`
	Role  string `json:"role"`
}

// TransformSchema states the bounds of the fields.
func (DirectoryRole) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[domain.GroupRole](r, s)
}

// TransformSchema states the bounds of the fields.
func (DirectoryMapping) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.UpdateDirectory](r, s)
}

type directoryAnswer struct {
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     DirectoryMapping
}

func answerDirectory(d domain.DirectorySettings, at eventstore.Position) *directoryAnswer {
	shown := DirectoryMapping{GroupRoles: []DirectoryRole{}, DefaultRole: d.DefaultRole}
	for _, g := range d.GroupRoles {
		shown.GroupRoles = append(shown.GroupRoles, DirectoryRole(g))
	}
	return &directoryAnswer{etag(at), uint64(at), shown}
}

type readDirectoryRequest struct {
	OrganizationPath
	AfterParam
}

func (s *server) readDirectory(ctx context.Context, p domain.Principal, in *readDirectoryRequest) (*directoryAnswer, error) {
	org, err := within(p, in.ID)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err == nil {
		_, err = s.Store.Organization(org)
	}
	if err != nil {
		return nil, err
	}
	settings, at, err := s.Store.DirectorySettings(org)
	return answerDirectory(settings, at), err
}

type putDirectoryRequest struct {
	WriteHeaders
	OrganizationPath
	Body DirectoryMapping
}

// putDirectory changes the mapping, and gives the users of all groups that it was or is about their
// roles, also if it is the same again: so a request that failed on its way is completed by its
// repetition.
func (s *server) putDirectory(ctx context.Context, p domain.Principal, in *putDirectoryRequest) (*directoryAnswer, error) {
	org, err := within(p, in.ID)
	if err != nil {
		return nil, err
	}
	before, _, err := s.Store.DirectorySettings(org)
	if err != nil {
		return nil, err
	}
	settings := domain.DirectorySettings{DefaultRole: in.Body.DefaultRole}
	for _, g := range in.Body.GroupRoles {
		settings.GroupRoles = append(settings.GroupRoles, domain.GroupRole(g))
	}
	result, err := s.Commands.UpdateDirectory(ctx, commands.UpdateDirectory{Request: in.request, Org: org, DirectorySettings: settings})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err == nil {
		err = s.giveRolesOf(ctx, in.request, org, before, settings)
	}
	if err != nil {
		return nil, err
	}
	return answerDirectory(settings, result.Position), nil
}

// giveRolesOf gives roles to the users of every group that one of some mappings is about.
func (s *server) giveRolesOf(ctx context.Context, command commands.Request, org domain.OrgID, mappings ...domain.DirectorySettings) error {
	groups, _, err := s.Store.DirectoryGroups(org, projections.DirectoryQuery{Limit: domain.MaxDirectoryGroups})
	for _, g := range groups {
		for _, m := range mappings {
			if err == nil && m.Maps(g.DirectoryGroupName) {
				err = s.giveRolesOfGroup(ctx, command, org, g.ID)
				break
			}
		}
	}
	return err
}
