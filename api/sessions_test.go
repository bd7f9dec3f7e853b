package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A person is a user of a service under test.
type person struct {
	*service
	id   domain.UserID
	last map[eventstore.Ref]eventstore.Position
}

// person creates a user.
func (s *service) person(name string) *person {
	s.t.Helper()
	p := &person{s, domain.NewUserID(name), map[eventstore.Ref]eventstore.Position{}}
	p.happens(eventstore.UserRef(p.id), domain.UserCreated{ID: p.id, Email: name + "@example.com", Name: name, Header: now()})
	return p
}

func now() domain.Header { return domain.Header{At: time.Now().UTC(), By: "system"} }

// happens writes an event and waits until the read model has it.
func (p *person) happens(ref eventstore.Ref, e domain.Event) {
	p.t.Helper()
	end, err := p.ledger.Last(p.t.Context(), ref)
	if err == nil {
		end, err = p.ledger.Append(p.t.Context(), ref, end, eventstore.Command{}, e)
	}
	if err == nil {
		err = p.store.WaitFor(p.t.Context(), end)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) joins(org, role string) {
	p.t.Helper()
	p.happens(eventstore.MembersRef(domain.OrgID(org)), domain.MembershipCreated{User: p.id, Role: role, Header: now()})
}

// logIn gives the token of a new session.
func (p *person) logIn(org string) string {
	p.t.Helper()
	return p.begin(commands.BeginSession{Org: domain.OrgID(org), Method: domain.ByPassword})
}

// comesBy gives the token of a new session by the provider of an organization.
func (p *person) comesBy(issuer, org string) string {
	p.t.Helper()
	return p.begin(commands.BeginSession{Org: domain.OrgID(org), Method: domain.BySSO, Issuer: issuer, Client: "keytrail"})
}

func (p *person) begin(c commands.BeginSession) string {
	p.t.Helper()
	u, err := p.store.User(p.id)
	if err != nil {
		p.t.Fatal(err)
	}
	c.User, c.IP, c.UserAgent = u.User, "192.0.2.7", "test\n1"
	begun, err := p.commands.BeginSession(p.t.Context(), c)
	if err == nil {
		err = p.store.WaitFor(p.t.Context(), begun.Position)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return begun.Token.Reveal()
}

// verify is the outcome of a token for a product.
func (s *service) verify(token, more string) string {
	s.t.Helper()
	return s.must(s.root, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q%s}`, token, more))["code"].(string)
}

func (s *service) status(token, method, path, body string) int {
	s.t.Helper()
	status, _, _ := s.do(token, method, path, body)
	return status
}

// TestASessionIsGoodForTheServiceAndForProducts asks each way of verification about one session.
func TestASessionIsGoodForTheServiceAndForProducts(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	ada := s.person("ada")
	ada.joins(org, domain.RoleAdmin)
	token := ada.logIn(org)

	who := s.must(token, "GET", "/v1/principal", "")
	if who["id"] != string(ada.id) || who["kind"] != "session" || who["org_id"] != org || who["role"] != "admin" || who["user"].(map[string]any)["email"] != "ada@example.com" {
		t.Errorf("%v", who)
	}
	key, secret := s.create(token, `{"name":"ci"}`)
	if got := s.must(s.root, "GET", "/v1/keys/"+key, ""); got["org_id"] != org || got["created_by"] != nil && got["created_by"] != string(ada.id) {
		t.Errorf("a key that a session made: %v", got)
	}
	if status := s.status(token, "POST", "/v1/organizations", `{"name":"x"}`); status != http.StatusForbidden {
		t.Errorf("what the role does not give: %d", status)
	}

	answer := s.must(s.root, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q,"scopes":["keys:read"]}`, token))
	for name, want := range map[string]any{"valid": true, "code": "VALID", "session_id": who["session_id"], "user_id": string(ada.id), "org_id": org, "role": "admin", "owner": string(ada.id), "name": "ada@example.com", "key_id": nil, "keyspace": nil} {
		if answer[name] != want {
			t.Errorf("%s is %v, want %v", name, answer[name], want)
		}
	}
	s.must(s.root, "POST", "/v1/keyspaces", `{"name":"shop","scopes":[{"scope":"orders:read"}],"format":{"prefix":"sh_","alphabet":"base36","length":32}}`)
	if got := s.verify(token, `,"keyspace":"shop"`); got != "NOT_FOUND" {
		t.Errorf("a keyspace that says nothing of sessions: %s", got)
	}
	s.must(s.root, "PUT", "/v1/keyspaces/shop", `{"scopes":[{"scope":"orders:read"}],"sessions":{"roles":[{"role":"admin","scopes":["orders:read"]}]},"format":{"prefix":"sh_","alphabet":"base36","length":32}}`)
	if got := s.verify(token, `,"keyspace":"shop","scopes":["orders:read"]`); got != "VALID" {
		t.Errorf("a scope that the keyspace adds: %s", got)
	}
	if got := s.verify(token, `,"keyspace":"shop","scopes":["orders:write"]`); got != "INSUFFICIENT_SCOPE" {
		t.Errorf("another scope: %s", got)
	}
	if got := s.verify(token, `,"org_id":"`+s.org("globex")+`"`); got != "WRONG_ORGANIZATION" {
		t.Errorf("another organization's resource: %s", got)
	}
	batch := s.must(s.root, "POST", "/v1/verify/batch", fmt.Sprintf(`{"keys":[{"key":%q},{"key":%q}]}`, token, secret))["answers"].([]any)
	if batch[0].(map[string]any)["user_id"] != string(ada.id) || batch[1].(map[string]any)["key_id"] != key {
		t.Errorf("%v", batch)
	}
	status, header, _ := s.do(token, "GET", "/v1/authorize/shop?scope=orders:read", "")
	if status != http.StatusOK || header.Get("X-Keytrail-Key-Id") != "" || header.Get("X-Keytrail-Session-Id") != who["session_id"] || header.Get("X-Keytrail-Owner") != string(ada.id) || header.Get("X-Keytrail-Role") != "admin" {
		t.Errorf("through a gateway: %d %v", status, header)
	}
	_, _, shown := s.do(s.root, "POST", "/v1/introspect", "token="+token, "Content-Type", "application/x-www-form-urlencoded")
	if !strings.Contains(shown, `"username":"ada@example.com"`) || !strings.Contains(shown, `"active":true`) || strings.Contains(shown, "client_id") {
		t.Errorf("introspected: %s", shown)
	}
	if status := s.status(token, "POST", "/v1/tokens", ""); status != http.StatusUnauthorized {
		t.Errorf("a token of a session: %d", status)
	}
	s.status(token, "POST", "/v1/keys/self/revoke", "") // it revokes keys alone
	if got := s.verify(token, ""); got != "VALID" {
		t.Errorf("a session that was to revoke itself as a key: %s", got)
	}
}

