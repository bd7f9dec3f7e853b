package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A Member is a user in an organization as the API shows them.
type Member struct {
	User    MemberUser `json:"user"`
	Role    string     `json:"role"`
	Since   time.Time  `json:"since"`
	AddedBy string     `json:"added_by,omitempty" doc:"Who made the user a member: the user, by accepting an invitation, or another principal."`
	Managed bool       `json:"managed" doc:"The organization's directory manages the membership."`
}

// MemberUser is what members of an organization are told of a user.
type MemberUser struct {
	ID     domain.UserID `json:"id"`
	Email  string        `json:"email"`
	Name   string        `json:"name"`
	Status userStatus    `json:"status"`
}

func showMemberUser(u domain.User) MemberUser {
	return MemberUser{u.ID, u.Email, u.Name, userStatus(u.Status())}
}

func showMember(m projections.MemberRow) Member {
	return Member{User: showMemberUser(m.User.User), Role: m.Role, Since: m.Since, AddedBy: m.By, Managed: m.Directory != ""}
}

// OrgPath names an organization in a path.
type OrgPath struct {
	Org string `path:"org" maxLength:"64"`
}

// readableOrg is the organization that a path names, if there is one within the caller's reach.
func (s *server) readableOrg(ctx context.Context, p domain.Principal, in OrgPath, after AfterParam) (domain.OrgID, error) {
	org, err := within(p, in.Org)
	if err == nil {
		err = s.waitAfter(ctx, after)
	}
	if err == nil && org != domain.Installation {
		_, err = s.Store.Organization(org)
	}
	return org, err
}

type listMembersRequest struct {
	OrgPath
	AfterParam
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" maxLength:"2048"`
}

type memberPage struct {
	Body struct {
		Items      []Member `json:"items"`
		NextCursor *string  `json:"next_cursor"`
	}
}

func (s *server) listMembers(ctx context.Context, p domain.Principal, in *listMembersRequest) (*memberPage, error) {
	org, err := s.readableOrg(ctx, p, in.OrgPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	found, next, err := s.Store.Members(org, in.Cursor, in.Limit)
	if err != nil {
		return nil, err
	}
	page := &memberPage{}
	page.Body.Items = []Member{}
	for _, m := range found {
		page.Body.Items = append(page.Body.Items, showMember(m))
	}
	page.Body.NextCursor = cursorOrNull(next)
	return page, nil
}

// MemberPath names a member.
type MemberPath struct {
	OrgPath
	UserPath
}

func (in MemberPath) parse(p domain.Principal) (domain.OrgID, domain.UserID, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return "", "", err
	}
	user, err := domain.ParseUserID(in.User)
	return org, user, err
}

type readMemberRequest struct {
	MemberPath
	AfterParam
}

// memberAnswer is a member. The revision is that of all members of the organization: what one may be
// or do depends on the others.
type memberAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     Member
}

func (s *server) readMember(ctx context.Context, p domain.Principal, in *readMemberRequest) (*memberAnswer, error) {
	org, user, err := in.parse(p)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	_, revision, err := s.Store.Roles(org) // before the member: a change between the two makes the ETag stale
	if err != nil {
		return nil, err
	}
	m, err := s.Store.Member(org, user)
	if err != nil {
		return nil, err
	}
	return &memberAnswer{http.StatusOK, etag(revision), uint64(revision), showMember(m)}, nil
}

type memberBody struct {
	Role string `json:"role"`
}

// TransformSchema states the bounds of the role.
func (memberBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.SetMember](r, s)
}

type putMemberRequest struct {
	WriteHeaders
	MemberPath
	Body memberBody
}

func (s *server) putMember(ctx context.Context, p domain.Principal, in *putMemberRequest) (*memberAnswer, error) {
	org, user, err := in.parse(p)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.SetMember(ctx, commands.SetMember{Request: in.request, Org: org, User: user, Role: in.Body.Role})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	m, err := s.Store.Member(org, user)
	if err != nil { // the membership has ended since
		return nil, err
	}
	a := &memberAnswer{http.StatusOK, etag(result.Position), uint64(result.Position), showMember(m)}
	if result.Created {
		a.Status = http.StatusCreated
	}
	return a, nil
}

type removeMemberRequest struct {
	WriteHeaders
	MemberPath
	Body *DepartureBody `required:"false"`
}

func (s *server) removeMember(ctx context.Context, p domain.Principal, in *removeMemberRequest) (*departureAnswer, error) {
	org, user, err := in.parse(p)
	if err != nil {
		return nil, err
	}
	if p.User != user { // members may leave
		if err := p.Demand(membersWriteScope); err != nil {
			return nil, err
		}
	}
	return s.depart(ctx, p, departure{in.request, domain.Only(org), user, in.Body, func() (eventstore.Position, error) {
		result, err := s.Commands.RemoveMember(ctx, commands.RemoveMember{Request: in.request, Org: org, User: user})
		return result.Position, err
	}})
}

// membersWriteScope lets one change members, roles and invitations.
const membersWriteScope = "members:write"

// deletedFromMembers answers once the change is in the read model.
func (s *server) deletedFromMembers(ctx context.Context, r commands.MembersResult, err error) (*deletedAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	return &deletedAnswer{uint64(r.Position)}, err
}
