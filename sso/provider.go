package sso

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

// Bounds of what is kept of providers.
const (
	// freshFor is how long a discovery document and keys are good: a key that a provider has withdrawn
	// is trusted for that long at most.
	freshFor = 10 * time.Minute
	// failedFor is how long a provider that failed is not asked again, and its keys are not read again
	// because of a token that none of them signed.
	failedFor = 10 * time.Second
	// fetchTimeout is for a document.
	fetchTimeout = 10 * time.Second
	// maxKeys of a provider are kept, and tried on a token that names none. Providers have two to five.
	maxKeys = 16
	// maxKept bounds what is kept of all providers, in keys of at most a kilobyte each, and documents:
	// 10,000 providers as they usually are, or some 64 MiB of them as they are made to be.
	maxKept = 64 << 10
)

// algorithms are those that can sign an id token: by a private key that the provider alone has. With
// HS256 every holder of the client secret could, with none everyone.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// metadata is what is used of a discovery document (OpenID Connect Discovery 1.0, section 3).
type metadata struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	UserInfo    string   `json:"userinfo_endpoint"`
	Keys        string   `json:"jwks_uri"`
	Algorithms  []string `json:"id_token_signing_alg_values_supported"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// A provider is what is known of an OpenID provider. It does not change.
type provider struct {
	metadata
	keys []jose.JSONWebKey
}

// authStyle is how the client's secret is sent to the token endpoint. It is not tried out: a code that
// came once with a secret in the wrong place is used up.
func (p *provider) authStyle() oauth2.AuthStyle {
	if len(p.AuthMethods) > 0 && !slices.Contains(p.AuthMethods, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// find is a key that can have signed a token.
func (p *provider) find(h jose.Header) (found []jose.JSONWebKey) {
	for _, k := range p.keys {
		if (h.KeyID == "" || k.KeyID == h.KeyID) && (k.Algorithm == "" || k.Algorithm == h.Algorithm) {
			found = append(found, k)
		}
	}
	return found
}

// providers are those that were asked lately. What is known of one is the same for all organizations
// that name its issuer: it comes from there. Concurrent use is safe.
type providers struct {
	http  *http.Client
	now   func() time.Time
	reads singleflight.Group

	mu    sync.Mutex
	known map[string]*entry // by issuer
	cost  int               // of those, as maxKept counts
}

// An entry is a provider, or why there is none.
type entry struct {
	provider *provider
	err      error
	at       time.Time
	reread   time.Time // when it was last read though it was fresh
}

func (e *entry) cost() int {
	if e.provider == nil {
		return 1
	}
	return 1 + len(e.provider.keys)
}

func newProviders(c *http.Client, now func() time.Time) *providers {
	return &providers{http: c, now: now, known: map[string]*entry{}}
}

// find is the provider of an issuer, as it was freshFor ago at most. One that failed just now has failed.
func (p *providers) find(ctx context.Context, issuer string) (*provider, error) {
	e := p.entry(issuer)
	switch age := p.now().Sub(e.at); {
	case e.err != nil && age < failedFor:
		return nil, e.err
	case e.provider != nil && age < freshFor:
		return e.provider, nil
	}
	return p.fetch(ctx, issuer, e.reread)
}

// newer is the provider read anew, if it was last read as given. It is not asked each time: one whose
// tokens none of its keys signed would be asked for each of them.
func (p *providers) newer(ctx context.Context, issuer string, than *provider) (*provider, error) {
	e := p.entry(issuer)
	if e.provider != than && e.provider != nil || p.now().Sub(e.reread) < failedFor {
		return e.provider, e.err
	}
	return p.fetch(ctx, issuer, p.now())
}

func (p *providers) entry(issuer string) entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.known[issuer]; e != nil {
		return *e
	}
	return entry{}
}

// fetch reads a provider for all who wait for it, also if the first of them gives up.
func (p *providers) fetch(ctx context.Context, issuer string, reread time.Time) (*provider, error) {
	read := p.reads.DoChan(issuer, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		found, err := p.read(ctx, issuer)
		p.keep(issuer, &entry{found, err, p.now(), reread})
		return found, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-read:
		return r.Val.(*provider), r.Err
	}
}

// keep puts an entry in the place of another, and takes any others out for it.
func (p *providers) keep(issuer string, e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.known[issuer]; before != nil {
		p.cost -= before.cost()
	}
	p.known[issuer] = e
	p.cost += e.cost()
	for other, o := range p.known {
		if p.cost <= maxKept {
			return
		}
		if other != issuer {
			delete(p.known, other)
			p.cost -= o.cost()
		}
	}
}

// read asks a provider for its discovery document and its keys.
func (p *providers) read(ctx context.Context, issuer string) (*provider, error) {
	found := new(provider)
	if err := p.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", "", &found.metadata); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if err := found.check(issuer); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := p.get(ctx, found.Keys, "", &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	found.keys = usable(set.Keys)
	if len(found.keys) == 0 {
		return nil, errors.New("keys: none that can sign an id token")
	}
	return found, nil
}

// check refuses a document of another issuer, and one whose endpoints are less protected than it is.
func (m *metadata) check(issuer string) error {
	if m.Issuer != issuer {
		return fmt.Errorf("it is of the issuer %.200q", m.Issuer)
	}
	for name, endpoint := range map[string]string{"authorization_endpoint": m.Authorize, "token_endpoint": m.Token, "jwks_uri": m.Keys, "userinfo_endpoint": m.UserInfo} {
		if endpoint == "" && name == "userinfo_endpoint" {
			continue
		}
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(issuer, "https:")) {
			return fmt.Errorf("its %s is no URL with https", name)
		}
	}
	m.Algorithms = slices.DeleteFunc(m.Algorithms, func(a string) bool { return !slices.Contains(algorithms, a) })
	if len(m.Algorithms) == 0 {
		m.Algorithms = []string{oidc.RS256} // which every provider must have
	}
	return nil
}

// usable are the keys of a set that can sign an id token. Others are passed over, as RFC 7517 says.
func usable(set []json.RawMessage) (keys []jose.JSONWebKey) {
	for _, text := range set {
		var k jose.JSONWebKey
		if len(keys) == maxKeys {
			return keys
		}
		if json.Unmarshal(text, &k) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || slices.Contains(algorithms, k.Algorithm)) && moderate(k.Key) {
			keys = append(keys, k)
		}
	}
	return keys
}

// moderate reports whether checking a signature with a key is safe, and no work for an attacker to give.
func moderate(key any) bool {
	r, isRSA := key.(*rsa.PublicKey)
	return !isRSA || r.N.BitLen() >= 2048 && r.N.BitLen() <= 8192
}

// get reads a JSON document; token is sent as its bearer's, "": none.
func (p *providers) get(ctx context.Context, address, token string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := p.http.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", response.StatusCode)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errors.New("no such JSON document")
	}
	return nil
}

// withoutURL is an error of package http without the URL, which may have a code in it.
func withoutURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// keySet finds the keys that id tokens are checked with.
type keySet struct {
	providers *providers
	issuer    string
}

// VerifySignature checks a token with the provider's keys. If none of them signed it, they are read
// again: the provider may have a new one (OpenID Connect Core, section 10.1.1).
func (s keySet) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	token, err := jose.ParseSignedCompact(text, joseAlgorithms())
	if err != nil || len(token.Signatures) != 1 {
		return nil, errors.New("malformed")
	}
	p, err := s.providers.find(ctx, s.issuer)
	if err != nil {
		return nil, err
	}
	if payload, ok := verified(token, p); ok {
		return payload, nil
	}
	if p, err = s.providers.newer(ctx, s.issuer, p); err != nil {
		return nil, err
	}
	if payload, ok := verified(token, p); ok {
		return payload, nil
	}
	return nil, errors.New("none of the provider's keys signed it")
}

func verified(token *jose.JSONWebSignature, p *provider) ([]byte, bool) {
	for _, k := range p.find(token.Signatures[0].Header) {
		if payload, err := token.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func joseAlgorithms() (all []jose.SignatureAlgorithm) {
	for _, a := range algorithms {
		all = append(all, jose.SignatureAlgorithm(a))
	}
	return all
}
