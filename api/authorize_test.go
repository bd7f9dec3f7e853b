package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A query that does not parse is refused wherever it is ours: what it asked for must not
// be left out in silence.
func TestMalformedQueriesAreRefused(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n","scopes":["a:read"]}`)
	for _, query := range []string{"scope=admin:write%", "scope=a:read;scope=admin:write", "org_id=" + org + "%", "%zz", ";"} {
		for _, path := range []string{"/v1/authorize/default", "/v1/keys", "/v1/keys/" + id, "/v1/events", "/v1/organizations", "/v1/principal", "/openapi.json", "/readyz"} {
			key := s.root
			if strings.HasPrefix(path, "/v1/authorize") {
				key = secret
			}
			if status, _, text := s.raw(key, "GET", path+"?"+query); status != "400 Bad Request" {
				t.Errorf("GET %s?%s: %s %s", path, query, status, text)
			}
		}
	}
	if status, _, _ := s.do(s.root, "POST", "/v1/verify?scopes=admin:write", `{"key":"`+secret+`"}`); status != 400 {
		t.Errorf("a verification that asks in the query: %d", status)
	}
}

// raw sends a request whose target no client would write so, and gives its answer's status.
func (s *service) raw(key, method, target string, headers ...string) (status string, header http.Header, text string) {
	s.t.Helper()
	return s.rawFrom("127.0.0.1", key, method, target, headers...)
}

// rawFrom is raw from an address of this machine.
func (s *service) rawFrom(from, key, method, target string, headers ...string) (status string, header http.Header, text string) {
	s.t.Helper()
	c := s.dial(from)
	defer c.Close()
	if key != "" {
		headers = append([]string{"Authorization: Bearer " + key}, headers...)
	}
	if err := c.send("%s %s HTTP/1.1\nHost: x\nConnection: close\n%s\n", method, target, strings.Join(append(headers, ""), "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	a, err := http.ReadResponse(c.Reader, &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	var b strings.Builder
	if method != "HEAD" {
		if _, err := c.Reader.WriteTo(&b); err != nil {
			s.t.Fatal(err)
		}
	}
	return a.Status, a.Header, b.String()
}

// Below the keyspace, path and query are the client's: whatever they are, the key decides.
func TestBelowTheKeyspaceEverythingIsTheClients(t *testing.T) {
	s := start(t)
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n","scopes":["a:read"]}`)
	for _, rest := range []string{"/", "//", "/api//x", "/a/../b", "/../../../livez", "/./", "/%2e%2e/%2F..%2f", "/%00", "/x?page=2", "/?scope=admin:write", "/?%zz", "/?a;b",
		"/?refuse=500", "?scope=a:read", "/v1/keys", "/" + strings.Repeat("x", 4000)} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "DELETE", "PURGE", "TRACE"} {
			if status, header, text := s.raw(secret, method, "/v1/authorize/default"+rest); status != "200 OK" || header.Get("X-Keytrail-Key-Id") == "" {
				t.Errorf("%s %s: %s %s", method, rest, status, text)
			}
			if status, _, _ := s.raw("kt_live_none", method, "/v1/authorize/default"+rest); status != "401 Unauthorized" {
				t.Errorf("%s %s with an unknown key: %s", method, rest, status)
			}
		}
	}
	for _, path := range []string{"/v1/authorize/", "/v1/authorize", "/v1/authorize//default", "/v1/authorize/default%2fx", "/v1/authorize/../default/", "/v1/authorize/keytrail/x", "/v1//authorize/default", "//v1/authorize/default", "/v1%2fauthorize/default"} {
		if status, _, text := s.raw(secret, "GET", path); status != "404 Not Found" || !strings.Contains(text, `"code"`) {
			t.Errorf("%s: %s %s", path, status, text)
		}
	}
}

// All scopes are needed that any header or the query asks for: a client that adds a header
// of its own asks for more, never for less.
func TestAGatewayAsksInHeaders(t *testing.T) {
	s := start(t)
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n","scopes":["a:read","b:read"]}`)
	for _, c := range []struct {
		path    string
		headers []string
		status  string
	}{
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: a:read"}, "200"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: a:read b:read"}, "200"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: a:read,b:read ,"}, "200"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope:"}, "200"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: c:read"}, "403"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: a:read,c:read"}, "403"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: c:read", "X-Keytrail-Scope: a:read"}, "403"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: a:read", "x-keytrail-scope: c:read"}, "403"},
		{"/v1/authorize/default?scope=a:read", []string{"X-Keytrail-Scope: c:read"}, "403"},
		{"/v1/authorize/default?scope=c:read", []string{"X-Keytrail-Scope: a:read"}, "403"},
		{"/v1/authorize/default?scope=a:read&scope=b:read", []string{"X-Keytrail-Scope: a:read"}, "200"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: nonsense"}, "400"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Scope: nonsense", "X-Keytrail-Refuse: 403"}, "403"},
		{"/v1/authorize/default?refuse=403&scope=nonsense", nil, "403"},
		{"/v1/authorize/default?refuse=200", nil, "400"},
		{"/v1/authorize/default?refuse=403&refuse=403", nil, "400"},
		{"/v1/authorize/default/x", []string{"X-Keytrail-Refuse: 200"}, "400"},
	} {
		if status, _, text := s.raw(secret, "GET", c.path, c.headers...); status[:3] != c.status {
			t.Errorf("%s %q: %s %s, want %s", c.path, c.headers, status, text, c.status)
		}
	}
}

