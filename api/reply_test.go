package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// A refused is a service with a key, or a request, for each case in which a gateway refuses.
type refused struct {
	*service
	org   string
	cases map[string]func(headers ...string) (status string, header http.Header, text string)
}

// refusals sets up every case but UNAVAILABLE in a keyspace.
func refusals(t *testing.T, members string) refused {
	s := behindProxies(t)
	s.keyspace("shop", `,"requirements":[{"attribute":"plan"},{"attribute":"contract","of":"organization","reply":{"status":402,"body":"\"{{.Attribute}}\""}}]`+members)
	r := refused{s, s.org("acme"), map[string]func(...string) (string, http.Header, string){}}
	ask := func(name, secret string, headers ...string) {
		r.cases[name] = func(more ...string) (string, http.Header, string) {
			return s.raw(secret, "GET", "/v1/authorize/shop", slices.Concat([]string{"X-Request-Id: request-1"}, headers, more)...)
		}
	}
	s.must(s.root, "PATCH", "/v1/organizations/"+r.org, `{"attributes":{"contract":"signed"}}`)
	s.must(s.root, "PUT", "/v1/owners/ada/attributes?org_id="+r.org, `{"plan":"pro"}`)
	const limits = `,"rate_limits":[{"limit":10,"window":"720h"}]`
	const adas = `,"owner":"ada"` + limits
	_, good := s.key("shop", r.org, `,"scopes":["a:read"]`+adas)
	ask("VALID", good)
	ask("MISSING", "")
	ask("MALFORMED", "", "Authorization: Digest x")
	ask("NOT_FOUND", "shop_unknown")
	ask("INSUFFICIENT_SCOPE", good, "X-Keytrail-Scope: a:read b:read")
	ask("WRONG_ORGANIZATION", good, "X-Keytrail-Resource-Org-Id: "+s.org("other"))
	_, far := s.key("shop", r.org, `,"allowed_cidrs":["192.0.2.0/24"]`+adas)
	ask("IP_NOT_ALLOWED", far)
	for outcome, action := range map[string]string{"REVOKED": "revoke", "DISABLED": "disable", "EXPIRED": "rotate"} {
		id, secret := s.key("shop", r.org, adas)
		s.must(s.root, "POST", "/v1/keys/"+id+"/"+action, "")
		ask(outcome, secret)
	}
	_, spent := s.key("shop", r.org, `,"owner":"ada","rate_limits":[{"limit":1,"window":"720h"},{"limit":1,"window":"24h"},{"limit":5,"window":"1h"}]`)
	s.raw(spent, "GET", "/v1/authorize/shop")
	ask("RATE_LIMITED", spent)
	_, poor := s.key("shop", r.org, `,"owner":"bob"`+limits)
	ask("REQUIREMENT_UNMET", poor)
	suspended := s.org("suspended")
	_, unpaid := s.key("shop", suspended, adas)
	s.must(s.root, "POST", "/v1/organizations/"+suspended+"/suspend", "")
	ask("ORG_SUSPENDED", unpaid)
	return r
}

// Without replies of the keyspace the service tells the client no more than it must, and how to
// authenticate as RFC 6750 and RFC 9110 say.
func TestTheServicesOwnReplies(t *testing.T) {
	r := refusals(t, "")
	for outcome, want := range map[string]struct{ status, code, challenge string }{
		"MISSING":            {"401", "missing_credentials", `Bearer realm="shop"`},
		"MALFORMED":          {"400", "malformed_credentials", ""},
		"NOT_FOUND":          {"401", "invalid_credentials", `Bearer realm="shop", error="invalid_token"`},
		"REVOKED":            {"401", "invalid_credentials", `Bearer realm="shop", error="invalid_token"`},
		"EXPIRED":            {"401", "invalid_credentials", `Bearer realm="shop", error="invalid_token"`},
		"DISABLED":           {"401", "invalid_credentials", `Bearer realm="shop", error="invalid_token"`},
		"INSUFFICIENT_SCOPE": {"403", "insufficient_scope", `Bearer realm="shop", error="insufficient_scope", scope="a:read b:read"`},
		"WRONG_ORGANIZATION": {"403", "wrong_organization", ""},
		"IP_NOT_ALLOWED":     {"403", "ip_not_allowed", ""},
		"REQUIREMENT_UNMET":  {"403", "requirement_unmet", ""},
		"ORG_SUSPENDED":      {"403", "org_suspended", ""},
		"RATE_LIMITED":       {"429", "rate_limited", ""},
	} {
		status, header, text := r.cases[outcome]()
		var problem struct {
			Code   string
			Status int
		}
		if err := json.Unmarshal([]byte(text), &problem); err != nil || status[:3] != want.status || strconv.Itoa(problem.Status) != want.status || problem.Code != want.code {
			t.Errorf("%s: %s %s", outcome, status, text)
		}
		if header.Get("X-Keytrail-Outcome") != outcome || strings.Join(header["Www-Authenticate"], "+") != want.challenge || header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", outcome, header)
		}
		if (header.Get("Retry-After") != "") != (outcome == "RATE_LIMITED") || (header.Get("X-RateLimit-Reset") != "") != (outcome == "RATE_LIMITED") || header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%s says of limits: %v", outcome, header)
		}
	}
	// What cannot be a key, and what could be one, look the same.
	_, _, unknown := r.cases["NOT_FOUND"]()
	for _, text := range []string{"shop_" + strings.Repeat("A", 24), "kt_live_x", "x"} {
		if _, header, body := r.raw(text, "GET", "/v1/authorize/shop"); body != unknown || header.Get("X-Keytrail-Outcome") != "NOT_FOUND" || len(header) != 6 {
			t.Errorf("%s is answered %v %s", text, header, body)
		}
	}
}