// TestASessionEndsAtOnce changes what a session hangs on, and asks with a token that was good a moment
// before, of the service's own API and as a product.
func TestASessionEndsAtOnce(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	for i, c := range []struct {
		name    string
		happens func(p *person, token string)
		want    string
		status  int
	}{
		{"nothing", func(*person, string) {}, "VALID", 200},
		{"signing out", func(p *person, token string) {
			if status := s.status(token, "DELETE", "/v1/sessions/current", ""); status != http.StatusNoContent {
				t.Errorf("signing out: %d", status)
			}
		}, "REVOKED", 401},
		{"a changed password", func(p *person, _ string) { p.happens(eventstore.UserRef(p.id), domain.PasswordChanged{Header: now()}) }, "REVOKED", 401},
		{"all sessions revoked", func(p *person, _ string) { s.status(s.root, "POST", "/v1/users/"+string(p.id)+"/sessions/revoke", "") }, "REVOKED", 401},
		{"a disabled user", func(p *person, _ string) { p.happens(eventstore.UserRef(p.id), domain.UserDisabled{Header: now()}) }, "DISABLED", 401},
		{"a removed membership", func(p *person, _ string) {
			p.happens(eventstore.MembersRef(domain.OrgID(org)), domain.MembershipRemoved{User: p.id, Role: domain.RoleAdmin, Header: now()})
		}, "REVOKED", 401},
		{"another role", func(p *person, _ string) {
			p.happens(eventstore.MembersRef(domain.OrgID(org)), domain.MembershipUpdated{User: p.id, Role: domain.RoleMember, Former: domain.RoleAdmin, Header: now()})
		}, "INSUFFICIENT_SCOPE", 403},
		{"a rotated key without overlap", func(*person, string) { s.must(s.root, "POST", "/v1/sessions/keys/rotate", `{"overlap":"0s"}`) }, "NOT_FOUND", 401},
		{"a suspended organization", func(*person, string) {
			s.must(s.root, "POST", "/v1/organizations/"+org+"/suspend", `{"reason":"unpaid"}`)
		}, "ORG_SUSPENDED", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.person(fmt.Sprint("user", i))
			p.joins(org, domain.RoleAdmin)
			token := p.logIn(org)
			if got := s.verify(token, `,"scopes":["keys:read"]`); got != "VALID" {
				t.Fatalf("before: %s", got)
			}
			if status := s.status(token, "GET", "/v1/keys", ""); status != 200 {
				t.Fatalf("before: %d", status)
			}
			c.happens(p, token)
			if got := s.verify(token, `,"scopes":["keys:read"]`); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if status := s.status(token, "GET", "/v1/keys", ""); status != c.status {
				t.Errorf("%d, want %d", status, c.status)
			}
		})
	}
}

