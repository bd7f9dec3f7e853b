package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/sso"
)

// How many log-ins wait for providers at once. A provider, which a tenant names, may let them wait
// for seconds, and each holds a slot in flight for as long.
const (
	maxSSO       = 128
	maxSSOPerOrg = 16
)

// browserCookie has what a browser is recognized by when it comes back from a provider. The prefix
// makes browsers take it from this host alone (RFC 6265bis), which they do over TLS.
const browserCookie = "keytrail-sso"

func (s *server) browserCookie() string {
	if s.SSO.Secure() {
		return "__Host-" + browserCookie
	}
	return browserCookie
}

// beginSSO sends a browser to the provider of its organization.
func (s *server) beginSSO(w http.ResponseWriter, r *http.Request) error {
	q, err := parseParameters(r, nil, "return_to", "code_challenge", "code_challenge_method")
	if err != nil {
		return err
	}
	if q.Has("code_challenge_method") && q.Get("code_challenge_method") != "S256" {
		return domain.InvalidField("code_challenge_method", "must be S256")
	}
	org, release, err := s.acquireSSO(r)
	if err != nil {
		return err
	}
	defer release()
	client, err := s.ssoClient(org)
	if err != nil {
		return err
	}
	before := ""
	if c, err := r.Cookie(s.browserCookie()); err == nil {
		before = c.Value
	}
	location, browser, err := s.SSO.Begin(r.Context(), client, sso.Begin{ReturnTo: q.Get("return_to"), Challenge: q.Get("code_challenge"), Browser: before})
	if err != nil {
		return err
	}
	// Lax: it is sent when the provider sends the browser back, and with no request of another site's page.
	http.SetCookie(w, &http.Cookie{Name: s.browserCookie(), Value: browser, Path: "/", MaxAge: int(sso.StateTTL.Seconds()), HttpOnly: true, Secure: s.SSO.Secure(), SameSite: http.SameSiteLaxMode})
	sendOn(w, location)
	return nil
}

// finishSSO takes a browser that its provider has sent back.
func (s *server) finishSSO(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err == nil {
		err = onceEach(q)
	}
	if err != nil {
		return err
	}
	org, release, err := s.acquireSSO(r)
	if err != nil {
		return err
	}
	defer release()
	browser, err := r.Cookie(s.browserCookie())
	if err != nil {
		return domain.ErrSSOState
	}
	back, err := s.SSO.Return(org, browser.Value, q)
	if err != nil {
		return err
	}
	client, err := s.ssoClientAt(r.Context(), org, back.Revision(), domain.ErrSSOState)
	if err != nil {
		return err
	}
	location, cause := s.SSO.Finish(r.Context(), client, &back)
	if cause != nil {
		s.Logger.WarnContext(r.Context(), "log-in by single sign-on refused", "request_id", requestID(r.Context()), "org", org, "err", cause)
	}
	sendOn(w, location)
	return nil
}

// acquireSSO takes a slot for a log-in in the organization that a path names.
func (s *server) acquireSSO(r *http.Request) (org domain.OrgID, release func(), err error) {
	if s.SSO == nil {
		return "", nil, domain.ErrNoPublicURL
	}
	if org, err = domain.ParseOrgID(r.PathValue("org")); err != nil {
		return "", nil, domain.ErrSSONotFound
	}
	release, err = s.admission.acquireFor(r.Context(), &s.admission.sso, org)
	return org, release, err
}

// ssoClient is what a log-in needs of an organization's single sign-on.
func (s *server) ssoClient(org domain.OrgID) (*sso.Client, error) {
	found, err := s.Store.SSO(org)
	if err != nil {
		return nil, err
	}
	secret, err := s.Commands.OpenClientSecret(&found.SSO)
	return &sso.Client{SSO: found.SSO, Secret: secret, Revision: uint64(found.Revision)}, err
}

// ssoClientAt is ssoClient at a revision, which another node may have made just now; another is refused.
func (s *server) ssoClientAt(ctx context.Context, org domain.OrgID, revision uint64, another error) (*sso.Client, error) {
	if err := s.waitFor(ctx, eventstore.Position(revision)); err != nil {
		return nil, err
	}
	client, err := s.ssoClient(org)
	if err == nil && client.Revision != revision {
		err = another
	}
	return client, err
}

// sendOn redirects a browser without telling the address that it comes from, which has a state or a
// code. It is no http.Redirect, which would make HTML of a URL that others have a say in.
func sendOn(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Location", location)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
}

// onceEach refuses a parameter that is there twice: which of them counts, others might see otherwise.
func onceEach(q url.Values) error {
	for name, values := range q {
		if len(values) > 1 {
			return errRepeated(name)
		}
	}
	return nil
}

func documentBeginSSO() description {
	return description{summary: "Send a browser to the provider of its organization", security: openToAll, status: http.StatusFound,
		details: "A page of the product sends its browser here. The browser comes back to return_to with code, which POST /v1/sessions/sso exchanges for a session within a minute, or with error and error_description.",
		parameters: []*huma.Param{
			{Name: "return_to", In: "query", Required: true, Description: "One of the return_urls of the organization's single sign-on, to the letter.", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "code_challenge", In: "query", Required: true, Description: "The SHA-256 of a random code_verifier, which the page keeps, in base64url without padding (RFC 7636).", Schema: &huma.Schema{Type: huma.TypeString}},
			{Name: "code_challenge_method", In: "query", Description: "S256", Schema: &huma.Schema{Type: huma.TypeString}},
		},
		headers: map[string]string{"Location": "Of the provider.", "Set-Cookie": "By which the browser is recognized when it comes back."}, refusals: []int{http.StatusNotFound}}
}

func documentFinishSSO() description {
	return description{summary: "Take a browser that a provider has sent back", security: openToAll, status: http.StatusFound,
		details: "Of the provider alone. The redirect URI that is registered there.",
		headers: map[string]string{"Location": "A return URL, with code, or with error and error_description."}, refusals: []int{http.StatusNotFound}}
}
