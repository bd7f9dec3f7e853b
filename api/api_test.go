package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/verify"
)

// A service is the real thing behind a real socket.
type service struct {
	t       testing.TB
	url     string
	root    string
	handler http.Handler
	nats    *eventstore.Server
	ledger  *eventstore.Ledger
	store   *projections.Store

	commands *commands.Handler
}

// A keyIndex is the read model as commands.KeyIndex.
type keyIndex struct{ store *projections.Store }

func (i keyIndex) KnownKey(org domain.OrgID, id domain.KeyID) (domain.Key, eventstore.Position, bool) {
	k, err := i.store.Key(domain.Only(org), id)
	return k.Key, k.Revision, err == nil
}

func start(t testing.TB) *service { return startWith(t, nil, func(*api.Options) {}) }

// startWith is start with commands on a log that faults makes of the real one, and with
// other options.
func startWith(t testing.TB, faults func(commands.EventLog) commands.EventLog, change func(*api.Options)) *service {
	t.Helper()
	nats := eventstoretest.Server(t)
	l := eventstoretest.Open(t, nats)
	store, err := projections.Open(t.TempDir(), projections.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx, l) }()
	tokens, err := token.NewIssuer([32]byte{1}, [32]byte{2}, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, nats: nats, ledger: l, store: store}
	handler := commands.New(l, commands.Options{Index: store, Keys: keyIndex{store}, Keyspaces: store, People: store, Directories: store, Plans: store, Quotas: store, Sinks: store, DataKeys: l, Tokens: tokens, LogIns: store})
	if _, err := handler.EnsureRootKey(t.Context(), func(secret domain.Secret) error { s.root = secret.Reveal(); return nil }); err != nil {
		t.Fatal(err)
	}
	if faults != nil {
		handler = commands.New(faults(l), commands.Options{Index: store, Keys: keyIndex{store}, Keyspaces: store, People: store, Directories: store, Plans: store, Quotas: store, Sinks: store, DataKeys: l, Tokens: tokens, LogIns: store})
	}
	s.commands = handler
	v := verify.New(store, l, verify.Options{Tokens: tokens})
	o := api.Options{Commands: handler, Store: store, Ledger: l, Verifier: v, Tokens: tokens, Version: "test"}
	change(&o)
	s.handler = api.New(o)
	server := httptest.NewServer(s.handler)
	s.url = server.URL
	t.Cleanup(func() {
		server.Close()
		if err := v.Close(context.Background()); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	wait, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := store.WaitFor(wait, 1); err != nil {
		t.Fatal(err)
	}
	return s
}

// do makes a request and gives status, headers and body.
func (s *service) do(key, method, path, body string, headers ...string) (int, http.Header, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" && !slices.Contains(headers, "Content-Type") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.declared(method, path, a)
	return a.StatusCode, a.Header, strings.TrimSpace(string(text))
}

// must is do for what has to succeed, and decodes the answer.
func (s *service) must(key, method, path, body string, headers ...string) map[string]any {
	s.t.Helper()
	status, _, text := s.do(key, method, path, body, headers...)
	if status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return m
}

// settle waits until the uses so far are counted.
func (s *service) settle() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	end, err := s.ledger.End(ctx, eventstore.Uses)
	if err == nil {
		err = s.store.WaitForUses(ctx, end)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) org(name string) string {
	return s.must(s.root, "POST", "/v1/organizations", fmt.Sprintf(`{"name":%q}`, name))["id"].(string)
}

// create makes a key and gives its id and secret.
func (s *service) create(key, body string) (id, secret string) {
	s.t.Helper()
	m := s.must(key, "POST", "/v1/keys", body)
	return m["key"].(map[string]any)["id"].(string), m["secret"].(string)
}

// TestTranscripts plays the files of testdata, which are also the documentation's examples:
// a request line, then the status and the answer. «name» in an answer captures what is
// there, and $name puts it into a later line; … stands for anything.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := start(t)
			if filepath.Base(file) == "trail_log.txt" {
				s = startSigned(t)
			}
			vars := map[string]string{"root": s.root, "as": s.root}
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var status int
			var answer string
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				line := lines.Text()
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				line = os.Expand(line, func(name string) string { return vars[name] })
				if name, value, ok := strings.Cut(line, "="); ok && name == "as" {
					vars["as"] = value
					continue
				}
				if regexp.MustCompile(`^[A-Z]+ /`).MatchString(line) {
					s.settle()
					parts := append(strings.SplitN(line, " ", 3), "")
					status, _, answer = s.do(vars["as"], parts[0], parts[1], parts[2])
					continue
				}
				want, text, _ := strings.Cut(line, " ")
				if fmt.Sprint(status) != want {
					t.Fatalf("line %d: %d %s, want %s", n, status, answer, want)
				}
				match(t, n, vars, answer, text)
			}
		})
	}
}

