package sso

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/aead"
)

// A liar is a provider that says what a test makes it say.
type liar struct {
	*httptest.Server
	key      *ecdsa.PrivateKey
	claims   map[string]any // of the next id token, beside those that are right
	token    func(right string) string
	document map[string]any // that differs from the right one
}

func newLiar(t *testing.T) *liar {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{key: key, token: func(right string) string { return right }}
	mux := http.NewServeMux()
	l.Server = httptest.NewServer(mux)
	t.Cleanup(l.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		d := map[string]any{"issuer": l.URL, "authorization_endpoint": l.URL + "/authorize", "token_endpoint": l.URL + "/token", "jwks_uri": l.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"}}
		for name, value := range l.document {
			d[name] = value
		}
		_ = json.NewEncoder(w).Encode(d)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		c := map[string]any{"iss": l.URL, "sub": "ada", "aud": "keytrail", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nonce": r.FormValue("code"), "email": "ada@example.com", "groups": []string{"staff"}}
		for name, value := range l.claims {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": l.token(signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, c))})
	})
	return l
}

func signed(t *testing.T, key jose.SigningKey, claims any) string {
	s, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claimsOf(token string) (c map[string]any) {
	payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	_ = json.Unmarshal(payload, &c)
	return c
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// logIn is a whole log-in at l; more are parameters of the way back.
func logIn(t *testing.T, l *liar, more url.Values) (Assertion, error) {
	t.Helper()
	p := New(Options{PublicURL: "https://keys.example.com", HTTP: http.DefaultClient, Key: aead.NewKey()})
	c := &Client{SSO: domain.SSO{Org: domain.NewOrgID("acme"), SSODefinition: domain.SSODefinition{Issuer: l.URL, ClientID: "keytrail", GroupRoles: []domain.GroupRole{{Group: "staff", Role: "member"}}, ReturnURLs: []string{"https://app.example.com/?a=b"}}}, Secret: "hunter2hunter2", Revision: 7}
	location, browser, err := p.Begin(t.Context(), c, Begin{ReturnTo: c.ReturnURLs[0], Challenge: challengeOf(verifier)})
	if err != nil {
		return Assertion{}, err
	}
	to, _ := url.Parse(location)
	q := url.Values{"state": {to.Query().Get("state")}, "code": {to.Query().Get("nonce")}}
	for name, values := range more {
		q[name] = values
	}
	back, err := p.Return(c.Org, browser, q)
	if err != nil {
		return Assertion{}, err
	}
	location, cause := p.Finish(t.Context(), c, &back)
	if cause != nil {
		return Assertion{}, cause
	}
	if !strings.HasPrefix(location, c.ReturnURLs[0]+"&code=") {
		t.Errorf("it ends at %s", location)
	}
	to, _ = url.Parse(location)
	return p.Open(to.Query().Get("code"), verifier)
}

func TestALogIn(t *testing.T) {
	a, err := logIn(t, newLiar(t), nil)
	if err != nil || a.Identity.Subject != "ada" || a.Role != "member" || a.Email != "ada@example.com" {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestWhatAProviderMayNotSay: each breaks a rule of OpenID Connect Core, section 3.1.3.7, or of RFC 9207.
func TestWhatAProviderMayNotSay(t *testing.T) {
	soon := time.Now().Add(time.Hour).Unix()
	for name, claims := range map[string]map[string]any{
		"another nonce":             {"nonce": "x"},
		"no nonce":                  {"nonce": nil},
		"another issuer":            {"iss": "https://accounts.google.com"},
		"another client":            {"aud": "other"},
		"several clients":           {"aud": []string{"keytrail", "other"}},
		"another party":             {"azp": "other"},
		"expired":                   {"exp": time.Now().Add(-2 * time.Minute).Unix()},
		"of the future":             {"iat": soon},
		"not yet":                   {"nbf": soon},
		"no subject":                {"sub": nil},
		"a long subject":            {"sub": strings.Repeat("a", 256)},
		"a line break in a subject": {"sub": "a\nb"},
		"of another access token":   {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
	} {
		l := newLiar(t)
		l.claims = claims
		if _, err := logIn(t, l, nil); !errors.Is(err, domain.ErrSSORejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, forge := range map[string]func(string) string{
		"none": func(right string) string {
			return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(right, ".")[1] + "."
		},
		"HS256 with the client secret": func(right string) string {
			return signed(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte("hunter2hunter2hunter2hunter2hunter2")}, claimsOf(right))
		},
		"another key": func(right string) string {
			other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			return signed(t, jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: other, KeyID: "k"}}, claimsOf(right))
		},
		"no token": func(string) string { return "" },
	} {
		l := newLiar(t)
		l.token = forge
		if _, err := logIn(t, l, nil); !errors.Is(err, domain.ErrSSORejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := newLiar(t)
	if _, err := logIn(t, l, url.Values{"iss": {"https://other.example"}}); !errors.Is(err, domain.ErrSSORejected) {
		t.Errorf("an answer of another issuer: %v", err)
	}
	if _, err := logIn(t, l, url.Values{"error": {"access_denied"}}); !errors.Is(err, domain.ErrSSODenied) {
		t.Errorf("an error: %v", err)
	}
	l = newLiar(t)
	l.document = map[string]any{"authorization_response_iss_parameter_supported": true}
	if _, err := logIn(t, l, nil); !errors.Is(err, domain.ErrSSORejected) {
		t.Errorf("an answer that names no issuer: %v", err)
	}
}

// TestDocumentsThatAreNotTaken are those of another issuer, or with endpoints that are no web address.
func TestDocumentsThatAreNotTaken(t *testing.T) {
	for name, document := range map[string]map[string]any{
		"another issuer": {"issuer": "https://other.example"}, "a script": {"authorization_endpoint": "javascript:alert(1)"}, "a file": {"jwks_uri": "file:///etc/passwd"}, "none": {"token_endpoint": ""},
	} {
		l := newLiar(t)
		l.document = document
		if _, err := logIn(t, l, nil); !errors.Is(err, domain.ErrSSOUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
