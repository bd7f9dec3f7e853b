package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/sso"
)

// ssoCode is what a page of the product has of a log-in at a provider.
type ssoCode struct {
	Code     string `json:"code" minLength:"1" maxLength:"4096" doc:"That the browser came back with."`
	Verifier string `json:"code_verifier" minLength:"43" maxLength:"128" doc:"Whose challenge the log-in was begun with (RFC 7636)."`
}

// exchangeCode begins a session by a log-in at a provider.
func (s *server) exchangeCode(w http.ResponseWriter, r *http.Request) error {
	body, err := takeBody(w, r)
	if err != nil {
		return err
	}
	in, err := decodeStrict[ssoCode](body, "body")
	if err != nil {
		return err
	}
	a, client, err := s.openCode(r.Context(), in)
	if err != nil {
		return err
	}
	u, begun, err := s.Commands.LogInBySSO(r.Context(), commands.LogInBySSO{Code: a.Code, Identity: a.Identity, Client: client, Role: a.Role, Email: a.Email, Verified: a.Verified, ObjectID: a.ObjectID, Name: a.Name,
		IP: s.clientIP(r).String(), UserAgent: r.UserAgent(), Correlation: requestID(r.Context())})
	answer, err := s.showBegun(r.Context(), u, begun, err)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", answer.CacheControl)
	w.Header().Set("Keytrail-Position", strconv.FormatUint(answer.Position, 10))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	writeJSON(w, answer.Body)
	return nil
}

// openCode reads a code, as long as the organization's single sign-on is what it was, and gives the client
// of that. All that was written before counts: the code may have been used at another node.
func (s *server) openCode(ctx context.Context, in ssoCode) (a sso.Assertion, clientID string, err error) {
	if s.SSO == nil {
		return a, "", domain.ErrNoPublicURL
	}
	if a, err = s.SSO.Open(in.Code, in.Verifier); err != nil {
		return a, "", err
	}
	if err := s.waitForEnd(ctx); err != nil {
		return a, "", err
	}
	client, err := s.ssoClientAt(ctx, a.Identity.Org, a.Revision, domain.ErrSSOCode)
	if err != nil {
		return a, "", err
	}
	if s.Store.Suspended(a.Identity.Org) {
		err = domain.NotAllowed(domain.UseOrgSuspended)
	}
	return a, client.ClientID, err
}

type linkIdentityRequest struct {
	WriteHeaders
	Body ssoCode
}

type identityAnswer struct {
	Body struct {
		Identities []domain.Identity `json:"identities" doc:"By which the user can log in."`
	}
}

// linkIdentity lets the caller log in by a provider from then on.
func (s *server) linkIdentity(ctx context.Context, p domain.Principal, in *linkIdentityRequest) (*identityAnswer, error) {
	if p.User == "" {
		return nil, domain.ErrNoSession
	}
	a, _, err := s.openCode(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	u, err := s.Commands.LinkIdentity(ctx, commands.LinkIdentity{Request: in.request, Identity: a.Identity})
	answer := &identityAnswer{}
	answer.Body.Identities = orEmpty(u.Identities)
	return answer, err
}

func (s *server) documentExchangeCode() description {
	return description{summary: "Begin a session by a log-in at a provider", security: openToAll, status: http.StatusCreated,
		details: "A code is good once, for a minute, and for the page that began the log-in. The first log-in makes a user. Each gives the role of the provider's groups.",
		body:    &huma.RequestBody{Content: s.jsonAnswer(ssoCode{})}, answer: s.jsonAnswer(SessionToken{}), refusals: []int{http.StatusConflict, http.StatusForbidden, http.StatusNotFound}}
}
