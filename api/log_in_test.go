package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// TestPeopleLogIn: a user without a password gets one by a reset, logs in, and changes it.
func TestPeopleLogIn(t *testing.T) {
	s := start(t)
	org, other := s.org("acme"), s.org("globex")
	ada := s.person("ada")
	ada.happens(eventstore.AddressRef("ada@example.com"), domain.AddressClaimed{Email: "ada@example.com", User: ada.id, Header: now()})
	ada.joins(org, domain.RoleAdmin)
	logIn := func(text, more string) (int, http.Header, string) {
		return s.do("", "POST", "/v1/sessions", fmt.Sprintf(`{"email":"Ada@example.com","password":%q%s}`, text, more))
	}
	expect := func(step string, status, want int, text, part string) {
		t.Helper()
		if status != want || !strings.Contains(text, part) {
			t.Errorf("%s: %d %s", step, status, text)
		}
	}
	const first, second = "tangent lamp orbit", "seven grey anvils"
	status, _, text := logIn(first, "")
	expect("without a password", status, 401, text, `"code":"invalid_credentials"`)

	_, tenant := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"keyspace":"keytrail","name":"tenant","scopes":["*"]}`, org))
	reset := "/v1/users/" + string(ada.id) + "/password-reset"
	if status := s.status(tenant, "POST", reset, ""); status != 403 {
		t.Errorf("an organization's key makes a reset: %d", status)
	}
	token := s.must(s.root, "POST", reset, "")["token"].(string)
	for body, want := range map[string]int{
		`{"token":"ktpwr_x","password":"` + first + `"}`:              404,
		`{"token":"` + token + `","password":"short"}`:                400,
		`{"token":"` + token + `","password":"ada@example.com"}`:      400,
		`{"token":"` + token + `","password":"` + first + `","x":1}`:  400,
		`{"token":"` + strings.Repeat("x", 20<<10) + `"}`:             413,
		`{"token":"` + token + `","token":"x","password":"whatever"}`: 400,
	} {
		status, _, text := s.do("", "POST", "/v1/passwords/reset", body)
		expect(fmt.Sprintf("%.60s", body), status, want, text, `"code"`)
		if strings.Contains(text, token) || strings.Contains(text, first) {
			t.Errorf("a refusal shows a secret: %s", text)
		}
	}
	status, _, text = s.do("", "POST", "/v1/passwords/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, token, first))
	expect("reset", status, 204, text, "")
	status, _, text = s.do("", "POST", "/v1/passwords/reset", fmt.Sprintf(`{"token":%q,"password":%q}`, token, second))
	expect("reset twice", status, 404, text, "reset_not_found")

	status, header, text := logIn(first, "")
	expect("log-in", status, 201, text, fmt.Sprintf(`"user":{"id":%q,"email":"ada@example.com","name":"ada"},"org_id":%q`, ada.id, org))
	if header.Get("Cache-Control") != "no-store" || header.Get("Keytrail-Position") == "" {
		t.Error(header)
	}
	begun := s.must("", "POST", "/v1/sessions", fmt.Sprintf(`{"email":"ada@example.com","password":%q,"org_id":%q}`, first, org))
	session := begun["token"].(string)
	if who := s.must(session, "GET", "/v1/principal", ""); who["id"] != string(ada.id) || who["org_id"] != org {
		t.Error(who)
	}
	status, _, text = logIn(first, fmt.Sprintf(`,"org_id":%q`, other))
	expect("another organization", status, 404, text, "organization_not_found")
	status, _, text = logIn(first, `,"org_id":"x"`)
	expect("none at all", status, 400, text, `"field":"org_id"`)

	change := func(key, present string) (int, http.Header, string) {
		return s.do(key, "PUT", "/v1/principal/password", fmt.Sprintf(`{"password":%q,"new_password":%q}`, present, second))
	}
	status, _, text = change(s.root, first)
	expect("a key's password", status, 403, text, "no_session")
	status, _, text = change(session, "wrong")
	expect("by a wrong one", status, 403, text, "wrong_password")
	status, _, text = change(session, first)
	expect("change", status, 204, text, "")
	if status := s.status(session, "GET", "/v1/principal", ""); status != 200 {
		t.Errorf("the session that asked: %d", status)
	}
	status, _, text = logIn(first, "")
	expect("with the old one", status, 401, text, "invalid_credentials")
	for range 3 {
		logIn("wrong", "")
	}
	status, header, text = logIn(second, "")
	if expect("back-off", status, 429, text, "too_many_log_ins"); header.Get("Retry-After") == "" {
		t.Error(header)
	}
}

// TestNoLogInLandsInASuspendedOrganization: its session would be good for nothing, not even for going over to another one.
func TestNoLogInLandsInASuspendedOrganization(t *testing.T) {
	s := start(t)
	orgs := []string{s.org("acme"), s.org("globex")}
	made := s.must(s.root, "POST", "/v1/users", `{"email":"ada@example.com","password":"tangent lamp orbit"}`)
	for _, org := range orgs {
		s.must(s.root, "PUT", "/v1/organizations/"+org+"/members/"+made["id"].(string), `{"role":"owner"}`)
	}
	logIn := func(more string) (int, string) {
		status, _, text := s.do("", "POST", "/v1/sessions", `{"email":"ada@example.com","password":"tangent lamp orbit"`+more+`}`)
		return status, text
	}
	for i, org := range orgs {
		s.must(s.root, "POST", "/v1/organizations/"+org+"/suspend", "")
		if status, text := logIn(fmt.Sprintf(`,"org_id":%q`, org)); status != http.StatusForbidden || !strings.Contains(text, "suspended") {
			t.Errorf("into it: %d %s", status, text)
		}
		want := `"org_id":"` + orgs[1] + `"`
		if i == 1 {
			want = `"org_id":null`
		}
		if status, text := logIn(""); status != http.StatusCreated || !strings.Contains(text, want) {
			t.Errorf("with %d suspended: %d %s, want %s", i+1, status, text, want)
		}
	}
}
