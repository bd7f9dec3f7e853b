package sso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/aead"
)

// Options of a relying party.
type Options struct {
	PublicURL string       // of this service, as browsers reach it
	HTTP      *http.Client // that providers are asked with
	Key       aead.Key     // seals states and codes; all processes have the same
	Now       func() time.Time
}

// A Party is a relying party. It is safe for concurrent use.
type Party struct {
	url       string
	key       aead.Key
	now       func() time.Time
	http      *http.Client
	providers *providers
}

// New makes a relying party.
func New(o Options) *Party {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Party{url: strings.TrimSuffix(o.PublicURL, "/"), key: o.Key, now: o.Now, http: o.HTTP, providers: newProviders(o.HTTP, o.Now)}
}

// Close closes the connections to providers that are idle.
func (p *Party) Close() { p.http.CloseIdleConnections() }

// A Client is an organization's single sign-on, as a log-in needs it.
type Client struct {
	domain.SSO
	Secret   string
	Revision uint64
}

// RedirectURI is where an organization's provider sends browsers back to. Each organization has its
// own, so that no provider gets the code of another (mix-up, RFC 9700, section 4.4.2.2).
func (p *Party) RedirectURI(org domain.OrgID) string {
	return p.url + "/v1/sso/" + string(org) + "/callback"
}

// Secure reports whether browsers reach the service over TLS.
func (p *Party) Secure() bool { return strings.HasPrefix(p.url, "https:") }

// A Begin is a browser that is to log in.
type Begin struct {
	ReturnTo  string // one of the return URLs, to the letter
	Challenge string // of PKCE, by the method S256, of the product's page
	Browser   string // the text that was given to it before; "": none
}

// Begin gives where to send the browser, and the text that it is to send with its way back.
func (p *Party) Begin(ctx context.Context, c *Client, b Begin) (location, browser string, err error) {
	at := slices.Index(c.ReturnURLs, b.ReturnTo)
	switch {
	case at < 0:
		return "", "", domain.InvalidField("return_to", "must be one of the return_urls of the organization's single sign-on, to the letter")
	case !isRandom(b.Challenge):
		return "", "", domain.InvalidField("code_challenge", "must be the SHA-256 of the code_verifier in base64url without padding (RFC 7636, S256)")
	}
	found, err := p.providers.find(ctx, c.Issuer)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", domain.ErrSSOUnavailable, err)
	}
	if browser = b.Browser; !isRandom(browser) {
		browser = random()
	}
	s := state{Revision: c.Revision, ReturnURL: at, Nonce: random(), Verifier: random(), Challenge: b.Challenge, Expires: p.now().Add(StateTTL)}
	sealed := p.seal("state", string(c.Org)+" "+browser, s)
	return p.oauth(c, found).AuthCodeURL(sealed, oauth2.SetAuthURLParam("nonce", s.Nonce), oauth2.S256ChallengeOption(s.Verifier)), browser, nil
}

// oauth is the client as the library has it.
func (p *Party) oauth(c *Client, at *provider) *oauth2.Config {
	scopes := []string{"openid"}
	for _, s := range c.Scopes {
		if s != "openid" {
			scopes = append(scopes, s)
		}
	}
	if len(c.Scopes) == 0 {
		scopes = append(scopes, "email", "profile")
	}
	style := at.authStyle()
	if c.Secret == "" {
		style = oauth2.AuthStyleInParams // a public client names itself
	}
	return &oauth2.Config{ClientID: c.ClientID, ClientSecret: c.Secret, RedirectURL: p.RedirectURI(c.Org), Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: at.Authorize, TokenURL: at.Token, AuthStyle: style}}
}

// A Return is a browser that has come back from its organization's provider.
type Return struct {
	state state
	Query url.Values
}

// Revision is that of the organization's single sign-on when the browser was sent away.
func (r *Return) Revision() uint64 { return r.state.Revision }

