package api_test

import (
	"fmt"
	"testing"
)

// TestTheUsageOfManyKeysIsTheSumOfTheirs page by page, of one organization alone.
func TestTheUsageOfManyKeysIsTheSumOfTheirs(t *testing.T) {
	s := start(t)
	ours, theirs := s.org("ours"), s.org("theirs")
	_, lister := s.create(s.root, `{"org_id":"`+ours+`","keyspace":"keytrail","name":"lister","scopes":["keys:read"]}`)
	for i := range 5 {
		for _, org := range []string{ours, theirs} {
			_, secret := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"n%d"}`, org, i))
			for range i { // the first one is not used
				s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`"}`)
			}
		}
	}
	s.settle()
	valid, keys, pages := 0.0, 0, 0
	for cursor, more := "", true; more; pages++ {
		page := s.must(lister, "GET", "/v1/usage?limit=2"+cursor, "")
		for _, step := range page["steps"].([]any) {
			valid += step.(map[string]any)["counts"].(map[string]any)["VALID"].(float64)
		}
		for _, k := range page["keys"].([]any) {
			if k.(map[string]any)["name"] != "lister" {
				keys++
			}
		}
		if more = page["next_cursor"] != nil; more {
			cursor = "&cursor=" + page["next_cursor"].(string)
		}
	}
	if lists := valid - 10; keys != 4 || pages != 3 || lists < 0 || lists > 3 { // uses of the lister itself
		t.Errorf("%v valid uses of %d keys on %d pages", valid, keys, pages)
	}
	for path, status := range map[string]int{"/v1/usage?org_id=" + theirs: 404, "/v1/usage?limit=201": 400, "/v1/usage?from=2020-01-01T00:00:00Z": 400, "/v1/usage?cursor=x": 400} {
		if got, _, text := s.do(lister, "GET", path, ""); got != status {
			t.Errorf("GET %s: %d %s", path, got, text)
		}
	}
}