func match(t *testing.T, line int, vars map[string]string, got, want string) {
	t.Helper()
	var names []string
	pattern := regexp.QuoteMeta(want)
	pattern = regexp.MustCompile(`«(\w+)»`).ReplaceAllStringFunc(pattern, func(m string) string {
		names = append(names, strings.Trim(m, "«»"))
		return `([^"]+)`
	})
	m := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", ".*") + "$").FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("line %d: got\n%s\nwant\n%s", line, got, want)
	}
	for i, name := range names {
		vars[name] = m[i+1]
	}
}

// TestBadInput sends what no client should: each is refused with a 4xx problem that names
// the field, and none is a 500.
func TestBadInput(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"name":"n","org_id":"`+org+`"}`)
	long := strings.Repeat("x", 300)
	key := func(member string) string { return `{"org_id":"` + org + `","name":"n",` + member + `}` }
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"POST", "/v1/keys", `{"org_id":"` + org + `"}`, 400, "name"},
		{"POST", "/v1/keys", `{"org_id":"` + org + `","name":7}`, 400, "name"},
		{"POST", "/v1/keys", `{"org_id":"` + org + `","name":"` + long + `"}`, 400, "name"},
		{"POST", "/v1/keys", `{"name":"n"}`, 400, "org_id"},
		{"POST", "/v1/keys", `{"org_id":"nope","name":"n"}`, 400, "org_id"},
		{"POST", "/v1/keys", `{"org_id":"org_00000000000000000000000001","name":"n"}`, 400, ""},
		{"POST", "/v1/keys", key(`"surprise":1`), 400, "surprise"},
		{"POST", "/v1/keys", key(`"scopes":"a:b"`), 400, "scopes"},
		{"POST", "/v1/keys", key(`"scopes":["a"]`), 400, "scopes[0]"},
		{"POST", "/v1/keys", key(`"expires_at":"2001-01-01T00:00:00Z"`), 400, "expires_at"},
		{"POST", "/v1/keys", key(`"expires_at":"tomorrow"`), 400, "expires_at"},
		{"POST", "/v1/keys", key(`"ttl":"soon"`), 400, ""},
		{"POST", "/v1/keys", key(`"ttl":5`), 400, "ttl"},
		{"POST", "/v1/keys", key(`"rate_limits":[{"limit":1e30,"window":"1m"}]`), 400, ""},
		{"POST", "/v1/keys", key(`"rate_limits":[{"limit":0,"window":"1m"}]`), 400, "rate_limits[0].limit"},
		{"POST", "/v1/keys", key(`"rate_limits":[{"limit":1}]`), 400, "rate_limits[0].window"},
		{"POST", "/v1/keys", key(`"allowed_cidrs":["everywhere"]`), 400, "allowed_cidrs[0]"},
		{"POST", "/v1/keys", key(`"metadata":{"a":1}`), 400, "metadata.a"},
		{"POST", "/v1/keys", key(`"metadata":[]`), 400, "metadata"},
		{"POST", "/v1/keys", key(`"owner":"a\u0000b"`), 400, "owner"},
		{"POST", "/v1/keys", key("\"owner\":\"\xff\""), 400, ""},
		{"POST", "/v1/keys", key(`"name":"again"`), 400, "name"},
		{"POST", "/v1/keys", key(`"NAME":"n"`), 400, "NAME"},
		{"POST", "/v1/keys", key(`"rate_limits":[{"limit":1,"Window":"1m"}]`), 400, ""},
		{"POST", "/v1/keys", key(`"metadata":{"a":"1","a":"2"}`), 400, "metadata.a"},
		{"POST", "/v1/keys", key(`"owner":"\ud800"`), 400, "body"},
		{"POST", "/v1/keys", key(`"owner":"\u202Egnp.exe"`), 400, "owner"},
		{"POST", "/v1/keys", key(`"metadata":{"a":"\u2066"}`), 400, "metadata"},
		{"PATCH", "/v1/keys/" + id, `{"name":"a\u200fb"}`, 400, "name"},
		{"POST", "/v1/organizations", `{"name":"\u202dn"}`, 400, "name"},
		{"POST", "/v1/keys/revoke", `{"filter":{"owner":"a"},"filter":{"owner":"b"}}`, 400, "filter"},
		{"POST", "/v1/keys/" + id + "/revoke", `{"Reason":"superseded"}`, 400, "Reason"},
		{"POST", "/v1/keys", `{"name":`, 400, ""},
		{"POST", "/v1/keys", `[]`, 400, ""},
		{"POST", "/v1/keys", ``, 400, ""},
		{"POST", "/v1/keys", `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 413, ""},
		{"PATCH", "/v1/keys/" + id, `{"name":null}`, 400, "name"},
		{"PATCH", "/v1/keys/" + id, `{"status":"revoked"}`, 400, "status"},
		{"PATCH", "/v1/keys/" + id, `{"expires_at":7}`, 400, "expires_at"},
		{"GET", "/v1/keys/nope", "", 400, "id"},
		{"GET", "/v1/keys/key_%00%01", "", 400, "id"},
		{"GET", "/v1/keys/" + string(domain.NewKeyID("", "nobody")), "", 404, ""},
		{"POST", "/v1/keys/" + id + "/rotate", `{"overlap":"-1h"}`, 400, "overlap"},
		{"POST", "/v1/keys/" + id + "/rotate", `{"overlap":"9000h"}`, 400, "overlap"},
		{"POST", "/v1/keys/" + id + "/revoke", `{"reason":"because"}`, 400, "reason"},
		{"POST", "/v1/keys/revoke", `{}`, 400, "ids"},
		{"POST", "/v1/keys/revoke", `{"filter":{"colour":"red"}}`, 400, "filter.colour"},
		{"GET", "/v1/keys?sort=colour", "", 400, "sort"},
		{"GET", "/v1/keys?colour=red", "", 400, "colour"},
		{"GET", "/v1/keys?limit=0", "", 400, "limit"},
		{"GET", "/v1/keys?limit=1&limit=2", "", 400, "limit"},
		{"GET", "/v1/keys?cursor=nope", "", 400, "cursor"},
		{"GET", "/v1/keys?status=fine", "", 400, "status"},
		{"GET", "/v1/keys?created_after=yesterday", "", 400, "created_after"},
		{"GET", "/v1/keys?after=1000000", "", 400, "after"},
		{"GET", "/v1/keys/" + id + "?after=18446744073709551615", "", 400, "after"},
		{"GET", "/v1/keys/" + id + "/usage?step=90m", "", 400, "step"},
		{"GET", "/v1/keys?at=yesterday", "", 400, "at"},
		{"GET", "/v1/keys?at=1000000", "", 400, "at"},
		{"GET", "/v1/keys?at=-1", "", 400, "at"},
		{"GET", "/v1/keys?at=18446744073709551616", "", 400, "at"},
		{"GET", "/v1/keys?at=2999-01-01T00:00:00Z", "", 400, "at"},
		{"GET", "/v1/keys?at=1&last_used_before=2026-01-01T00:00:00Z", "", 400, "last_used_before"},
		{"GET", "/v1/keys?at=1&rotation_due=true", "", 400, "rotation_due"},
		{"GET", "/v1/keys?at=1&sort=-last_used_at", "", 400, "sort"},
		{"GET", "/v1/keys/" + id + "?at=1000000", "", 400, "at"},
		{"GET", "/v1/keys/nope?at=1", "", 400, "id"},
		{"GET", "/v1/events?cursor=nope", "", 400, "cursor"},
		{"GET", "/v1/events?wait=1h", "", 400, "wait"},
		{"GET", "/v1/events?actor=a&actor=b", "", 400, "actor"},
		{"GET", "/v1/events?colour=red", "", 400, "colour"},
		{"GET", "/v1/events?type=key.created,key.craeted", "", 400, "type"},
		{"GET", "/v1/events?type=", "", 400, "type"},
		{"GET", "/v1/events?after=1000", "", 400, "after"},
		{"GET", "/v1/events?after=-1", "", 400, "after"},
		{"POST", "/v1/organizations", `{"name":""}`, 400, "name"},
		{"POST", "/v1/keyspaces", `{"name":"Acme","format":{"alphabet":"hex","length":32}}`, 400, "name"},
		{"POST", "/v1/keyspaces", `{"name":"acme"}`, 400, "format"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":"32"}}`, 400, "format.length"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","lenght":32,"length":32}}`, 400, "format.lenght"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":16}}`, 400, "format.length"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":32},"defaults":{"ttl":"soon"}}`, 400, "defaults.ttl"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":32},"scopes":[{"scope":"a:b"},{"scope":"c"}]}`, 400, "scopes[1].scope"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":32},"scopes":[null]}`, 400, "scopes[0]"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":null}`, 400, "format"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":32},"bounds":{"max_overlap":""}}`, 400, "bounds.max_overlap"},
		{"POST", "/v1/keyspaces", `{"name":"acme","format":{"alphabet":"hex","length":32},"bounds":{"max_overlap":"999999h999999h999999h"}}`, 400, "bounds.max_overlap"},
		{"PUT", "/v1/keyspaces/Acme", `{"format":{"alphabet":"hex","length":32}}`, 400, "name"},
		{"PUT", "/v1/keyspaces/acme", `{"name":"acme","format":{"alphabet":"hex","length":32}}`, 400, "name"},
		{"PUT", "/v1/keyspaces/acme", `{"format":{"alphabet":"hex","length":32},"replies":[{"for":["MISSING"],"status":401,"body":"{{"}]}`, 400, "replies[0].body"},
		{"PUT", "/v1/keyspaces/acme?dry_run=true", `{"format":{"alphabet":"hex","length":32},"replies":[{"for":["MISSING"],"status":600}]}`, 400, "replies[0].status"},
		{"PUT", "/v1/keyspaces/acme?dry_run=maybe", `{"format":{"alphabet":"hex","length":32}}`, 400, "dry_run"},
		{"PUT", "/v1/keyspaces/keytrail?dry_run=true", `{"format":{"alphabet":"hex","length":32}}`, 409, ""},
		{"GET", "/v1/keyspaces/acme", "", 404, ""},
		{"GET", "/v1/keyspaces/%00", "", 404, ""},
		{"POST", "/v1/keyspaces/acme/retire", "", 404, ""},
		{"POST", "/v1/keyspaces/ACME/reinstate", "", 404, ""},
		{"POST", "/v1/verify", `{}`, 400, "key"},
		{"POST", "/v1/verify", `{"key":7}`, 400, "key"},
		{"POST", "/v1/verify", `{"key":"a","key":"b"}`, 400, "key"},
		{"POST", "/v1/verify", `{"Key":"a"}`, 400, "Key"},
		{"POST", "/v1/verify", `{"key":"a","SCOPES":["a:b"]}`, 400, "SCOPES"},
		{"POST", "/v1/verify", `{"key":"\ud800"}`, 400, "body"},
		{"POST", "/v1/verify", `{"key":"a","colour":"red"}`, 400, "colour"},
		{"POST", "/v1/verify", `{"key":"a","ip":"localhost"}`, 400, "ip"},
		{"POST", "/v1/verify", `{"key":"a","resource":"` + strings.Repeat("r", 513) + `"}`, 400, "resource"},
		{"POST", "/v1/verify", `{"key":"a","resource":"é"}`, 400, "resource"},
		{"POST", "/v1/verify", `{"key":"a","cost":0}`, 400, "cost"},
		{"POST", "/v1/verify", `{"key":"a","cost":-1}`, 400, "cost"},
		{"POST", "/v1/verify", `{"key":"a","cost":1000001}`, 400, "cost"},
		{"POST", "/v1/verify", `{"key":"a","cost":1.5}`, 400, "cost"},
		{"POST", "/v1/verify", `{"key":"a","org_id":"acme"}`, 400, "org_id"},
		{"POST", "/v1/verify", `{"key":"a","scopes":["a"]}`, 400, "scopes"},
		{"POST", "/v1/verify", `{"key":"a","keyspace":"nope"}`, 400, "keyspace"},
		{"POST", "/v1/verify", `{"key":"a"} {}`, 400, "body"},
		{"POST", "/v1/verify", `{"key":"` + strings.Repeat("x", 17<<10) + `"}`, 413, ""},
		{"POST", "/v1/verify", "\xff", 400, "body"},
		{"DELETE", "/v1/keys/" + id, "", 405, ""},
		{"GET", "/v1/nothing", "", 404, ""},
		{"POST", "/v1/projections/nope/rebuild", "", 404, ""},
		{"DELETE", "/v1/projections/nope/rebuild", "", 404, ""},
	} {
		name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 90)]
		status, header, text := s.do(s.root, c.method, c.path, c.body)
		var p api.Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != c.status || p.Status != status || p.Code == "" ||
			!strings.HasPrefix(header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s %s, want a %d problem", name, status, header.Get("Content-Type"), text, c.status)
			continue
		}
		if c.field != "" && (len(p.Errors) == 0 || p.Errors[0].Field != c.field) {
			t.Errorf("%s: %s, want the field %s", name, text, c.field)
		}
	}
	if status, _, text := s.do(s.root, "POST", "/v1/keys", `{}`, "Content-Type", "application/x-www-form-urlencoded"); status != 415 || !strings.Contains(text, "Content-Type: application/json") {
		t.Errorf("a form: %d %s", status, text)
	}
}

func TestCredentialsAreAskedForOnce(t *testing.T) {
	s := start(t)
	for name, c := range map[string]struct {
		key     string
		headers []string
		status  int
	}{
		"none":           {"", nil, 401},
		"unknown":        {"kt_mgmt_nope", nil, 401},
		"another scheme": {"", []string{"Authorization", "Basic eDp5"}, 401},
		"two":            {s.root, []string{"Authorization", "Bearer x"}, 400},
		"both kinds":     {s.root, []string{"X-API-Key", s.root}, 200},
		"two kinds":      {s.root, []string{"X-API-Key", "x"}, 400},
		"X-API-Key":      {"", []string{"X-API-Key", s.root}, 200},
	} {
		for _, path := range []string{"/v1/keys", "/v1/events", "/v1/principal"} {
			if status, _, text := s.do(c.key, "GET", path, "", c.headers...); status != c.status || strings.Contains(text, s.root) {
				t.Errorf("%s at %s: %d %s, want %d", name, path, status, text, c.status)
			}
		}
	}
}

// TestTenantsAreStrangers looks for what belongs to one organization with another's key, where
// its id is not named: see also TestAnotherTenantsIDsAreUnknown.
func TestTenantsAreStrangers(t *testing.T) {
	s := start(t)
	ours, theirs := s.org("ours"), s.org("theirs")
	_, admin := s.create(s.root, `{"org_id":"`+ours+`","keyspace":"keytrail","name":"admin","scopes":["*"]}`)
	key, secret := s.create(s.root, `{"org_id":"`+theirs+`","name":"their key"}`)
	for route, body := range map[string]string{"POST /v1/organizations": `{"name":"n"}`, "POST /v1/keyspaces": `{"name":"n","format":{"alphabet":"hex","length":32}}`,
		"PUT /v1/keyspaces/default": `{"format":{"alphabet":"hex","length":32}}`, "POST /v1/keyspaces/default/retire": "", "POST /v1/keyspaces/default/reinstate": "", "GET /v1/projections": "", "GET /v1/keys/export": "", "GET /v1/backup": ""} {
		method, path, _ := strings.Cut(route, " ")
		if status, _, text := s.do(admin, method, path, body); status != 403 {
			t.Errorf("%s: %d %s", route, status, text)
		}
	}
	for _, path := range []string{"/v1/keys", "/v1/events", "/v1/events?key_id=" + key, "/v1/organizations"} {
		if text := fmt.Sprint(s.must(admin, "GET", path, "")); strings.Contains(text, theirs) || strings.Contains(text, key) {
			t.Errorf("%s shows another organization: %s", path, text)
		}
	}
	unknown := strings.Replace(fmt.Sprint(s.must(admin, "POST", "/v1/verify", `{"key":"kt_unknown"}`)), " ", "", -1)
	stranger := strings.Replace(fmt.Sprint(s.must(admin, "POST", "/v1/verify", `{"key":"`+secret+`"}`)), " ", "", -1)
	if unknown != stranger {
		t.Errorf("another organization's key answers %s, an unknown one %s", stranger, unknown)
	}
}

// TestScopesAreNeeded calls each route with a key that has every scope but the route's.
func TestScopesAreNeeded(t *testing.T) {
	s := start(t)
	all := []string{"keys:read", "keys:write", "keys:verify", "audit:read", "organizations:read", "organizations:write", "projections:read", "projections:write", "sinks:read", "sinks:write"}
	sink := string(domain.NewSinkID("", "any"))
	id := string(domain.NewKeyID("", "any"))
	for route, scope := range map[string]string{
		"POST /v1/keys": "keys:write", "GET /v1/keys": "keys:read", "GET /v1/keys/" + id: "keys:read", "PATCH /v1/keys/" + id: "keys:write",
		"POST /v1/keys/" + id + "/rotate": "keys:write", "POST /v1/keys/" + id + "/revoke": "keys:write", "POST /v1/keys/revoke": "keys:write",
		"POST /v1/keys/import": "keys:write", "GET /v1/keys/" + id + "/usage": "keys:read", "POST /v1/verify": "keys:verify", "GET /v1/events": "audit:read",
		"POST /v1/organizations": "organizations:write", "GET /v1/organizations": "organizations:read", "GET /v1/projections": "projections:read",
		"POST /v1/projections/keys/rebuild": "projections:write", "DELETE /v1/projections/keys/rebuild": "projections:write",
		"POST /v1/sinks": "sinks:write", "GET /v1/sinks": "sinks:read", "GET /v1/sinks/" + sink: "sinks:read", "PATCH /v1/sinks/" + sink: "sinks:write", "DELETE /v1/sinks/" + sink: "sinks:write",
		"POST /v1/sinks/" + sink + "/pause": "sinks:write", "POST /v1/sinks/" + sink + "/resume": "sinks:write", "POST /v1/sinks/" + sink + "/rotate-secret": "sinks:write",
		"POST /v1/sinks/" + sink + "/test": "sinks:write", "GET /v1/sinks/" + sink + "/attempts": "sinks:read", "POST /v1/sinks/" + sink + "/replay": "sinks:write",
		"GET /v1/sinks/" + sink + "/dead-letters": "sinks:read", "POST /v1/sinks/" + sink + "/dead-letters/replay": "sinks:write",
	} {
		var others []string
		for _, a := range all {
			if a != scope {
				others = append(others, a)
			}
		}
		list, _ := json.Marshal(others)
		_, key := s.create(s.root, `{"keyspace":"keytrail","name":"n","scopes":`+string(list)+`}`)
		method, path, _ := strings.Cut(route, " ")
		if status, _, text := s.do(key, method, path, `{"key":"x"}`); status != 403 || !strings.Contains(text, "scope_missing") || !strings.Contains(text, "the scope "+scope) {
			t.Errorf("%s without %s: %d %s", route, scope, status, text)
		}
	}
}

func TestIdempotencyAndRevisions(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	body := `{"name":"n","org_id":"` + org + `"}`
	first := s.must(s.root, "POST", "/v1/keys", body, "Idempotency-Key", "once")
	again := s.must(s.root, "POST", "/v1/keys", body, "Idempotency-Key", "once")
	key := first["key"].(map[string]any)
	if again["secret"] != nil || again["key"].(map[string]any)["id"] != key["id"] {
		t.Errorf("again: %v", again)
	}
	if status, _, text := s.do(s.root, "POST", "/v1/keys", `{"name":"m","org_id":"`+org+`"}`, "Idempotency-Key", "once"); status != 422 {
		t.Errorf("another body: %d %s", status, text)
	}
	path := "/v1/keys/" + key["id"].(string)
	_, header, _ := s.do(s.root, "GET", path, "")
	if status, _, text := s.do(s.root, "PATCH", path, `{"name":"m"}`, "If-Match", header.Get("ETag")); status != 200 {
		t.Errorf("a current revision: %d %s", status, text)
	}
	if status, _, text := s.do(s.root, "PATCH", path, `{"name":"o"}`, "If-Match", header.Get("ETag")); status != 412 {
		t.Errorf("a stale revision: %d %s", status, text)
	}
}

// TestEventsArePagedReplayedAndFollowed reads the same trail in three ways.
// Every write says where it is on the ledger, and every read may ask to be as far.
func TestWritesSayAndReadsTakeAPosition(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	d, _ := domain.NewSecret("issued-elsewhere").Digest().MarshalText()
	last := uint64(0)
	for _, c := range []struct{ path, body string }{
		{"/v1/keys/import", `{"org_id":"` + org + `","name":"old","digest":"` + string(d) + `"}`},
		{"/v1/keys/import", `{"org_id":"` + org + `","name":"old","digest":"` + string(d) + `"}`}, // again
		{"/v1/keys/revoke", `{"ids":["` + id + `"]}`},
		{"/v1/keys/revoke", `{"ids":["` + id + `"]}`}, // again
		{"/v1/keys/revoke", `{"ids":["` + id + `"],"dry_run":true}`},
	} {
		status, header, text := s.do(s.root, "POST", c.path, c.body)
		position, err := strconv.ParseUint(header.Get("Keytrail-Position"), 10, 64)
		if status != 200 || err != nil || position < last || position == 0 {
			t.Fatalf("%s: %d %v %s", c.path, status, header, text)
		}
		last = max(last, position)
	}
	for _, path := range []string{"/v1/keys", "/v1/keys/" + id, "/v1/keys/" + id + "/usage", "/v1/organizations", "/v1/organizations/" + org, "/v1/events"} {
		for after, want := range map[uint64]int{last: 200, last + 1000: 400} {
			if status, _, text := s.do(s.root, "GET", path+"?after="+fmt.Sprint(after), ""); status != want {
				t.Errorf("%s after %d: %d %s", path, after, status, text)
			}
		}
	}
}

// A client that goes away is no failure of the service.
func TestAnAbandonedRequestIsNot503(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	s := startWith(t, before(func(ctx context.Context, _, _ string) error {
		leave()
		<-ctx.Done()
		return ctx.Err()
	}), func(*api.Options) {})
	id, _ := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	r, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/keys/"+id+"/revoke", nil)
	r.Header.Set("Authorization", "Bearer "+s.root)
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("the abandoned request: %v", err)
	}
	s.untilMetric(`keytrail_http_requests_total{route="POST /v1/keys/{id}/revoke",status="499"} 1`)
}

func TestEventsArePagedReplayedAndFollowed(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	_, auditor := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read","keys:verify"]}`)
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	for range 5 {
		s.must(auditor, "POST", "/v1/verify", `{"key":"`+secret+`"}`)
	}
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
	want := "key.created key.used key.used key.used key.used key.used key.revoked"

	var paged []string
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := s.must(auditor, "GET", "/v1/events?limit=2&key_id="+id+"&cursor="+cursor, "")
		items := page["items"].([]any)
		for _, i := range items {
			e := i.(map[string]any)
			paged = append(paged, e["type"].(string))
			if seen[e["id"].(string)+e["source"].(string)] || e["id"] == e["position"] || e["specversion"] != "1.0" || e["subject"] != id || e["orgid"] != org {
				t.Errorf("event %v", e)
			}
			seen[e["id"].(string)+e["source"].(string)] = true
		}
		if cursor = page["next_cursor"].(string); page["at_end"].(bool) {
			break
		}
	}
	if got := strings.Join(paged, " "); got != want {
		t.Errorf("paged %s, want %s", got, want)
	}
	_, _, text := s.do(auditor, "GET", "/v1/events?key_id="+id, "", "Accept", "application/x-ndjson")
	if lines := strings.Split(text, "\n"); len(lines) != 7 || strings.Contains(text, "digest") || strings.Contains(text, secret) {
		t.Errorf("replayed %s", text)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/events?key_id="+id, nil)
	r.Header.Set("Authorization", "Bearer "+auditor)
	r.Header.Set("Accept", "text/event-stream")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var followed []string
	for lines := bufio.NewScanner(a.Body); len(followed) < 8 && lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			if followed = append(followed, name); len(followed) == 7 {
				s.must(auditor, "POST", "/v1/verify", `{"key":"`+secret+`"}`) // comes while it follows
			}
		}
	}
	if got := strings.Join(followed, " "); got != want+" key.used" {
		t.Errorf("followed %s", got)
	}
}