// TestAUserSwitchesOrganizations and has one session at a time.
func TestAUserSwitchesOrganizations(t *testing.T) {
	s := start(t)
	acme, globex, initech := s.org("acme"), s.org("globex"), s.org("initech")
	ada := s.person("ada")
	ada.joins(acme, domain.RoleMember)
	ada.joins(globex, domain.RoleOwner)
	ada.joins(initech, domain.RoleOwner)
	first := ada.logIn("")
	if who := s.must(first, "GET", "/v1/principal", ""); who["org_id"] != nil || who["reach"] != "none" {
		t.Errorf("%v", who)
	}
	if status := s.status(first, "GET", "/v1/keys", ""); status != http.StatusForbidden {
		t.Errorf("a session of no organization lists keys: %d", status)
	}
	to := func(token, org string) string {
		t.Helper()
		return s.must(token, "POST", "/v1/sessions/current/switch", `{"org_id":"`+org+`"}`)["token"].(string)
	}
	second := to(first, acme)
	if status := s.status(first, "GET", "/v1/principal", ""); status != http.StatusUnauthorized {
		t.Errorf("the one before: %d", status)
	}
	if status := s.status(second, "GET", "/v1/keys", ""); status != http.StatusForbidden {
		t.Errorf("a member lists keys: %d", status)
	}
	third := to(second, globex)
	if who := s.must(third, "GET", "/v1/principal", ""); who["org_id"] != globex || who["role"] != "owner" {
		t.Errorf("%v", who)
	}
	s.must(s.root, "POST", "/v1/organizations/"+initech+"/suspend", `{"reason":"r"}`)
	for org, want := range map[string]int{s.org("strangers"): 404, string(domain.NewOrgID("none")): 404, initech: 403, "x": 400} {
		if status := s.status(third, "POST", "/v1/sessions/current/switch", `{"org_id":"`+org+`"}`); status != want {
			t.Errorf("to %s: %d, want %d", org, status, want)
		}
	}
	if status := s.status(s.root, "POST", "/v1/sessions/current/switch", `{"org_id":"`+acme+`"}`); status != http.StatusForbidden {
		t.Errorf("a key switches: %d", status)
	}
}

