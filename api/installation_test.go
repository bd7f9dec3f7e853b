package api_test

import (
	"fmt"
	"testing"
)

// The root key lists and revokes across more organizations than a page has.
func TestManyOrganizationsAreListedAndRevokedAsOne(t *testing.T) {
	s := start(t)
	const orgs = 120
	for i := range orgs {
		org := s.org(fmt.Sprint("org", i))
		for _, owner := range []string{"leaver", "stays"} {
			s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"of %s","owner":%q}`, org, owner, owner))
		}
	}
	for query, want := range map[string]int{"name=of": 2 * orgs, "owner=leaver": orgs, "status=active&sort=name": 2*orgs + 1, "sort=-last_used_at": 2*orgs + 1} {
		found := 0
		for cursor := ""; ; {
			page := s.must(s.root, "GET", "/v1/keys?limit=50&"+query+"&cursor="+cursor, "")
			found += len(page["items"].([]any))
			next, more := page["next_cursor"].(string)
			if cursor = next; !more {
				break
			}
		}
		if found != want {
			t.Errorf("%s: %d keys, want %d", query, found, want)
		}
	}
	if a := s.must(s.root, "POST", "/v1/keys/revoke", `{"filter":{"owner":"leaver"}}`); a["revoked"] != float64(orgs) || a["next_cursor"] != nil {
		t.Errorf("revoked: %v", a)
	}
	if a := s.must(s.root, "GET", "/v1/keys?status=revoked&limit=1000", ""); len(a["items"].([]any)) != orgs {
		t.Errorf("%d are revoked", len(a["items"].([]any)))
	}
}
