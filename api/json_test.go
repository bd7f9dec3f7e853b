package api_test

import (
	"strings"
	"testing"
)

// A refusal names the member as the caller knows it, and nothing of the program.
func TestAWrongTypeIsNamedByItsMember(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	digest := strings.Repeat("ab", 32)
	for _, c := range []struct{ method, path, body, member string }{
		{"POST", "/v1/keys", `{"org_id":"` + org + `","name":"n","rate_limits":[{"limit":1e2,"window":"1m"}]}`, `rate_limits.limit`},
		{"PATCH", "/v1/keys/" + id, `{"rate_limits":[{"limit":1e2,"window":"1m"}]}`, `rate_limits.limit`},
		{"POST", "/v1/keys", `{"org_id":"` + org + `","name":"n","scopes":"a:b"}`, `scopes`},
		{"POST", "/v1/keys/import", `{"org_id":"` + org + `","name":"n","digest":"` + digest + `","scopes":"a:b"}`, `scopes`},
		{"POST", "/v1/keys/import", `{"org_id":"` + org + `","name":1,"digest":"` + digest + `"}`, `name`},
	} {
		_, _, text := s.do(s.root, c.method, c.path, c.body)
		if !strings.Contains(text, c.member) || strings.Contains(text, "Settings") || strings.Contains(text, "Changes") || strings.Contains(text, "Go struct") {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, text)
		}
	}
}
