package api_test

import (
	"encoding/json"
	"fmt"
	"testing"
)

// A tenant is an organization with three product keys and two management keys.
type tenant struct{ org, admin, adminSecret, weak, weakSecret string }

func (s *service) tenant(name string) (t tenant) {
	t.org = s.org(name)
	for i := range 3 {
		s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"n%d"}`, t.org, i))
	}
	t.admin, t.adminSecret = s.create(s.root, `{"org_id":"`+t.org+`","name":"admin","keyspace":"keytrail","scopes":["*","keys:reveal"]}`)
	t.weak, t.weakSecret = s.create(s.root, `{"org_id":"`+t.org+`","name":"weak","keyspace":"keytrail","scopes":["keys:write","keys:read"]}`)
	return t
}

func TestABulkFilterThatSaysNothingIsRefused(t *testing.T) {
	s := start(t)
	acme := s.tenant("acme")
	rootID := s.must(s.root, "GET", "/v1/principal", "")["id"].(string)
	for filter, field := range map[string]string{
		`{}`:                       "filter",
		`{"owner":""}`:             "filter.owner",
		`{"owner":null}`:           "filter.owner",
		`{"name":"n","prefix":""}`: "filter.prefix",
		`{"name":"n","org_id":""}`: "filter.org_id",
		`{"created_after":"0001-01-01T00:00:00Z"}`:                "filter.created_after",
		`{"org_id":"` + acme.org + `"}`:                           "filter",
		`{"status":"active"}`:                                     "filter",
		`{"keyspace":"default","status":"active"}`:                "filter",
		`{"org_id":"` + acme.org + `","status":"active"}`:         "filter",
		`{"keyspace":"default","all":true}`:                       "filter.org_id",
		`{"all":true}`:                                            "filter.org_id",
		`{"org_id":"","all":true}`:                                "filter.org_id",
		`{"org_id":"` + acme.org + `","all":false}`:               "filter.all",
		`{"org_id":"` + acme.org + `","all":true,"owner":"o"}`:    "filter.all",
		`{"org_id":"` + acme.org + `","all":true,"owner":""}`:     "filter.owner",
		`{"org_id":"` + acme.org + `","all":true,"name":"admin"}`: "filter.all",
	} {
		for _, more := range []string{``, `,"dry_run":true`} {
			status, _, text := s.do(s.root, "POST", "/v1/keys/revoke", `{"filter":`+filter+more+`}`)
			var p struct {
				Code   string
				Errors []struct{ Field string }
			}
			if json.Unmarshal([]byte(text), &p) != nil || status != 400 || p.Code != "invalid_field" || len(p.Errors) != 1 || p.Errors[0].Field != field {
				t.Errorf("%s: %d %s, want %s refused", filter, status, text, field)
			}
		}
	}
	if n := len(s.must(s.root, "GET", "/v1/keys?status=revoked", "")["items"].([]any)); n != 0 {
		t.Errorf("%d keys are revoked", n)
	}
	// What chooses the root key all the same leaves it out.
	a := s.must(s.root, "POST", "/v1/keys/revoke", `{"filter":{"created_after":"2020-01-01T00:00:00Z"}}`)
	if a["revoked"] != 5.0 || failure(a, rootID) != "own_key" {
		t.Errorf("by the root key: %v", a)
	}
	s.must(s.root, "GET", "/v1/principal", "")
}

// failure is the code under which a bulk left out a key.
func failure(a map[string]any, id string) any {
	for _, f := range a["failed"].([]any) {
		if f := f.(map[string]any); f["id"] == id {
			return f["code"]
		}
	}
	return nil
}

// TestADryRunCountsWhatIsThenDone asks as each kind of caller, first dry and then for good.
func TestADryRunCountsWhatIsThenDone(t *testing.T) {
	s := start(t)
	rootID := s.must(s.root, "GET", "/v1/principal", "")["id"].(string)
	_, second := s.create(s.root, `{"name":"second","keyspace":"keytrail","scopes":["*"]}`)
	for i, c := range []struct {
		by      func(tenant) string
		request func(tenant) string
		revoked float64
		failed  func(tenant) map[string]string
	}{
		{func(t tenant) string { return s.root }, func(t tenant) string { return `"filter":{"org_id":"` + t.org + `","all":true}` }, 5,
			func(t tenant) map[string]string { return nil }},
		{func(t tenant) string { return t.adminSecret }, func(t tenant) string { return `"filter":{"all":true}` }, 4,
			func(t tenant) map[string]string { return map[string]string{t.admin: "own_key"} }},
		{func(t tenant) string { return t.weakSecret }, func(t tenant) string { return `"filter":{"org_id":"` + t.org + `","all":true}` }, 3,
			func(t tenant) map[string]string {
				return map[string]string{t.weak: "own_key", t.admin: "scope_escalation"}
			}},
		{func(t tenant) string { return t.weakSecret }, func(t tenant) string { return `"ids":["` + t.weak + `","` + t.admin + `","` + rootID + `"]` }, 0,
			func(t tenant) map[string]string {
				return map[string]string{t.weak: "own_key", t.admin: "scope_escalation", rootID: "key_not_found"}
			}},
		{func(t tenant) string { return second }, func(t tenant) string { return `"ids":["` + t.weak + `","` + rootID + `"]` }, 1,
			func(t tenant) map[string]string { return map[string]string{rootID: "root_key_protected"} }},
	} {
		org := s.tenant(fmt.Sprint("org", i))
		for _, dry := range []string{`,"dry_run":true`, ``} {
			a := s.must(c.by(org), "POST", "/v1/keys/revoke", `{`+c.request(org)+dry+`}`)
			want := c.failed(org)
			if a["revoked"] != c.revoked || a["already_revoked"] != 0.0 || len(a["failed"].([]any)) != len(want) {
				t.Errorf("%d %s: %v, want %v revoked and failed %v", i, dry, a, c.revoked, want)
			}
			for id, code := range want {
				if failure(a, id) != code {
					t.Errorf("%d %s: %v, want %s %s", i, dry, a, id, code)
				}
			}
		}
	}
	// Alone, a caller's own key can be revoked; it is the last thing that it does.
	org := s.tenant("last")
	s.must(org.weakSecret, "POST", "/v1/keys/"+org.weak+"/revoke", "")
}

func TestTheRootKeyStays(t *testing.T) {
	s := start(t)
	path := "/v1/keys/" + s.must(s.root, "GET", "/v1/principal", "")["id"].(string)
	_, second := s.create(s.root, `{"name":"second","keyspace":"keytrail","scopes":["*"]}`)
	for _, by := range []string{s.root, second} {
		for _, c := range [][3]string{{"POST", "/revoke", ""}, {"POST", "/disable", ""}, {"PATCH", "", `{"scopes":["keys:read"]}`}, {"PATCH", "", `{"scopes":[]}`},
			{"PATCH", "", `{"expires_at":"2099-01-01T00:00:00Z"}`}, {"PATCH", "", `{"allowed_cidrs":["192.0.2.1"]}`}, {"PATCH", "", `{"rate_limits":[{"limit":1,"window":"1h"}]}`}} {
			if status, _, text := s.do(by, c[0], path+c[1], c[2]); status != 409 || !json.Valid([]byte(text)) {
				t.Errorf("%s %s %s: %d %s", c[0], c[1], c[2], status, text)
			}
		}
	}
	s.must(second, "PATCH", path, `{"name":"the root key","owner":"ops"}`)
	rotated := s.must(s.root, "POST", path+"/rotate", "")["secret"].(string)
	if p := s.must(rotated, "GET", "/v1/principal", ""); p["scopes"].([]any)[0] != "*" {
		t.Errorf("%v", p)
	}
	if status, _, _ := s.do(s.root, "GET", "/v1/principal", ""); status != 401 {
		t.Error("the old secret of the root key is still good")
	}
}
