package api_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// trusts gives an organization a provider.
func (p *person) trusts(org, issuer, client string) {
	p.t.Helper()
	p.happens(eventstore.SSORef(domain.OrgID(org)), domain.SSOConfigured{SSODefinition: domain.SSODefinition{Issuer: issuer, ClientID: client, ReturnURLs: []string{"https://app.example.com/"}}, Header: now()})
}

const evil = "https://id.evil.example.com"

// TestAProviderReachesNothingBeyondItsOrganization: a session that an organization's provider brought
// about asks each route that is about one's own, of a user who is elsewhere, too, and has a password.
func TestAProviderReachesNothingBeyondItsOrganization(t *testing.T) {
	s := start(t)
	acme, globex := s.org("acme"), s.org("globex")
	made := s.must(s.root, "POST", "/v1/users", `{"email":"ada@example.com","name":"Ada","password":"tangent lamp orbit"}`)
	ada := &person{s, domain.UserID(made["id"].(string)), nil}
	ada.joins(acme, domain.RoleOwner)
	ada.joins(globex, domain.RoleOwner)
	ada.trusts(acme, evil, "keytrail")
	elsewhere, none, beside := ada.logIn(globex), ada.logIn(""), ada.logIn(acme)
	token := ada.comesBy(evil, acme)
	session := func(token string) string {
		return s.must(token, "GET", "/v1/principal", "")["session_id"].(string)
	}
	self := "/v1/users/" + string(ada.id)
	invited := s.must(s.root, "POST", "/v1/organizations/"+s.org("initech")+"/invitations", `{"email":"ada@example.com","role":"owner"}`)["token"].(string)

	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"DELETE", "/v1/sessions/" + session(elsewhere), "", 404, "session_not_found"},
		{"DELETE", "/v1/sessions/" + session(none), "", 404, "session_not_found"},
		{"PUT", "/v1/principal/password", `{"password":"tangent lamp orbit","new_password":"another lamp orbit"}`, 403, "sso_session"},
		{"PUT", "/v1/principal/password", `{"password":"a guess at the password","new_password":"another lamp orbit"}`, 403, "sso_session"},
		{"POST", "/v1/invitations/accept", `{"token":"` + invited + `"}`, 403, "sso_session"},
		{"POST", "/v1/sessions/current/switch", `{"org_id":"` + globex + `"}`, 403, "other_provider"},
		{"POST", "/v1/sessions/current/switch", `{"org_id":"` + s.org("strangers") + `"}`, 403, "other_provider"}, // no other answer
		{"DELETE", "/v1/organizations/" + globex + "/members/" + string(ada.id), "", 404, "organization_not_found"},
		{"PATCH", self, `{"name":"Eve"}`, 403, "organization_out_of_reach"},
		{"PATCH", self, `{"email":"eve@example.com"}`, 403, "organization_out_of_reach"},
		{"POST", self + "/password-reset", "", 403, "organization_out_of_reach"},
		{"DELETE", self, "", 403, "organization_out_of_reach"},
		{"GET", "/v1/sessions?user_id=" + string(ada.id), "", 200, ""},
	} {
		if status, _, answer := s.do(token, c.method, c.path, c.body); status != c.status || !strings.Contains(answer, c.code) {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.method, c.path, c.body, status, answer, c.status, c.code)
		}
	}
	for _, query := range []string{"", "?user_id=" + string(ada.id)} {
		items := s.must(token, "GET", "/v1/sessions"+query, "")["items"].([]any)
		for _, x := range items {
			if x.(map[string]any)["org_id"] != acme {
				t.Errorf("it sees %v", x)
			}
		}
		if len(items) != 2 {
			t.Errorf("of its own organization it sees %v", items)
		}
	}

	// It ends those in its organization, and no others.
	if status := s.status(token, "POST", self+"/sessions/revoke", ""); status != http.StatusNoContent {
		t.Errorf("ending all: %d", status)
	}
	for name, c := range map[string]struct {
		token string
		want  int
	}{"that asked": {token, 200}, "of another organization": {elsewhere, 200}, "of none": {none, 200}, "of its organization": {beside, 401}} {
		if status := s.status(c.token, "GET", "/v1/principal", ""); status != c.want {
			t.Errorf("the one %s: %d, want %d", name, status, c.want)
		}
	}
	if status := s.status(ada.logIn(globex), "PUT", "/v1/principal/password", `{"password":"tangent lamp orbit","new_password":"another lamp orbit"}`); status != http.StatusNoContent {
		t.Errorf("one's own session changes the password: %d", status)
	}
}

// TestSessionsEndWithTheClientOfTheirProvider: another client may be for other people, and is no way into
// organizations that trust it. What has ended does not come back with the provider.
func TestSessionsEndWithTheClientOfTheirProvider(t *testing.T) {
	s := start(t)
	acme, globex := s.org("acme"), s.org("globex")
	ada := s.person("ada")
	for _, org := range []string{acme, globex} {
		ada.joins(org, domain.RoleOwner)
	}
	ada.trusts(globex, evil, "of globex")
	becomes := func(client string, enforced bool) {
		ada.happens(eventstore.SSORef(domain.OrgID(acme)), domain.SSOUpdated{SSODefinition: domain.SSODefinition{Issuer: evil, ClientID: client, Enforced: enforced}, Header: now()})
	}
	ada.trusts(acme, evil, "keytrail")
	token := ada.comesBy(evil, acme)
	becomes("keytrail", true)
	if status := s.status(token, "GET", "/v1/principal", ""); status != 200 {
		t.Fatalf("with the same client: %d", status)
	}
	becomes("of globex", false)
	if status := s.status(token, "POST", "/v1/sessions/current/switch", `{"org_id":"`+globex+`"}`); status != http.StatusUnauthorized {
		t.Errorf("with another client it goes on elsewhere: %d", status)
	}
	becomes("keytrail", false)
	if status := s.status(token, "GET", "/v1/principal", ""); status != http.StatusUnauthorized {
		t.Errorf("it came back: %d", status)
	}
	ada.happens(eventstore.SSORef(domain.OrgID(acme)), domain.SSORemoved{Header: now()})
	second := ada.logIn(acme)
	ada.trusts(acme, evil, "keytrail")
	if status := s.status(second, "GET", "/v1/principal", ""); status != 200 {
		t.Errorf("one by password: %d", status)
	}

	// The provider is replaced while a log-in is under way.
	u, err := s.store.User(ada.id)
	if err == nil {
		_, err = s.commands.BeginSession(t.Context(), commands.BeginSession{User: u.User, Org: domain.OrgID(acme), Method: domain.BySSO, Issuer: evil, Client: "of before"})
	}
	if !errors.Is(err, domain.ErrInvalidCredentials) {
		t.Errorf("by a client of before: %v", err)
	}
}