// A keyspace's replies are what the client gets: status, headers, type and body.
func TestAKeyspaceRepliesInItsOwnWords(t *testing.T) {
	r := refusals(t, `,"presentation":{"places":["bearer","basic"]},"replies":[
		{"for":["MISSING"],"status":404,"content_type":"text/plain","body":"nothing here\n"},
		{"for":["MALFORMED"],"status":401,"body":"{\"outcome\":\"{{.Outcome}}\",\"status\":{{.Status}},\"key\":\"{{.KeyID}}\",\"org\":\"{{.OrgID}}\"}"},
		{"for":["NOT_FOUND","REVOKED"],"status":401,"headers":{"www-authenticate":"Custom","X-Docs":"/keys"}},
		{"for":["INSUFFICIENT_SCOPE"],"status":403,"content_type":"text/plain","body":"{{.Keyspace}} {{.Scopes}} {{.RequestID}} {{.RetryAfter}}{{if .KeyID}} known{{end}}"},
		{"for":["WRONG_ORGANIZATION"],"status":401},
		{"for":["RATE_LIMITED"],"status":403,"body":"{{.RetryAfter}}"}]`)
	basic := `Basic realm="shop", charset="UTF-8"`
	for outcome, want := range map[string]struct{ status, kind, body, challenge string }{
		"MISSING":            {"404", "text/plain", "nothing here\n", ""},
		"MALFORMED":          {"401", "application/json", `{"outcome":"MALFORMED","status":401,"key":"","org":""}`, `Bearer realm="shop", error="invalid_request"+` + basic},
		"NOT_FOUND":          {"401", "", "", "Custom"},
		"REVOKED":            {"401", "", "", "Custom"},
		"INSUFFICIENT_SCOPE": {"403", "text/plain", "shop a:read b:read request-1 0 known", `Bearer realm="shop", error="insufficient_scope", scope="a:read b:read"+` + basic},
		"WRONG_ORGANIZATION": {"401", "", "", `Bearer realm="shop"+` + basic},
	} {
		status, header, text := r.cases[outcome]()
		if status[:3] != want.status || header.Get("Content-Type") != want.kind || text != want.body || strings.Join(header["Www-Authenticate"], "+") != want.challenge || header.Get("X-Keytrail-Outcome") != outcome {
			t.Errorf("%s: %s %v %s", outcome, status, header, text)
		}
	}
	if _, header, _ := r.cases["REVOKED"](); header.Get("X-Docs") != "/keys" {
		t.Errorf("the keyspace's headers: %v", header)
	}
	status, header, text := r.cases["RATE_LIMITED"]()
	if wait, _ := strconv.Atoi(text); status[:3] != "403" || header.Get("Retry-After") != text || wait < 1 || header.Get("Www-Authenticate") != "" {
		t.Errorf("RATE_LIMITED: %s %v %s", status, header, text)
	}
	if _, _, text := r.cases["EXPIRED"](); !strings.Contains(text, "invalid_credentials") {
		t.Errorf("a case without a reply: %s", text)
	}
	// Each requirement can have a reply of its own.
	unsigned := r.service.org("unsigned")
	r.must(r.root, "PUT", "/v1/owners/ada/attributes?org_id="+unsigned, `{"plan":"pro"}`)
	_, secret := r.key("shop", unsigned, `,"owner":"ada"`)
	if status, header, text := r.raw(secret, "GET", "/v1/authorize/shop"); status[:3] != "402" || text != `"contract"` || header.Get("X-Keytrail-Outcome") != "REQUIREMENT_UNMET" {
		t.Errorf("an organization without a contract: %s %v %s", status, header, text)
	}
	// Keys that are presented in headers of their own have no registered scheme.
	r.keyspace("plain", `,"presentation":{"places":["header:X-API-Key"]}`)
	if _, header, _ := r.raw("", "GET", "/v1/authorize/plain"); header.Get("Www-Authenticate") != `ApiKey realm="plain"` {
		t.Errorf("a challenge for a header: %v", header)
	}
}

