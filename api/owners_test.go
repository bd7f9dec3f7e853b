package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// An owner is any text that a key's owner can be, and found as its keys have it.
func TestAnOwnerIsAnyText(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	s.must(s.root, "PUT", "/v1/keyspaces/bot", `{"format":{"prefix":"bot_","alphabet":"hex","length":32},"requirements":[{"attribute":"discord_id"}]}`)
	for i, owner := range []string{"u", "a/b", "//", "..", ".", "%2F", "%", "a+b c", "?x=y#z", "ü 中 😀", `"\`, "*.>", strings.Repeat("é", 200)} {
		path := "/v1/owners/" + strings.ReplaceAll(url.PathEscape(owner), ".", "%2E") + "/attributes?org_id=" + org
		_, secret := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"keyspace":"bot","name":"n","owner":%q}`, org, owner))
		verify := func() any { return s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`"}`)["code"] }
		if code := verify(); code != "REQUIREMENT_UNMET" {
			t.Errorf("%q without the attribute is %s", owner, code)
		}
		s.must(s.root, "PUT", path, fmt.Sprintf(`{"discord_id":"%d"}`, i))
		if m := s.must(s.root, "GET", path, ""); m["discord_id"] != fmt.Sprint(i) || verify() != "VALID" {
			t.Errorf("%q has %v and is %s", owner, m, verify())
		}
	}
	for _, owner := range []string{"%00", "a%0Ab", "%FF", "%E2%80%AE", strings.Repeat("u", 201)} {
		for _, method := range []string{"PUT", "PATCH"} {
			if status, _, text := s.do(s.root, method, "/v1/owners/"+owner+"/attributes?org_id="+org, `{}`); status != 400 {
				t.Errorf("%s of %s is answered %d %s", method, owner, status, text)
			}
		}
	}
}

// Attributes are bounded in number and size, and a merge cannot exceed what a replacement may have.
func TestAttributesAreBounded(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	many := func(from, n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"a%d":"v"`, from+i))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	for _, path := range []string{"/v1/owners/u/attributes?org_id=" + org, "/v1/organizations/" + org + "/attributes"} {
		for _, body := range []string{many(0, 51), many(0, 10_000), `{"":"x"}`, `{"a b":"x"}`, `{"` + strings.Repeat("a", 65) + `":"x"}`, `{"a":"` + strings.Repeat("x", 501) + `"}`,
			`{"a":"\u0000"}`, `{"a":"\u202e"}`, `{"a":1}`, `{"a":null}`, `{"a":{}}`, `{"a":"x","a":"y"}`, `[]`, `null`, `"x"`} {
			if status, _, text := s.do(s.root, "PUT", path, body); status != 400 {
				t.Errorf("%s %.40s is answered %d %s", path, body, status, text)
			}
		}
		s.must(s.root, "PUT", path, many(0, 50))
	}
	for path, body := range map[string]string{"/v1/owners/u/attributes?org_id=" + org: many(50, 1), "/v1/organizations/" + org: `{"attributes":` + many(50, 1) + `}`} {
		if status, _, text := s.do(s.root, "PATCH", path, body); status != 400 || !strings.Contains(text, "50 entries") {
			t.Errorf("one more by %s is answered %d %s", path, status, text)
		}
	}
}

// What one organization says of an owner says nothing of the owner of that name in another, and a
// key of the one reaches nothing of the other.
func TestOwnersBelongToTheirOrganization(t *testing.T) {
	s := start(t)
	acme, other := s.tenant("acme"), s.tenant("other")
	s.must(acme.adminSecret, "PUT", "/v1/owners/u/attributes", `{"a":"acme"}`)
	for _, method := range []string{"GET", "PUT", "PATCH"} {
		body := `{"a":"other"}`
		if method == "GET" {
			body = ""
		}
		if status, _, text := s.do(other.adminSecret, method, "/v1/owners/u/attributes?org_id="+acme.org, body); status != 404 {
			t.Errorf("%s for another organization is answered %d %s", method, status, text)
		}
	}
	s.must(other.adminSecret, "PUT", "/v1/owners/u/attributes", `{"a":"other"}`)
	if m := s.must(s.root, "GET", "/v1/owners/u/attributes?org_id="+acme.org, ""); m["a"] != "acme" {
		t.Errorf("acme's owner has %v", m)
	}
	_, reader := s.create(s.root, `{"org_id":"`+acme.org+`","keyspace":"keytrail","name":"r","scopes":["owners:read"]}`)
	if status, _, text := s.do(reader, "PATCH", "/v1/owners/u/attributes", `{"a":null}`); status != 403 {
		t.Errorf("a reader writes: %d %s", status, text)
	}
	if status, _, text := s.do(s.root, "PUT", "/v1/owners/u/attributes?org_id=org_00000000000000000000000001", `{}`); status != 400 && status != 404 {
		t.Errorf("of no organization: %d %s", status, text)
	}
}

// A change with If-Match is refused once the owner has moved on, and a repeated one changes nothing.
func TestOwnersHaveRevisions(t *testing.T) {
	s := start(t)
	path := "/v1/owners/u/attributes?org_id=" + s.org("acme")
	if _, header, _ := s.do(s.root, "GET", path, ""); header.Get("ETag") != "" {
		t.Errorf("an owner without history has the ETag %s", header.Get("ETag"))
	}
	_, header, _ := s.do(s.root, "PUT", path, `{"a":"1"}`, "Idempotency-Key", "one")
	first := header.Get("ETag")
	_, header, _ = s.do(s.root, "PUT", path, `{"a":"1"}`, "Idempotency-Key", "one")
	if header.Get("ETag") != first || first == "" {
		t.Errorf("the repeated request's ETag is %s, not %s", header.Get("ETag"), first)
	}
	s.must(s.root, "PATCH", path, `{"b":"2"}`, "If-Match", first)
	if status, _, text := s.do(s.root, "PATCH", path, `{"c":"3"}`, "If-Match", first); status != 412 {
		t.Errorf("a stale change is answered %d %s", status, text)
	}
}

// A batch of verifications is bounded.
func TestABatchOfVerificationsIsBounded(t *testing.T) {
	s := start(t)
	keys := func(n int, key string) string {
		return `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"key":"`+key+`"},`, n), ",") + `]}`
	}
	for body, want := range map[string]int{keys(100, "k"): 200, keys(101, "k"): 400, keys(100, strings.Repeat("k", 2700)): 413, `{}`: 400, `{"keys":null}`: 400, `{"keys":[null]}`: 400, `{"keys":[{}]}`: 400,
		`{"keys":[{"key":"k","more":1}]}`: 400, `[]`: 400, ``: 400} {
		if status, _, text := s.do(s.root, "POST", "/v1/verify/batch", body); status != want {
			t.Errorf("%.60s is answered %d %.200s, want %d", body, status, text, want)
		}
	}
}
