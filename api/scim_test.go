package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

const scimUsers, scimGroups = "/v1/scim/v2/Users", "/v1/scim/v2/Groups"

// directory is a service with an organization whose directory has a key.
func directory(t *testing.T) (s *service, org, key string) {
	s = start(t)
	org = s.org("acme")
	_, key = s.create(s.root, fmt.Sprintf(`{"org_id":%q,"keyspace":"keytrail","name":"directory","scopes":["scim:write"]}`, org))
	return s, org, key
}

func (s *service) patch(key, path, operations string) (int, string) {
	status, _, text := s.do(key, "PATCH", path, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[`+operations+`]}`)
	return status, text
}

// provision makes a user of the directory.
func (s *service) provision(key, name string) (id string) {
	return s.must(key, "POST", scimUsers, fmt.Sprintf(`{"userName":%q,"active":true}`, name))["id"].(string)
}

// Who is deactivated is out with one event: keys that they own are refused, before any is revoked.
func TestWhoLeavesTheDirectoryIsOut(t *testing.T) {
	s, org, key := directory(t)
	ada := s.provision(key, "ada@acme.example")
	_, secret := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"laptop","owner":%q}`, org, ada))
	verify := func() any { return s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`"}`)["valid"] }
	if verify() != true {
		t.Fatal("a member's key is refused")
	}
	for range 2 { // a repetition is no news
		if status, text := s.patch(key, scimUsers+"/"+ada, `{"op":"Replace","path":"active","value":"False"}`); status != 200 {
			t.Fatal(status, text)
		}
		if verify() != false {
			t.Error("the key of who left is good")
		}
	}
	removed := s.must(s.root, "GET", "/v1/events?type=membership.removed", "")["items"].([]any)
	if len(removed) != 1 || removed[0].(map[string]any)["data"].(map[string]any)["reason"] != "directory" {
		t.Errorf("%d events: %v", len(removed), removed)
	}
	s.patch(key, scimUsers+"/"+ada, `{"op":"replace","path":"active","value":true}`)
	if verify() != true {
		t.Error("who came back has no key")
	}
}

// The address that a directory names is its organization's word: it takes nothing from a user who has
// it, and keeps nobody from having it.
func TestADirectoryClaimsNoAddress(t *testing.T) {
	s, _, key := directory(t)
	eve := s.must(s.root, "POST", "/v1/users", `{"email":"eve@victim.example","name":"Eve"}`)["id"].(string)
	if id := s.provision(key, "eve@victim.example"); id == eve {
		t.Error("a directory got a user of the installation by their address")
	}
	s.provision(key, "late@victim.example")
	if late := s.must(s.root, "POST", "/v1/users", `{"email":"late@victim.example","name":"Late"}`); late["id"] == nil {
		t.Error("a directory keeps others from an address")
	}
	if status, _, text := s.do(key, "DELETE", scimUsers+"/"+eve, ""); status != 404 {
		t.Errorf("a directory removes a stranger: %d %s", status, text)
	}
}

// A member who was there before the directory was connected becomes its user, and leaves with it.
func TestAMemberIsAdopted(t *testing.T) {
	s, org, key := directory(t)
	ada := s.must(s.root, "POST", "/v1/users", `{"email":"ada@acme.example","name":"Ada"}`)["id"].(string)
	s.must(s.root, "PUT", "/v1/organizations/"+org+"/members/"+ada, `{"role":"admin"}`)
	if id := s.provision(key, "Ada@acme.example"); id != ada {
		t.Fatalf("%s became %s", ada, id)
	}
	if m := s.must(s.root, "GET", "/v1/organizations/"+org+"/members/"+ada, ""); m["role"] != "admin" {
		t.Errorf("adopted as %v", m)
	}
	if status, _, text := s.do(key, "DELETE", scimUsers+"/"+ada, ""); status != 204 {
		t.Fatal(status, text)
	}
	if status, _, text := s.do(s.root, "GET", "/v1/organizations/"+org+"/members/"+ada, ""); status != 404 {
		t.Errorf("a member still: %d %s", status, text)
	}
	if u := s.must(s.root, "GET", "/v1/users/"+ada, ""); u["status"] != "active" {
		t.Errorf("the user is %v", u)
	}
}