func TestAnUnknownEventTypeIsRefusedWithTheList(t *testing.T) {
	s := start(t)
	_, _, text := s.do(s.root, "GET", "/v1/events?type=key.killed", "")
	for _, e := range domain.EventTypes {
		if !strings.Contains(text, e.Name) {
			t.Errorf("%s is not in %s", e.Name, text)
		}
	}
}

// TestEventsAfterAWrite reads what was just written, by its position.
func TestEventsAfterAWrite(t *testing.T) {
	s := start(t)
	_, header, _ := s.do(s.root, "POST", "/v1/organizations", `{"name":"acme"}`)
	position := header.Get("Keytrail-Position")
	page := s.must(s.root, "GET", "/v1/events?type=organization.created&after="+position, "")
	if items := page["items"].([]any); len(items) != 1 || items[0].(map[string]any)["position"] != position || page["at_end"] != true {
		t.Errorf("after %s there are %v", position, page)
	}
}

func TestALongPollEndsWithNews(t *testing.T) {
	s := start(t)
	cursor := ""
	for {
		page := s.must(s.root, "GET", "/v1/events?type=organization.created&cursor="+cursor, "")
		if cursor = page["next_cursor"].(string); page["at_end"].(bool) {
			break
		}
	}
	news := make(chan map[string]any)
	go func() {
		news <- s.must(s.root, "GET", "/v1/events?type=organization.created&wait=30s&cursor="+cursor, "")
	}()
	s.org("late")
	if items := (<-news)["items"].([]any); len(items) != 1 {
		t.Errorf("the poll ended with %v", items)
	}
}

