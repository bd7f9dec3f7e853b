package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// in is the service for one input.
func (s service) in(t *testing.T) *service { s.t = t; return &s }

// sane fails unless an answer is the service's own: never a fault of its, always JSON, and
// where it refuses, a problem with a code.
func sane(t *testing.T, request string, status int, header http.Header, text string) {
	t.Helper()
	if status >= 500 {
		t.Fatalf("%q is answered %d %s", request, status, text)
	}
	var problem struct{ Code, Detail string }
	if text != "" && !json.Valid([]byte(text)) {
		t.Fatalf("%q is answered with what is no JSON: %s", request, text)
	}
	if status >= 400 && (header.Get("Content-Type") != "application/problem+json" ||
		json.Unmarshal([]byte(text), &problem) != nil || problem.Code == "" || problem.Detail == "") {
		t.Fatalf("%q is refused without a reason: %d %s", request, status, text)
	}
}

func FuzzBodies(f *testing.F) {
	s := start(f)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	routes := []string{"POST /v1/keys", "PATCH /v1/keys/" + id, "POST /v1/keys/" + id + "/rotate", "POST /v1/keys/key_x/revoke",
		"POST /v1/keys/revoke", "POST /v1/organizations", "POST /v1/verify", "PUT /v1/keyspaces/fuzz?dry_run=true"}
	for route := range routes {
		for _, body := range []string{
			`{"org_id":"` + org + `","name":"n","scopes":["a:b"],"ttl":"1h","rate_limits":[{"limit":1,"window":"1m"}],"allowed_cidrs":["192.0.2.0/24"],"metadata":{"a":"b"}}`,
			`{"format":{"prefix":"f_","alphabet":"hex","length":32,"environments":[{"name":"live","tag":"l"}]},"scopes":[{"scope":"a:b"}],"defaults":{"ttl":"1h"},"replies":[{"for":["MISSING"],"status":401,"headers":{"X":"y"},"body":"{{.Outcome}}"}]}`,
			`{"name":"n","expires_at":"2030-01-01T00:00:00Z","owner":"o"}`, `{"name":"","scopes":null}`, `{"overlap":"24h"}`, `{"reason":"superseded","comment":"c"}`,
			`{"ids":["key_x"],"dry_run":true}`, `{"filter":{"owner":"nobody"},"limit":1,"cursor":"x"}`, `{"key":"k"}`, `{"name":1e999}`, `{"name":{}}`, `{"name":"\ud800"}`,
			`{"ttl":"99999999999h"}`, `{"expires_at":"9999999999-01-01"}`, `[`, `null`, "\xff", strings.Repeat(`{"metadata":`, 100), "",
		} {
			f.Add(route, body)
		}
	}
	f.Fuzz(func(t *testing.T, route int, body string) {
		method, path, _ := strings.Cut(routes[((route%len(routes))+len(routes))%len(routes)], " ")
		status, header, text := s.in(t).do(s.root, method, path, body)
		sane(t, path+" "+body, status, header, text)
	})
}

func FuzzImportLines(f *testing.F) {
	s := start(f)
	org := s.org("acme")
	for _, lines := range []string{
		`{"org_id":"` + org + `","name":"n","digest":"` + strings.Repeat("ab", 32) + `","prefix":"p","owner":"o","scopes":["a:b"],"expires_at":"2030-01-01T00:00:00Z"}`,
		`{"org_id":"` + org + `","name":"n","digest":"short"}`, "{}\n{}\n\n", "null", "{", "[]\n1\n\"x\"", "\xff", `{"digest":1}`, `{"name":"n","name":"m"}`, "",
	} {
		f.Add(lines)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		status, header, text := s.in(t).do(s.root, "POST", "/v1/keys/import", lines)
		sane(t, lines, status, header, text)
	})
}

func FuzzQueries(f *testing.F) {
	s := start(f)
	for _, path := range []string{"/v1/keys", "/v1/events", "/v1/organizations", "/v1/authorize/default"} {
		for _, query := range []string{"limit=1", "limit=-1", "sort=name", "cursor=AAAA", "created_after=2026-01-01T00:00:00Z", "from=x", "wait=1h", "wait=-1s", "status=revoked&status=active", "org_id=org_x", "prefix=%00", "x=y", "%zz", "limit=99999999999999999999"} {
			f.Add(path, query)
		}
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if u, err := url.Parse("http://x" + path + "?" + query); err != nil || u.Query().Has("wait") && query != "wait=-1s" {
			return // no request, or one that is meant to take long
		}
		if strings.ContainsFunc(path+query, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return // not HTTP: net/http refuses it in its own words
		}
		path = "/" + strings.TrimLeft(path, "/")
		if _, err := http.NewRequest("GET", s.url+path+"?"+query, nil); err != nil {
			return
		}
		status, header, text := s.in(t).do(s.root, "GET", path+"?"+query, "")
		if strings.HasPrefix(path, "/v1") {
			sane(t, path+"?"+query, status, header, text)
		}
	})
}