// Every directory's junk is refused in SCIM's format, and none is a fault of the service.
func TestJunkOfDirectories(t *testing.T) {
	s, _, key := directory(t)
	ada := s.provision(key, "ada")
	for _, c := range [][3]string{
		{"POST", scimUsers, ``}, {"POST", scimUsers, `[]`}, {"POST", scimUsers, `null`}, {"POST", scimUsers, `{"userName":"` + strings.Repeat("a", 257) + `"}`},
		{"POST", scimUsers, `{"userName":"a\u0000b"}`}, {"POST", scimUsers, `{"userName":"a","userName":"b"}`}, {"POST", scimUsers, "{\"userName\":\"\xff\"}"},
		{"POST", scimUsers, `{"userName":"b","emails":"x"}`}, {"POST", scimUsers, `{"userName":"` + strings.Repeat("a", 2<<20) + `"}`},
		{"PUT", scimUsers + "/" + ada, `{}`}, {"PATCH", scimUsers + "/" + ada, `{}`}, {"PATCH", scimUsers + "/" + ada, `{"Operations":[{"op":"add","path":"((((((((((","value":1}]}`},
		{"POST", scimGroups, `{}`}, {"POST", scimGroups, `{"displayName":"g","members":[{"value":"nobody"}]}`}, {"GET", scimUsers + "?filter=" + url.QueryEscape(strings.Repeat("(", 500)), ""},
		{"GET", scimUsers + "?startIndex=1e9", ""}, {"GET", scimUsers + "/%00", ""}, {"GET", scimGroups + "/" + ada, ""}, {"DELETE", scimGroups + "/x", ""},
	} {
		status, header, text := s.do(key, c[0], c[1], c[2])
		var refusal struct{ Schemas []string }
		if err := json.Unmarshal([]byte(text), &refusal); status < 400 || status >= 500 || err != nil || len(refusal.Schemas) != 1 || header.Get("Content-Type") != "application/scim+json" {
			t.Errorf("%s %s %.60s is answered %d %s", c[0], c[1], c[2], status, text)
		}
	}
}

// A directory with many people, in a group that gives a role: it comes in parts, and a part again.
func TestALargeDirectory(t *testing.T) {
	const users = 400
	s, org, key := directory(t)
	s.must(s.root, "PUT", "/v1/organizations/"+org+"/scim", `{"group_roles":[{"group":"all","role":"admin"}]}`)
	group := s.must(key, "POST", scimGroups, `{"displayName":"all"}`)["id"].(string)
	begun := time.Now()
	var members []string
	for i := range users {
		members = append(members, fmt.Sprintf(`{"value":%q}`, s.provision(key, fmt.Sprintf("user%d@acme.example", i))))
	}
	t.Logf("%.0f users/s", users/time.Since(begun).Seconds())
	begun = time.Now()
	for _, part := range []string{strings.Join(members[:users/2], ","), strings.Join(members[users/4:], ","), strings.Join(members, ",")} {
		if status, text := s.patch(key, scimGroups+"/"+group, `{"op":"Add","path":"members","value":[`+part+`]}`); status != 204 {
			t.Fatal(status, text)
		}
	}
	t.Logf("%.0f members/s", users/time.Since(begun).Seconds())
	if got := s.must(key, "GET", scimGroups+"/"+group, "")["members"].([]any); len(got) != users {
		t.Errorf("%d members", len(got))
	}
	seen := map[string]bool{}
	for start := 1; start <= users; {
		page := s.must(key, "GET", fmt.Sprintf("%s?startIndex=%d&count=150&attributes=id", scimUsers, start), "")["Resources"].([]any)
		for _, u := range page {
			seen[u.(map[string]any)["id"].(string)] = true
		}
		start += len(page)
	}
	if len(seen) != users {
		t.Errorf("%d users are listed", len(seen))
	}
	if status, text := s.patch(key, scimGroups+"/"+group, `{"op":"remove","path":"members"}`); status != 204 {
		t.Fatal(status, text)
	}
	events := s.must(s.root, "GET", "/v1/events?type=directory.group_members_changed", "")["items"].([]any)
	if len(events) != 3 { // of the last part all were in the group
		t.Errorf("%d events of the group's members", len(events))
	}
}