func TestAnImportedKeyVerifies(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	d, _ := domain.NewSecret("old-secret-of-ours").Digest().MarshalText()
	lines := `{"org_id":"` + org + `","name":"old","digest":"` + string(d) + `","prefix":"old-","scopes":["a:b"]}` + "\n" + `{"name":"n"}` + "\nnot json\n"
	a := s.must(s.root, "POST", "/v1/keys/import", lines)
	for _, line := range []string{`"name":"n","name":"m"`, `"Name":"n"`, `"name":"n","rate_limits":[{"LIMIT":1,"window":"1m"}]`, `"name":"\u202en"`, `"name":"\ud800"`, `"name":"n"}`, `"name":"n"}]x`} {
		if a := s.must(s.root, "POST", "/v1/keys/import", `{"org_id":"`+org+`","digest":"`+string(d)+`",`+line+`}`); a["failed"] != 1.0 {
			t.Errorf("%s is imported: %v", line, a)
		}
	}
	if a["imported"] != 1.0 || a["failed"] != 2.0 {
		t.Errorf("import: %v", a)
	}
	if a := s.must(s.root, "POST", "/v1/keys/import", lines); a["existing"] != 1.0 {
		t.Errorf("import again: %v", a)
	}
	if v := s.must(s.root, "POST", "/v1/verify", `{"key":"old-secret-of-ours","scopes":["a:b"]}`); v["code"] != "VALID" {
		t.Errorf("verify: %v", v)
	}
}

