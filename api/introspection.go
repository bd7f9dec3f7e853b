package api

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// introspection is what RFC 7662 lets a resource server know of a token; here of a key, or of a token that
// was derived from one. Of what is not active it says nothing else.
type introspection struct {
	Active    bool          `json:"active"`
	Scope     string        `json:"scope,omitempty" doc:"Separated by spaces."`
	ClientID  domain.KeyID  `json:"client_id,omitempty" doc:"The key's id."`
	TokenType string        `json:"token_type,omitempty" doc:"Bearer"`
	Expiry    int64         `json:"exp,omitempty" doc:"In seconds since the Unix epoch; left out: never."`
	IssuedAt  int64         `json:"iat,omitempty"`
	Subject   string        `json:"sub,omitempty" doc:"The key's owner, or the session's user."`
	Username  string        `json:"username,omitempty" doc:"Of a session: the user's e-mail address."`
	Audience  string        `json:"aud,omitempty" doc:"Of a derived token."`
	Issuer    string        `json:"iss,omitempty"`
	ID        string        `json:"jti,omitempty" doc:"Of a derived token; or the session's id."`
	Org       *domain.OrgID `json:"org_id,omitempty"`
	Keyspace  string        `json:"keyspace,omitempty"`
}

const introspectRoute = "POST /v1/introspect"

// introspect answers POST /v1/introspect. It is a verification, recorded as one.
func (s *server) introspect(w http.ResponseWriter, r *http.Request) error {
	auth, err := s.authRequest(r, verifyScope)
	if err != nil {
		return err
	}
	caller, err := s.Verifier.AuthenticateVerifier(r.Context(), auth)
	if err != nil {
		s.Commands.RecordRefusal(caller.Principal, introspectRoute, verifyScope, err)
		return err
	}
	logCaller(w, caller.Principal)
	secret, err := introspected(w, r)
	if err != nil {
		return err
	}
	var a verify.Answer
	if err := s.Verifier.Verify(r.Context(), &verify.Request{Secret: secret, By: caller.Principal, RequestID: requestID(r.Context())}, &a); err != nil {
		return err
	}
	w.(*responseRecorder).access.verified(&a)
	if err := s.Verifier.Recheck(&caller); err != nil {
		return err
	}
	var shown introspection
	if a.Outcome == domain.UseValid {
		shown, err = s.showActive(&a)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, shown)
	return nil
}

// introspected is the parameter token of the form in the body. Others, of which there is token_type_hint,
// say nothing that matters.
func introspected(w http.ResponseWriter, r *http.Request) (secret string, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return "", newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body with Content-Type: application/x-www-form-urlencoded")
	}
	err = readBody(w, domain.ErrVerificationTooLarge, func() error {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxVerifyBody))
		if err != nil {
			return err
		}
		form, err := url.ParseQuery(string(text))
		if err != nil || len(form["token"]) != 1 {
			return domain.InvalidField("token", "is required, once, in a form")
		}
		secret = form["token"][0]
		return nil
	})
	return secret, err
}

func (s *server) showActive(a *verify.Answer) (introspection, error) {
	c := &a.Credential
	shown := introspection{Active: true, Scope: strings.Join(c.Scopes, " "), ClientID: c.Key, TokenType: "Bearer", Expiry: c.ExpiresAt / 1000, Subject: c.Owner, Org: &c.Org, Keyspace: c.Keyspace}
	if s.Tokens != nil {
		shown.Issuer = s.Tokens.Name()
	}
	if c.Session != "" {
		shown.ClientID, shown.ID, shown.IssuedAt, shown.Username = "", string(c.Session), c.CreatedAt.Unix(), c.Name
		if c.Org == "" {
			shown.Org = nil
		}
		return shown, nil
	}
	if t, derived := a.Token(); derived {
		shown.Audience, shown.ID, shown.IssuedAt = t.Audience, t.ID, t.IssuedAt
		return shown, nil
	}
	k, err := s.Store.KeyState(domain.Only(c.Org), c.Key)
	shown.IssuedAt = k.CreatedAt.Unix()
	return shown, err
}

func (s *server) documentIntrospect() description {
	form := &huma.Schema{Type: "object", Required: []string{"token"}, Properties: map[string]*huma.Schema{"token": textSchema(), "token_type_hint": textSchema()}}
	return description{summary: "Introspect a presented key or token (RFC 7662)", security: withKey, refusals: []int{http.StatusUnsupportedMediaType},
		details: "For resource servers that speak OAuth 2.0. It is a verification, recorded as one. Whatever is not valid is {\"active\":false} and nothing else.",
		body:    &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: form}}}, answer: s.jsonAnswer(introspection{})}
}