// TestASwitchEscapesNoEnd ends a session in each way while its user switches: after the session was
// found good, and before the new one begins.
func TestASwitchEscapesNoEnd(t *testing.T) {
	s := start(t)
	acme, globex := s.org("acme"), s.org("globex")
	for i, end := range []func(p *person, x domain.Session){
		func(p *person, x domain.Session) {
			p.happens(eventstore.SessionsRef(domain.OrgID(acme), p.id), domain.SessionEnded{ID: x.ID, User: p.id, Reason: domain.SignedOut, Header: now()})
		},
		func(p *person, _ domain.Session) {
			p.happens(eventstore.UserRef(p.id), domain.SessionsRevoked{Header: now()})
		},
		func(p *person, _ domain.Session) {
			p.happens(eventstore.UserRef(p.id), domain.UserDisabled{Header: now()})
			p.happens(eventstore.UserRef(p.id), domain.UserEnabled{Header: now()})
		},
	} {
		p := s.person(fmt.Sprint("user", i))
		p.joins(acme, domain.RoleMember)
		p.joins(globex, domain.RoleMember)
		p.logIn(acme)
		u, err := s.store.User(p.id)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.store.Sessions(p.id)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		end(p, all[0])
		by := domain.Principal{ID: string(p.id), Org: domain.OrgID(acme), User: p.id, Session: all[0].ID}
		_, err = s.commands.SwitchSession(t.Context(), commands.SwitchSession{Request: commands.Request{By: by}, User: u.User, Present: all[0], Org: domain.OrgID(globex)})
		if err == nil || err.Error() != domain.ErrInvalidCredentials.Error() {
			t.Errorf("%d: %v", i, err)
		}
		if items := s.must(s.root, "GET", "/v1/sessions?user_id="+string(p.id), "")["items"].([]any); len(items) != 0 {
			t.Errorf("%d: %v", i, items)
		}
	}
}

// TestSessionsAreListedAndRevoked by their user, and by others within their reach.
func TestSessionsAreListedAndRevoked(t *testing.T) {
	s := start(t)
	acme, globex := s.org("acme"), s.org("globex")
	ada, bob, eve := s.person("ada"), s.person("bob"), s.person("eve")
	ada.joins(acme, domain.RoleMember)
	ada.joins(globex, domain.RoleMember)
	bob.joins(acme, domain.RoleAdmin)
	eve.joins(globex, domain.RoleOwner)
	one, two := ada.logIn(acme), ada.logIn(globex)
	admin, stranger := bob.logIn(acme), eve.logIn(globex)
	list := func(token, query string) (ids []string) {
		t.Helper()
		for _, x := range s.must(token, "GET", "/v1/sessions"+query, "")["items"].([]any) {
			ids = append(ids, x.(map[string]any)["id"].(string))
		}
		return ids
	}
	own, ofAda := list(one, ""), "?user_id="+string(ada.id)
	if len(own) != 2 || len(list(s.root, ofAda)) != 2 {
		t.Errorf("%v, %v", own, list(s.root, ofAda))
	}
	inAcme := list(admin, ofAda)
	if len(inAcme) != 1 || inAcme[0] != s.must(one, "GET", "/v1/principal", "")["session_id"] {
		t.Errorf("an admin sees %v", inAcme)
	}
	if status := s.status(one, "GET", "/v1/sessions?user_id="+string(bob.id), ""); status != http.StatusForbidden {
		t.Errorf("a member lists those of others: %d", status)
	}
	if status := s.status(s.root, "GET", "/v1/sessions", ""); status != http.StatusForbidden {
		t.Errorf("a key has sessions: %d", status)
	}
	if status := s.status(stranger, "DELETE", "/v1/sessions/"+inAcme[0], ""); status != http.StatusNotFound {
		t.Errorf("another organization's owner: %d", status)
	}
	if status := s.status(stranger, "POST", "/v1/users/"+string(ada.id)+"/sessions/revoke", ""); status != http.StatusNotFound {
		t.Errorf("another organization's owner revokes all: %d", status)
	}
	for range 2 { // a repeat is harmless
		if status := s.status(two, "GET", "/v1/principal", ""); status != 200 {
			t.Errorf("the other one: %d", status)
		}
	}
	if status := s.status(admin, "DELETE", "/v1/sessions/"+inAcme[0], ""); status != http.StatusNoContent || s.status(one, "GET", "/v1/principal", "") != http.StatusUnauthorized {
		t.Errorf("by an admin: %d", status)
	}
	third := ada.logIn(acme)
	s.status(two, "POST", "/v1/users/"+string(ada.id)+"/sessions/revoke", "")
	if s.status(third, "GET", "/v1/principal", "") != http.StatusUnauthorized || s.status(two, "GET", "/v1/principal", "") != 200 {
		t.Error("all but the one that asked were to end")
	}
}