// Return recognizes a browser that was sent to an organization's provider, by the text that Begin gave
// it; domain.ErrSSOState of any other.
func (p *Party) Return(org domain.OrgID, browser string, q url.Values) (r Return, err error) {
	if !isRandom(browser) || !p.open("state", string(org)+" "+browser, q.Get("state"), &r.state) || !p.now().Before(r.state.Expires) {
		return r, domain.ErrSSOState
	}
	r.Query = q
	return r, nil
}

// Finish gives where to send a browser that has come back: to the product, with a code, or with what
// went wrong, of which cause is what the log may have.
func (p *Party) Finish(ctx context.Context, c *Client, r *Return) (location string, cause error) {
	returnTo := c.ReturnURLs[r.state.ReturnURL]
	a, err := p.assertion(ctx, c, &r.state, r.Query)
	if err != nil {
		return withParameters(returnTo, refused(err)), err
	}
	return withParameters(returnTo, url.Values{"code": {p.seal("code", r.state.Challenge, a)}}), nil
}

// refused are the parameters by which the product learns of a refusal, named as in RFC 6749.
func refused(err error) url.Values {
	e := domain.ErrInternal
	errors.As(err, &e)
	return url.Values{"error": {e.Code}, "error_description": {e.Text}}
}

// withParameters adds some to a URL that may have some.
func withParameters(address string, more url.Values) string {
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + more.Encode()
}

// assertion exchanges the provider's code and checks what comes for it.
func (p *Party) assertion(ctx context.Context, c *Client, s *state, q url.Values) (a Assertion, err error) {
	found, err := p.providers.find(ctx, c.Issuer)
	if err != nil {
		return a, fmt.Errorf("%w: %w", domain.ErrSSOUnavailable, err)
	}
	// 1. The answer is this provider's (RFC 9207), and it lets the person in.
	if iss := q.Get("iss"); iss != c.Issuer && (iss != "" || found.NamesIssuer) {
		return a, fmt.Errorf("%w: the answer names another issuer", domain.ErrSSORejected)
	}
	if q.Get("error") != "" {
		return a, fmt.Errorf("%w: %.100q", domain.ErrSSODenied, q.Get("error"))
	}
	// 2. Its code gives tokens, with the verifier of the browser's log-in.
	tokens, err := p.exchange(ctx, c, found, s, q.Get("code"))
	if err != nil {
		return a, err
	}
	// 3. The id token is the provider's, for this client and this log-in.
	claims, err := p.check(ctx, c, found, s, tokens)
	if err != nil {
		return a, fmt.Errorf("%w: %w", domain.ErrSSORejected, err)
	}
	return p.assert(c, claims), nil
}

// exchange asks the token endpoint.
func (p *Party) exchange(ctx context.Context, c *Client, at *provider, s *state, code string) (*oauth2.Token, error) {
	if code == "" {
		return nil, fmt.Errorf("%w: the answer has no code", domain.ErrSSORejected)
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, p.http), fetchTimeout)
	defer cancel()
	tokens, err := p.oauth(c, at).Exchange(ctx, code, oauth2.VerifierOption(s.Verifier))
	var answered *oauth2.RetrieveError
	switch {
	case errors.As(err, &answered) && answered.Response.StatusCode < 500: // its text has the answer's body
		return nil, fmt.Errorf("%w: the token endpoint answered %d %.100q", domain.ErrSSORejected, answered.Response.StatusCode, answered.ErrorCode)
	case errors.As(err, &answered):
		return nil, fmt.Errorf("%w: the token endpoint answered %d", domain.ErrSSOUnavailable, answered.Response.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("%w: token endpoint: %w", domain.ErrSSOUnavailable, withoutURL(err))
	}
	return tokens, nil
}

// Open reads a code of the page that knows the verifier; domain.ErrSSOCode. A code is good once,
// which the caller sees to.
func (p *Party) Open(code, verifier string) (a Assertion, err error) {
	if !p.open("code", challengeOf(verifier), code, &a) || !p.now().Before(a.Expires) {
		return Assertion{}, domain.ErrSSOCode
	}
	return a, nil
}