// Every answer about a known key has its limits, in the headers that the keyspace asks for.
func TestAnswersShowRateLimits(t *testing.T) {
	r := refusals(t, `,"gateway":{"rate_limit_headers":["ratelimit","x-ratelimit"]}`)
	names := []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit", "Ratelimit-Policy"}
	for outcome, ask := range r.cases {
		_, header, _ := ask()
		known := !slices.Contains([]string{"MISSING", "MALFORMED", "NOT_FOUND"}, outcome)
		for _, name := range names {
			if len(header[name]) != map[bool]int{true: 1}[known] {
				t.Errorf("%s has the %s %q", outcome, name, header[name])
			}
		}
	}
	_, header, _ := r.cases["RATE_LIMITED"]()
	// Of the two that are used up, the one that ends last tells when there is room again.
	reset, _ := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	wait, _ := strconv.ParseInt(header.Get("Retry-After"), 10, 64)
	if off := time.Now().Unix() + wait - reset; header.Get("X-RateLimit-Limit") != "1" || header.Get("X-RateLimit-Remaining") != "0" || reset%(720*3600) != 0 || off < 0 || off > 5 {
		t.Errorf("the limit that is closest to its end: %v", header)
	}
	if header.Get("RateLimit-Policy") != `"720h";q=1;w=2592000, "24h";q=1;w=86400, "1h";q=5;w=3600` {
		t.Errorf("the policies: %v", header)
	}
	var first, second, third int
	if n, err := fmt.Sscanf(header.Get("RateLimit"), `"720h";r=0;t=%d, "24h";r=0;t=%d, "1h";r=4;t=%d`, &first, &second, &third); n != 3 || err != nil || third > 3600 || second > 86400 || first < second {
		t.Errorf("the states: %v", header)
	}
	_, secret := r.key("shop", r.org, "")
	if _, header, _ := r.raw(secret, "GET", "/v1/authorize/shop"); header.Get("RateLimit") != "" || header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("a key without limits: %v", header)
	}
}

// nginx passes on 401 and 403 alone; what its client is to get is in headers.
func TestNginxIsToldTheReplyInHeaders(t *testing.T) {
	r := refusals(t, `,"replies":[
		{"for":["MISSING"],"status":401,"content_type":"text/plain","body":"two\nlines\n"},
		{"for":["MALFORMED"],"status":402,"body":"{ \"a\":\n \"é🔑\" }\n"},
		{"for":["NOT_FOUND"],"status":410,"body":"{\"a\": 1}\n"},
		{"for":["EXPIRED"],"status":401,"content_type":"text/html","body":"naïve"},
		{"for":["DISABLED"],"status":451,"content_type":"text/plain","body":"not { json\n é"},
		{"for":["INSUFFICIENT_SCOPE"],"status":403,"content_type":"text/plain","body":"`+strings.Repeat("x", 4096)+`"},
		{"for":["WRONG_ORGANIZATION"],"status":404,"body":"1"},
		{"for":["RATE_LIMITED"],"status":429,"content_type":"text/plain","body":"$slow, %20\\ \"down\""}]`)
	for _, c := range []struct{ outcome, as, status, kind, body string }{
		{"MISSING", "401", "401", "text/plain", ""},
		{"MALFORMED", "403", "402", "application/json", `{"a":"\u00e9\ud83d\udd11"}`},
		{"NOT_FOUND", "403", "410", "application/json", `{"a": 1}`},
		{"EXPIRED", "401", "401", "text/html", ""},
		{"DISABLED", "403", "451", "text/plain", ""},
		{"INSUFFICIENT_SCOPE", "403", "403", "text/plain", strings.Repeat("x", 4096)},
		{"WRONG_ORGANIZATION", "403", "404", "application/json", "1"},
		{"RATE_LIMITED", "403", "429", "text/plain", `$slow, %20\ "down"`},
		{"IP_NOT_ALLOWED", "403", "403", "application/problem+json", `{"type":"about:blank","title":"Forbidden","status":403,"code":"ip_not_allowed","detail":"the key may not do this, or not from here"}`},
	} {
		_, before, _ := r.cases[c.outcome]()
		if before.Get("X-Keytrail-Status") != "" || before.Get("X-Keytrail-Body") != "" {
			t.Errorf("%s has headers for nginx unasked: %v", c.outcome, before)
		}
		status, header, _ := r.cases[c.outcome]("X-Keytrail-Refuse: 403")
		if status[:3] != c.as || header.Get("X-Keytrail-Status") != c.status || header.Get("X-Keytrail-Content-Type") != c.kind || header.Get("X-Keytrail-Body") != c.body || header.Get("X-Keytrail-Outcome") != c.outcome {
			t.Errorf("%s: %s %v", c.outcome, status, header)
		}
	}
}

