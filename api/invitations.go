package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// An Invitation is one as the API shows it, without its token.
type Invitation struct {
	ID        domain.InvitationID `json:"id"`
	Email     string              `json:"email"`
	Role      string              `json:"role"`
	CreatedAt time.Time           `json:"created_at"`
	CreatedBy string              `json:"created_by"`
	ExpiresAt time.Time           `json:"expires_at" doc:"It is good for nothing from then on, and listed until it is revoked."`
	HasToken  bool                `json:"has_token" doc:"It can be accepted: a token was made."`
}

func showInvitation(i domain.Invitation) Invitation {
	return Invitation{ID: i.ID, Email: i.Email, Role: i.Role, CreatedAt: i.CreatedAt, CreatedBy: i.CreatedBy, ExpiresAt: i.ExpiresAt, HasToken: i.Digest != domain.Digest{}}
}

type listInvitationsRequest struct {
	OrgPath
	AfterParam
}

// invitationList is all invitations of an organization. There are a thousand at most.
type invitationList struct {
	Body struct {
		Items []Invitation `json:"items"`
	}
}

func (s *server) listInvitations(ctx context.Context, p domain.Principal, in *listInvitationsRequest) (*invitationList, error) {
	org, err := s.readableOrg(ctx, p, in.OrgPath, in.AfterParam)
	if err != nil {
		return nil, err
	}
	found, err := s.Store.Invitations(org)
	if err != nil {
		return nil, err
	}
	list := &invitationList{}
	list.Body.Items = []Invitation{}
	for _, i := range found {
		list.Body.Items = append(list.Body.Items, showInvitation(i))
	}
	return list, nil
}

type invitationBody struct {
	Email string          `json:"email"`
	Role  string          `json:"role"`
	TTL   domain.Duration `json:"ttl,omitempty" doc:"How long it is good, at most 720h; default 168h."`
}

// TransformSchema states the bounds of the fields.
func (invitationBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.CreateInvitation](r, s)
}

// invitationAnswer has the token if one was made.
type invitationAnswer struct {
	Position uint64 `header:"Keytrail-Position"`
	NoStore  string `header:"Cache-Control"`
	Body     struct {
		Invitation Invitation `json:"invitation"`
		Token      *string    `json:"token" nullable:"true" doc:"For the invited address alone: send it there, in a link. Shown once; null: make one with POST …/token."`
	}
}

func (s *server) answerInvitation(ctx context.Context, r commands.InvitationResult, err error) (*invitationAnswer, error) {
	if err == nil {
		err = s.waitFor(ctx, r.Position)
	}
	if err != nil {
		return nil, err
	}
	a := &invitationAnswer{Position: uint64(r.Position), NoStore: "no-store"}
	a.Body.Invitation = showInvitation(r.Invitation)
	if token := r.Token.Reveal(); token != "" {
		a.Body.Token = &token
	}
	return a, nil
}

type createInvitationRequest struct {
	WriteHeaders
	OrgPath
	Body invitationBody
}

func (s *server) createInvitation(ctx context.Context, p domain.Principal, in *createInvitationRequest) (*invitationAnswer, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.CreateInvitation(ctx, commands.CreateInvitation{Request: in.request, Org: org, Email: in.Body.Email, Role: in.Body.Role, TTL: in.Body.TTL})
	return s.answerInvitation(ctx, result, err)
}

// InvitationPath names an invitation.
type InvitationPath struct {
	OrgPath
	Invitation string `path:"invitation" maxLength:"64"`
}

func (in InvitationPath) parse(p domain.Principal) (domain.OrgID, domain.InvitationID, error) {
	org, err := within(p, in.Org)
	if err != nil {
		return "", "", err
	}
	id, err := domain.ParseInvitationID(in.Invitation)
	return org, id, err
}

type rotateInvitationTokenRequest struct {
	WriteHeaders
	InvitationPath
	Body *struct{} `required:"false"`
}

func (s *server) rotateInvitationToken(ctx context.Context, p domain.Principal, in *rotateInvitationTokenRequest) (*invitationAnswer, error) {
	org, id, err := in.parse(p)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.RotateInvitationToken(ctx, commands.RotateInvitationToken{Request: in.request, Org: org, Invitation: id})
	return s.answerInvitation(ctx, result, err)
}

type revokeInvitationRequest struct {
	WriteHeaders
	InvitationPath
}

func (s *server) revokeInvitation(ctx context.Context, p domain.Principal, in *revokeInvitationRequest) (*deletedAnswer, error) {
	org, id, err := in.parse(p)
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.RevokeInvitation(ctx, commands.RevokeInvitation{Request: in.request, Org: org, Invitation: id})
	return s.deletedFromMembers(ctx, result, err)
}

// acceptBody is what the invited person sends.
type acceptBody struct {
	Token    string `json:"token" maxLength:"512" doc:"From the link."`
	Name     string `json:"name,omitempty" maxLength:"200" doc:"Of a new user."`
	Password string `json:"password,omitempty" maxLength:"4096" doc:"Of a new user, 12 to 1024 characters."`
}

type acceptedAnswer struct {
	Org  domain.OrgID `json:"org_id"`
	Role string       `json:"role"`
	User MemberUser   `json:"user"`
}

// acceptInvitation takes the token from a person who is logged in, or has no user yet.
func (s *server) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	user, err := s.invited(w, r)
	if err != nil {
		return err
	}
	body, err := takeBody(w, r)
	if err != nil {
		return err
	}
	ask, err := decodeStrict[acceptBody](body, "body")
	if err != nil {
		return err
	}
	accepted, err := s.Commands.AcceptInvitation(r.Context(), commands.AcceptInvitation{Correlation: requestID(r.Context()), Token: domain.NewSecret(ask.Token), User: user,
		Name: ask.Name, Password: domain.NewSecret(ask.Password)})
	if err == nil {
		err = s.waitFor(r.Context(), accepted.Position)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Keytrail-Position", strconv.FormatUint(uint64(accepted.Position), 10))
	writeJSON(w, acceptedAnswer{accepted.Org, accepted.Member.Role, showMemberUser(accepted.User)})
	return nil
}

// invited is who is logged in, "" if the request carries no credential. An organization's provider
// says who a person is in that organization alone: a session by it accepts nothing for the user.
func (s *server) invited(w http.ResponseWriter, r *http.Request) (domain.UserID, error) {
	credential, err := presented(r.Header)
	if credential == "" || err != nil {
		return "", err
	}
	caller, err := s.authenticate(w, r, permission{})
	if err != nil {
		return "", err
	}
	if caller.User == "" {
		return "", domain.ErrSessionNeeded
	}
	if caller.Issuer != "" {
		return "", domain.ErrSSOSession
	}
	return caller.User, nil
}

func (s *server) documentAcceptInvitation() description {
	return description{summary: "Accept an invitation", security: openToAll, refusals: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		details: "The token is the credential. With a session of the user who has the invited address, that user becomes a member. Without one a new user with the address does, " +
			"if no user has it; otherwise 409 log_in_first. A request that got no answer can be repeated.",
		body: &huma.RequestBody{Required: true, Content: s.jsonAnswer(acceptBody{})}, answer: s.jsonAnswer(acceptedAnswer{}), headers: map[string]string{"Keytrail-Position": "Where the event membership.created is."}}
}