func TestBulkRevocationGoesOnByCursor(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	for i := range 5 {
		s.create(s.root, fmt.Sprintf(`{"org_id":"%s","name":"n%d","owner":"leaver"}`, org, i))
	}
	filter := `"filter":{"owner":"leaver"},"reason":"affiliation_changed"`
	if a := s.must(s.root, "POST", "/v1/keys/revoke", `{`+filter+`,"dry_run":true}`); a["revoked"] != 5.0 {
		t.Errorf("dry run: %v", a)
	}
	total, requests := 0.0, 0
	for cursor := `""`; cursor != "null"; requests++ {
		a := s.must(s.root, "POST", "/v1/keys/revoke", `{`+filter+`,"limit":2,"cursor":`+cursor+`}`)
		total += a["revoked"].(float64)
		next, _ := json.Marshal(a["next_cursor"])
		cursor = string(next)
	}
	if total != 5 || requests < 3 {
		t.Errorf("%v keys revoked in %d requests", total, requests)
	}
	if a := s.must(s.root, "POST", "/v1/keys/revoke", `{`+filter+`}`); a["revoked"] != 0.0 || a["already_revoked"] != 5.0 {
		t.Errorf("again: %v", a)
	}
}

func TestTheGatewayIsAnswered(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n","owner":"u1","scopes":["a:read"],"rate_limits":[{"limit":2,"window":"720h"}]}`)
	status, header, _ := s.do(secret, "GET", "/v1/authorize/default/some/path?scope=a:read", "")
	if status != 200 || header.Get("X-Keytrail-Key-Id") != id || header.Get("X-Keytrail-Owner") != "u1" {
		t.Errorf("valid: %d %v", status, header)
	}
	for name, c := range map[string]struct {
		key, path string
		status    int
	}{
		"no key":            {"", "/v1/authorize/default", 401},
		"unknown":           {"x", "/v1/authorize/default", 401},
		"missing scope":     {secret, "/v1/authorize/default?scope=b:read", 403},
		"management":        {s.root, "/v1/authorize/keytrail", 404},
		"a management key":  {s.root, "/v1/authorize/default", 401},
		"unknown parameter": {secret, "/v1/authorize/default?scop=a:read", 400},
	} {
		if status, _, text := s.do(c.key, "POST", c.path, ""); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, text, c.status)
		}
	}
	s.do(secret, "GET", "/v1/authorize/default", "")
	status, header, _ = s.do(secret, "GET", "/v1/authorize/default", "")
	wait, _ := strconv.ParseInt(header.Get("Retry-After"), 10, 64)
	reset, _ := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	if off := time.Now().Unix() + wait - reset; status != 429 || reset == 0 || off < 0 || off > 5 {
		t.Errorf("limited: %d, try again in %d s, which is %d s after %d", status, wait, off, reset)
	}
}

func TestTheDocumentDescribesEveryRoute(t *testing.T) {
	s := start(t)
	doc := s.must("", "GET", "/openapi.json", "")
	paths := doc["paths"].(map[string]any)
	for _, path := range []string{"/v1/keys", "/v1/keys/{id}", "/v1/keys/{id}/rotate", "/v1/keys/revoke", "/v1/keys/import", "/v1/verify", "/v1/events",
		"/v1/authorize/{keyspace}", "/v1/organizations", "/v1/keys/{id}/usage"} {
		if paths[path] == nil {
			t.Errorf("%s is not in the document", path)
		}
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("OpenAPI %v", doc["openapi"])
	}
	for path, want := range map[string]string{"/docs": "/docs/start.js", "/metrics": "keytrail_http_requests_total", "/livez": "live", "/readyz": `"ready":true`} {
		if status, _, text := s.do("", "GET", path, ""); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.100s", path, status, text)
		}
	}
}