// suspended is the ledger, which gives a reason why it takes nothing.
type suspended struct {
	verify.UseLog
	reason *atomic.Pointer[error]
}

func (l suspended) AwaitFresh(ctx context.Context, until time.Time) error {
	if reason := l.reason.Load(); reason != nil {
		return *reason
	}
	return l.UseLog.AwaitFresh(ctx, until)
}

// Whatever keeps the service from telling is 503 with the keyspace's reply, and nothing passes.
func TestNothingPassesWhenTheServiceCannotTell(t *testing.T) {
	var reason atomic.Pointer[error]
	s := startWith(t, nil, func(o *api.Options) { o.Verifier = verify.New(o.Store, suspended{o.Ledger, &reason}, verify.Options{}) })
	s.keyspace("shop", `,"gateway":{"rate_limit_headers":["x-ratelimit"]},"replies":[{"for":["UNAVAILABLE"],"status":503,"content_type":"text/plain","body":"{{.Outcome}} {{.RetryAfter}}{{.KeyID}}"}]`)
	org := s.org("acme")
	secrets := map[string]string{}
	for _, keyspace := range []string{"shop", "default"} {
		_, secrets[keyspace] = s.key(keyspace, org, `,"rate_limits":[{"limit":5,"window":"720h"}]`)
		if status, _, _ := s.raw(secrets[keyspace], "GET", "/v1/authorize/"+keyspace); status != "200 OK" {
			t.Fatal(status)
		}
	}
	for _, c := range []struct {
		reason     error
		wait, code string
	}{
		{domain.ErrStorageFull, "30", "storage_full"}, {domain.ErrLedgerSilent, "1", "ledger_unavailable"}, {domain.ErrOverloaded, "1", "overloaded"},
		{context.DeadlineExceeded, "1", "timeout"}, {errors.New("a fault of ours"), "1", "internal"},
	} {
		reason.Store(&c.reason)
		status, header, text := s.raw(secrets["shop"], "GET", "/v1/authorize/shop")
		if status[:3] != "503" || text != "UNAVAILABLE "+c.wait || header.Get("Retry-After") != c.wait || header.Get("X-Keytrail-Outcome") != "UNAVAILABLE" || header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("%v: %s %v %s", c.reason, status, header, text)
		}
		status, header, text = s.raw(secrets["default"], "GET", "/v1/authorize/default?refuse=403")
		if status[:3] != "503" || !strings.Contains(text, `"code":"`+c.code+`"`) || !strings.Contains(text, `"status":503`) || header.Get("Retry-After") != c.wait ||
			header.Get("X-Keytrail-Status") != "503" || header.Get("X-Keytrail-Body") != strings.TrimSpace(text) {
			t.Errorf("%v: %s %v %s", c.reason, status, header, text)
		}
	}
	starting := httptest.NewServer(api.Starting())
	defer starting.Close()
	s.url = starting.URL
	if status, header, _ := s.raw(secrets["shop"], "GET", "/v1/authorize/shop/x"); status[:3] != "503" || header.Get("X-Keytrail-Outcome") != "UNAVAILABLE" || header.Get("Retry-After") == "" {
		t.Errorf("a service that starts: %s %v", status, header)
	}
}

// A client that asks too much at once is no reason for a gateway to let requests pass which are not
// refused: that is 429, and no fault of the service.
func TestAClientThatAsksTooMuchAtOnceIsRefused(t *testing.T) {
	s := startWith(t, nil, func(o *api.Options) { o.Limits.InFlightPerAddress = 1 })
	_, secret := s.key("default", s.org("acme"), "")
	slow := s.dial("127.0.0.1")
	if err := slow.send("POST /v1/verify HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nExpect: 100-continue\nContent-Length: 9\n\n", s.root); err != nil {
		t.Fatal(err)
	}
	if status := slow.status(t); status != "100 Continue" { // so its request counts
		t.Fatal(status)
	}
	if status, header, text := s.raw(secret, "GET", "/v1/authorize/default"); status[:3] != "429" || header.Get("X-Keytrail-Outcome") != "UNAVAILABLE" || !strings.Contains(text, "too_many_requests") || header.Get("Retry-After") == "" {
		t.Errorf("%s %v %s", status, header, text)
	}
}