// nginx passes on 401 and 403 alone; the outcome says what the refusal is about.
func TestAGatewayMayAskFor403(t *testing.T) {
	s := start(t)
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n","rate_limits":[{"limit":1,"window":"720h"}]}`)
	s.do(secret, "GET", "/v1/authorize/default", "")
	for _, c := range []struct {
		path, status string
		headers      []string
	}{
		{"/v1/authorize/default", "429", nil}, {"/v1/authorize/default?refuse=403", "403", nil},
		{"/v1/authorize/default/x", "429", nil}, {"/v1/authorize/default/x", "403", []string{"X-Keytrail-Refuse: 403"}},
	} {
		status, header, text := s.raw(secret, "GET", c.path, c.headers...)
		if status[:3] != c.status || header.Get("X-Keytrail-Outcome") != "RATE_LIMITED" || header.Get("Retry-After") == "" || !strings.Contains(text, `"rate_limited"`) {
			t.Errorf("%s: %s %v %s", c.path, status, header, text)
		}
	}
}

// Two owners never look alike in the header, and decoding it gives the owner.
func TestOwnersAreToldApartInTheHeader(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	seen := map[string]string{}
	for i, owner := range []string{"", "u1", "us?r", "usér", "иван", "пётр", "a b", "a+b", "a%20b", "a,b", "a;b", `a"b`, "a\u00a0b", "user@example.com", "%", "x=y&z"} {
		_, secret := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"n%d","owner":%q}`, org, i, owner))
		_, header, _ := s.do(secret, "GET", "/v1/authorize/default", "")
		got := header["X-Keytrail-Owner"]
		if len(got) != 1 {
			t.Fatalf("%q: %q", owner, header)
		}
		if other, dup := seen[got[0]]; dup {
			t.Errorf("%q and %q are both %q", owner, other, got[0])
		}
		seen[got[0]] = owner
		if back, err := url.PathUnescape(got[0]); err != nil || back != owner || strings.ContainsAny(got[0], " ,;\"") {
			t.Errorf("%q is %q", owner, got[0])
		}
	}
}

// The router's own answers are problems, too, and it redirects nobody.
func TestEveryRefusalIsAProblem(t *testing.T) {
	s := start(t)
	for _, c := range []struct{ method, target, status string }{
		{"GET", "//v1/keys", "404"}, {"GET", "/v1/../v1/keys", "404"}, {"GET", "/v1/keys/.", "404"}, {"GET", "/v1/keys/", "404"}, {"POST", "/v1//verify", "404"},
		{"GET", "/v1/keys/%2e%2e", "404"}, {"POST", "/v1/keys/%2e%2e/revoke", "404"}, {"POST", "/v1/keys/x%2F..%2Fy/revoke", "404"}, {"POST", "/v1/projections/%2e/rebuild", "404"},
		{"DELETE", "/v1/keys", "405"}, {"GET", "/v1/verify", "405"}, {"POST", "/livez", "405"}, {"PURGE", "/docs", "405"}, {"GET", "/", "404"},
	} {
		status, header, text := s.raw(s.root, c.method, c.target)
		if status[:3] != c.status || header.Get("Content-Type") != "application/problem+json" || (c.status == "405") != (header.Get("Allow") != "") {
			t.Errorf("%s %s: %s %v %s", c.method, c.target, status, header, text)
		}
	}
}

// A key as user name of basic authentication is taken if it is the request's only one.
func TestAGatewayTakesABasicKeyThatIsTheOnlyOne(t *testing.T) {
	s := start(t)
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(secret+":"))
	for _, c := range []struct {
		status  string
		headers []string
	}{
		{"200", []string{basic}}, {"200", []string{basic, "X-API-Key:"}}, {"200", []string{basic, "X-API-Key: " + secret}},
		{"400", []string{basic, "X-API-Key: another"}}, {"400", []string{basic, "X-API-Key:", "X-API-Key: another"}}, {"400", []string{basic, basic}},
	} {
		if status, _, text := s.raw("", "GET", "/v1/authorize/default", c.headers...); status[:3] != c.status {
			t.Errorf("%q: %s %s, want %s", c.headers, status, text, c.status)
		}
	}
}

// A client's body is not looked at, and what follows it on the connection is the next request.
func TestABodyIsNotPartOfTheQuestion(t *testing.T) {
	s := start(t)
	_, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	const next = "GET /v1/authorize/default HTTP/1.1\nHost: x\n\n" // without a key
	for name, c := range map[string]struct{ body, first, second string }{
		"with its length":    {"Content-Length: 5\n\nhello" + next, "200 OK", "401 Unauthorized"},
		"that looks like it": {"Content-Length: 47\n\n" + next + next, "200 OK", "401 Unauthorized"},
		"chunked":            {"Transfer-Encoding: chunked\n\n5\nhello\n0\n\n" + next, "200 OK", "401 Unauthorized"},
		"of two lengths":     {"Content-Length: 5\nContent-Length: 6\n\nhello" + next, "400 Bad Request", ""},
		"chunked in no way":  {"Transfer-Encoding: gzip\n\n" + next, "501 Not Implemented", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := s.in(t).dial("127.0.0.1")
			if err := client.send("POST /v1/authorize/default/x HTTP/1.1\nHost: x\nAuthorization: Bearer %s\n"+c.body, secret); err != nil {
				t.Fatal(err)
			}
			if got := client.status(t); got != c.first {
				t.Fatalf("the first is %s, want %s", got, c.first)
			}
			if c.second == "" {
				return
			}
			if got := client.status(t); got != c.second {
				t.Errorf("the second is %s, want %s", got, c.second)
			}
		})
	}
}
