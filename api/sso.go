package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/projections"
)

// An SSO is the single sign-on of an organization as the API shows it: never with the client secret.
type SSO struct {
	Org domain.OrgID `json:"org_id"`
	domain.SSODefinition
	HasSecret   bool      `json:"has_secret" doc:"There is a client secret, which is not shown."`
	RedirectURI *string   `json:"redirect_uri" doc:"To be registered at the provider. null: the service has no --public-url, and nobody can log in."`
	UpdatedAt   time.Time `json:"updated_at"`
	UpdatedBy   string    `json:"updated_by"`
	Revision    uint64    `json:"revision"`
}

func (s *server) showSSO(o projections.SSORow) SSO {
	shown := SSO{Org: o.Org, SSODefinition: o.SSODefinition, HasSecret: o.HasSecret, UpdatedAt: o.UpdatedAt, UpdatedBy: o.UpdatedBy, Revision: uint64(o.Revision)}
	if s.SSO != nil {
		uri := s.SSO.RedirectURI(o.Org)
		shown.RedirectURI = &uri
	}
	return shown
}

type ssoAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Position uint64 `header:"Keytrail-Position"`
	Body     SSO
}

func (s *server) answerSSO(status int, o projections.SSORow) *ssoAnswer {
	return &ssoAnswer{status, etag(o.Revision), uint64(o.Revision), s.showSSO(o)}
}

// SSOPath names the organization whose single sign-on it is.
type SSOPath struct {
	Org string `path:"org" maxLength:"64"`
}

type readSSORequest struct {
	SSOPath
	AfterParam
}

func (s *server) readSSO(ctx context.Context, p domain.Principal, in *readSSORequest) (*ssoAnswer, error) {
	org, err := within(p, in.Org)
	if err == nil {
		err = s.waitAfter(ctx, in.AfterParam)
	}
	if err != nil {
		return nil, err
	}
	found, err := s.Store.SSO(org)
	if err != nil {
		return nil, err
	}
	return s.answerSSO(http.StatusOK, found), nil
}

// ssoBody is a single sign-on as it is to be.
type ssoBody struct {
	domain.SSODefinition
	ClientSecret *string `json:"client_secret,omitempty" writeOnly:"true" nullable:"false" doc:"Left out: that of before, if it is the same client of the same provider. An empty text: none."`
}

// TransformSchema states the bounds of the definition.
func (ssoBody) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	return bounded[commands.SetSSO](r, s)
}

type putSSORequest struct {
	WriteHeaders
	SSOPath
	Body ssoBody
}

func (s *server) putSSO(ctx context.Context, p domain.Principal, in *putSSORequest) (*ssoAnswer, error) {
	org, err := within(p, in.Org)
	if err == nil {
		err = noNulls(ctx)
	}
	if err == nil {
		err = s.waitForEnd(ctx) // for the roles
	}
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.SetSSO(ctx, commands.SetSSO{Request: in.request, Org: org, SSODefinition: in.Body.SSODefinition, ClientSecret: in.Body.ClientSecret})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if result.Created {
		status = http.StatusCreated
	}
	return s.answerSSO(status, projections.SSORow{SSO: result.SSO, Revision: result.Position}), nil
}

type deleteSSORequest struct {
	WriteHeaders
	SSOPath
}

func (s *server) deleteSSO(ctx context.Context, p domain.Principal, in *deleteSSORequest) (*deletedAnswer, error) {
	org, err := within(p, in.Org)
	if err == nil {
		err = s.waitForEnd(ctx)
	}
	if err != nil {
		return nil, err
	}
	result, err := s.Commands.RemoveSSO(ctx, commands.RemoveSSO{Request: in.request, Org: org})
	if err == nil {
		err = s.waitFor(ctx, result.Position)
	}
	return &deletedAnswer{uint64(result.Position)}, err
}
