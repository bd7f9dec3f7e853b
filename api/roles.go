package api

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// A Role is a named set of scopes as the API shows it.
type Role struct {
	Role    string   `json:"role"`
	Scopes  []string `json:"scopes"`
	BuiltIn bool     `json:"built_in"`
	Members int      `json:"members" doc:"How many have it."`
}

// showRole is a role; found is false if there is none of that name.
func showRole(roles map[string]domain.Role, name string) (shown Role, found bool) {
	r, known := roles[name]
	scopes, builtIn := domain.BuiltInRole(name)
	if !builtIn {
		scopes = r.Scopes
	}
	return Role{name, orEmpty(scopes), builtIn, r.Members}, builtIn || known && r.Custom
}

type listRolesRequest struct {
	OrgPath
	AfterParam
}

// roleList is all roles. There are some fifty at most.
type roleList struct {
	Body struct {
		Items []Role `json:"items"`
	}
}

func (s *server) listRoles(ctx context.Context, p domain.Principal, in *listRolesRequest) (*roleList, error) {
	org, err := s.readableOrg(ctx, p, in.OrgPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	roles, _, err := s.Store.Roles(org)
	if err != nil {
		return nil, err
	}
	list := &roleList{}
	list.Body.Items = []Role{}
	own := slices.DeleteFunc(slices.Sorted(maps.Keys(roles)), func(name string) bool { return !roles[name].Custom })
	for _, name := range append(domain.BuiltInRoles(), own...) {
		shown, _ := showRole(roles, name)
		list.Body.Items = append(list.Body.Items, shown)
	}
	return list, nil
}

// RolePath names a role of an organization.
type RolePath struct {
	OrgPath
	Role string `path:"role" maxLength:"64"`
}

type readRoleRequest struct {
	RolePath
	AfterParam
}

// roleAnswer is a role. The revision is that of all members of the organization.
type roleAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Role
}

func (s *server) readRole(ctx context.Context, p domain.Principal, in *readRoleRequest) (*roleAnswer, error) {
	org, err := s.readableOrg(ctx, p, in.OrgPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	roles, revision, err := s.Store.Roles(org)
	if err != nil {
		return nil, err
	}
	shown, found := showRole(roles, in.Role)
	if !found {
		return nil, domain.ErrRoleNotFound
	}
	a := &roleAnswer{Status: http.StatusOK, Position: uint64(revision), Body: shown}
	if revision != 0 {
		a.ETag = etag(revision)
	}
	return a, nil
}

type roleBody struct {
	Scopes []string `json:"scopes" doc:"These are all."`
}

// TransformSchema states the bounds of the scopes.
func (roleBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.DefineRole](r, s)
}

type putRoleRequest struct {
	WriteHeaders
	RolePath
	Body roleBody
}

func (s *server) putRole(ctx context.Context, p domain.Principal, in *putRoleRequest) (*roleAnswer, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.DefineRole(ctx, commands.DefineRole{Request: in.request, Org: org, Role: in.Role, Scopes: in.Body.Scopes})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	shown, _ := showRole(result.Members.Roles, in.Role)
	a := &roleAnswer{http.StatusOK, etag(result.Position), uint64(result.Position), shown}
	if result.Created {
		a.Status = http.StatusCreated
	}
	return a, nil
}

type removeRoleRequest struct {
	WriteHeaders
	RolePath
}

func (s *server) removeRole(ctx context.Context, p domain.Principal, in *removeRoleRequest) (*deletedAnswer, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.RemoveRole(ctx, commands.RemoveRole{Request: in.request, Org: org, Role: in.Role})
	return s.deletedFromMembers(ctx, result, err)
}
