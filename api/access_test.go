package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// writeSums puts on the ledger what was read and refused so far.
func (s *service) writeSums() {
	now, cancel := context.WithCancel(s.t.Context())
	cancel()
	s.commands.WriteSums(now)
}

// onRecord are the sums of a principal that an auditor finds, as lines of type, organization and data.
func (s *service) onRecord(auditor, actor string) (told []string) {
	s.t.Helper()
	s.writeSums()
	for _, e := range s.must(auditor, "GET", "/v1/events?type=keys.read,users.read,members.read,sessions.read,access.refused&actor="+actor, "")["items"].([]any) {
		event := e.(map[string]any)
		data := event["data"].(map[string]any)
		for _, of := range []string{"at", "by", "first"} {
			delete(data, of)
		}
		text, _ := json.Marshal(data)
		told = append(told, fmt.Sprint(event["type"], " ", event["orgid"], " ", string(text)))
	}
	slices.Sort(told)
	return told
}

func (s *service) expectRecord(auditor, actor string, want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if got := s.onRecord(auditor, actor); strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("the trail tells\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestReadingKeysIsOnRecord: what was asked for is told, without a secret that was put there by mistake.
func TestReadingKeysIsOnRecord(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	reader, secret := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"reader","scopes":["keys:read"]}`)
	id, shop := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	for range 3 { // pages, sorts and ranges of time are no other kind
		s.must(secret, "GET", "/v1/keys?owner=ann&status=active&limit=2", "")
		s.must(secret, "GET", "/v1/keys?owner=ann&status=active&sort=name&org_id=", "")
		s.must(secret, "GET", "/v1/keys/"+id, "")
	}
	s.must(secret, "GET", "/v1/keys/"+id+"/usage?from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z", "")
	s.must(secret, "GET", "/v1/keys/"+id+"/usage?from=2026-11-19T00:00:00Z&to=2026-11-20T00:00:00Z", "")
	s.must(secret, "GET", "/v1/usage", "")
	s.must(secret, "GET", "/v1/keys?name="+shop+"&prefix="+shop[:20], "")
	s.must(secret, "GET", "/v1/principal", "")
	if status, _, _ := s.do(secret, "GET", "/v1/keys?limit=0", ""); status != 400 {
		t.Error(status)
	}
	of := "keys.read " + org + " "
	s.expectRecord(s.root, reader,
		of+`{"count":3,"filter":{"owner":"ann","status":"active"},"route":"GET /v1/keys"}`,
		of+`{"count":3,"filter":{"org_id":"","owner":"ann","status":"active"},"route":"GET /v1/keys"}`,
		of+`{"count":3,"filter":{"id":"`+id+`"},"route":"GET /v1/keys/{id}"}`,
		of+`{"count":2,"filter":{"id":"`+id+`"},"from":"2026-11-19T00:00:00Z","route":"GET /v1/keys/{id}/usage","to":"2026-11-21T00:00:00Z"}`,
		of+`{"count":1,"route":"GET /v1/usage"}`,
		of+`{"count":1,"filter":{"name":"[not kept]","prefix":"[not kept]"},"route":"GET /v1/keys"}`)
	if _, _, text := s.do(s.root, "GET", "/v1/events?limit=1000", ""); strings.Contains(text, shop) || strings.Contains(text, shop[:20]) {
		t.Error("a secret is on the trail")
	}
}

// TestAnOrganizationKnowsWhoReadItsKeys also of an operator who serves the whole installation.
func TestAnOrganizationKnowsWhoReadItsKeys(t *testing.T) {
	s := start(t)
	acme, other := s.tenant("acme"), s.tenant("other")
	_, auditor := s.create(s.root, `{"org_id":"`+acme.org+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	operator, secret := s.create(s.root, `{"keyspace":"keytrail","name":"operator","scopes":["keys:read","keys:export"]}`)
	id, _ := s.create(s.root, `{"org_id":"`+acme.org+`","name":"n"}`)
	s.must(secret, "GET", "/v1/keys/"+id, "")
	s.must(secret, "GET", "/v1/keys?org_id="+acme.org, "")
	s.must(secret, "GET", "/v1/keys?org_id="+other.org, "")
	s.must(secret, "GET", "/v1/keys", "")
	if status, _, _ := s.do(secret, "GET", "/v1/keys/export", ""); status != 200 {
		t.Error(status)
	}
	ofAcme := []string{"keys.read " + acme.org + ` {"count":1,"filter":{"id":"` + id + `"},"route":"GET /v1/keys/{id}"}`,
		"keys.read " + acme.org + ` {"count":1,"filter":{"org_id":"` + acme.org + `"},"route":"GET /v1/keys"}`}
	installation := "keys.read org_00000000000000000000000000 "
	s.expectRecord(auditor, operator, ofAcme...)
	s.expectRecord(s.root, operator, append(ofAcme, "keys.read "+other.org+` {"count":1,"filter":{"org_id":"`+other.org+`"},"route":"GET /v1/keys"}`,
		installation+`{"count":1,"route":"GET /v1/keys"}`, installation+`{"count":1,"route":"GET /v1/keys/export"}`)...)
}

// TestRefusalsAreOnRecord of callers who are known, and what is another organization's is told like
// what does not exist.
func TestRefusalsAreOnRecord(t *testing.T) {
	s := start(t)
	acme, other := s.tenant("acme"), s.tenant("other")
	narrow, secret := s.create(s.root, `{"org_id":"`+acme.org+`","keyspace":"keytrail","name":"narrow","scopes":["sinks:read"]}`)
	for _, request := range []string{"GET /v1/keys", "GET /v1/keys", "POST /v1/keys/import", "POST /v1/verify", "POST /v1/introspect", "GET /v1/events"} {
		method, path, _ := strings.Cut(request, " ")
		if status, _, text := s.do(secret, method, path, ""); status != 403 {
			t.Errorf("%s: %d %s", request, status, text)
		}
	}
	of := "access.refused " + acme.org + " "
	s.expectRecord(s.root, narrow, of+`{"code":"scope_missing","count":2,"route":"GET /v1/keys","scope":"keys:read"}`,
		of+`{"code":"scope_missing","count":1,"route":"POST /v1/keys/import","scope":"keys:write"}`,
		of+`{"code":"scope_missing","count":1,"route":"POST /v1/verify","scope":"keys:verify"}`,
		of+`{"code":"scope_missing","count":1,"route":"POST /v1/introspect","scope":"keys:verify"}`,
		of+`{"code":"scope_missing","count":1,"route":"GET /v1/events","scope":"audit:read"}`)

	admin := acme.admin
	for _, id := range []string{other.admin, strings.Repeat("0", 26)} { // a key of another organization, and none
		s.do(acme.adminSecret, "POST", "/v1/keys/key_"+strings.TrimPrefix(id, "key_")+"/revoke", "")
	}
	s.do(acme.adminSecret, "GET", "/v1/keys?org_id="+other.org, "")
	s.do(acme.adminSecret, "POST", "/v1/organizations/"+acme.org+"/suspend", `{"reason":"mine"}`)
	s.do(acme.weakSecret, "POST", "/v1/keys", `{"keyspace":"keytrail","name":"n","scopes":["*"]}`)
	s.do(acme.adminSecret, "GET", "/v1/keys?keyspace=none", "") // of no access
	s.expectRecord(s.root, admin, of+`{"code":"key_not_found","count":2,"route":"POST /v1/keys/{id}/revoke","scope":"keys:write"}`,
		of+`{"code":"organization_not_found","count":1,"route":"GET /v1/keys","scope":"keys:read"}`,
		of+`{"code":"organization_out_of_reach","count":1,"route":"POST /v1/organizations/{id}/suspend","scope":"organizations:write"}`)
	s.expectRecord(s.root, acme.weak, of+`{"code":"scope_escalation","count":1,"route":"POST /v1/keys","scope":"keys:write"}`)

	before := s.onRecord(s.root, "")
	s.do("", "GET", "/v1/keys", "")
	s.do("kt_unknown", "GET", "/v1/keys", "")
	if got := s.onRecord(s.root, ""); len(got) != len(before) {
		t.Errorf("of callers who are not known: %v", got)
	}
}

// TestReadingSessionsOfOthersIsOnRecord by the person who did, and one's own are not.
func TestReadingSessionsOfOthersIsOnRecord(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	ann, bob := s.person("ann"), s.person("bob")
	ann.joins(org, "admin")
	bob.joins(org, "member")
	admin := ann.logIn(org)
	s.must(admin, "GET", "/v1/sessions", "")
	s.must(admin, "GET", "/v1/sessions?user_id="+string(ann.id), "")
	s.must(admin, "GET", "/v1/sessions?user_id="+string(bob.id), "")
	s.must(admin, "GET", "/v1/keys", "")
	if status, _, _ := s.do(bob.logIn(org), "GET", "/v1/keys", ""); status != 403 {
		t.Errorf("a member lists keys: %d", status)
	}
	s.expectRecord(s.root, string(ann.id), "keys.read "+org+` {"count":1,"route":"GET /v1/keys"}`,
		"sessions.read "+org+` {"count":1,"filter":{"user_id":"`+string(bob.id)+`"},"route":"GET /v1/sessions"}`)
	s.expectRecord(s.root, string(bob.id), "access.refused "+org+` {"code":"scope_missing","count":1,"route":"GET /v1/keys","scope":"keys:read"}`)
}