// TestUsesOfSessionsAreOnRecord by the session's id, the user and the organization.
func TestUsesOfSessionsAreOnRecord(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	ada := s.person("ada")
	ada.joins(org, domain.RoleAdmin)
	token, none := ada.logIn(org), ada.logIn("")
	session := s.must(token, "GET", "/v1/principal", "")["session_id"].(string)
	s.verify(token, `,"scopes":["x:y"]`)
	s.must(none, "GET", "/v1/principal", "")
	s.settle()
	for query, want := range map[string]int{"key_id=" + session: 2, "key_id=" + session + "&code=INSUFFICIENT_SCOPE": 1, "type=key.used&actor=" + string(ada.id): 2, "type=key.used&org_id=" + org: 2} {
		items := s.must(s.root, "GET", "/v1/events?"+query, "")["items"].([]any)
		if len(items) != want {
			t.Errorf("%s: %d, want %d: %v", query, len(items), want, items)
		}
	}
	if items := s.must(token, "GET", "/v1/events?key_id="+session, "")["items"].([]any); len(items) < 2 {
		t.Errorf("to its own user: %v", items)
	}
}

// TestAKeyOfADepartedUserIsRefused by itself, before any of them is revoked.
func TestAKeyOfADepartedUserIsRefused(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	ada := s.person("ada")
	ada.joins(org, domain.RoleMember)
	_, hers := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"a","owner":%q}`, org, ada.id))
	_, managing := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"a","owner":%q,"keyspace":"keytrail","scopes":["keys:read"]}`, org, ada.id))
	_, other := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"a","owner":"ada"}`, org))
	members := eventstore.MembersRef(domain.OrgID(org))
	for _, c := range []struct {
		ref    eventstore.Ref
		e      domain.Event
		want   string
		status int
	}{
		{eventstore.UserRef(ada.id), domain.UserUpdated{Name: new("A"), Header: now()}, "VALID", 200},
		{eventstore.UserRef(ada.id), domain.UserDisabled{Header: now()}, "DISABLED", 401},
		{eventstore.UserRef(ada.id), domain.UserEnabled{Header: now()}, "VALID", 200},
		{members, domain.MembershipRemoved{User: ada.id, Role: domain.RoleMember, Header: now()}, "REVOKED", 401},
		{members, domain.MembershipCreated{User: ada.id, Role: domain.RoleMember, Header: now()}, "VALID", 200},
		{eventstore.UserRef(ada.id), domain.UserRemoved{Header: now()}, "REVOKED", 401},
	} {
		ada.happens(c.ref, c.e)
		if got := s.verify(hers, ""); got != c.want {
			t.Errorf("%s: %s, want %s", domain.TypeOf(c.e), got, c.want)
		}
		if status := s.status(managing, "GET", "/v1/keys", ""); status != c.status {
			t.Errorf("%s: %d, want %d", domain.TypeOf(c.e), status, c.status)
		}
	}
	if got := s.verify(other, ""); got != "VALID" {
		t.Errorf("an owner who is no user: %s", got)
	}
}
