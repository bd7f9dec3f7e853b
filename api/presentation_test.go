package api_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// keyspace defines a keyspace whose keys begin with its name; members are the rest of its
// definition.
func (s *service) keyspace(name, members string) {
	s.t.Helper()
	s.must(s.root, "PUT", "/v1/keyspaces/"+name, fmt.Sprintf(`{"format":{"prefix":"%s_","alphabet":"base62","length":24}%s}`, name, members))
}

// key creates a key; members are what it has beside a name and an organization.
func (s *service) key(keyspace, org, members string) (id, secret string) {
	s.t.Helper()
	return s.create(s.root, fmt.Sprintf(`{"org_id":%q,"keyspace":%q,"name":"n"%s}`, org, keyspace, members))
}

// encoded is a header with what is in braces in base64.
func encoded(header string) string {
	before, rest, _ := strings.Cut(header, "{")
	text, _, found := strings.Cut(rest, "}")
	if !found {
		return header
	}
	return before + base64.StdEncoding.EncodeToString([]byte(text))
}

// A key is found in the places of its keyspace and nowhere else, and what is there but cannot be
// taken is told from what is missing.
func TestAKeyIsPresentedAsItsKeyspaceSays(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	secrets := map[string]string{}
	for name, presentation := range map[string]string{
		"usual":  `{}`,
		"exact":  `{"places":["bearer"],"exact_scheme":true}`,
		"header": `{"places":["header:x-secret"]}`,
		"query":  `{"places":["basic","query:token"]}`,
		"first":  `{"places":["header:X-API-Key","bearer","basic","query:k"],"several":"first"}`,
	} {
		s.keyspace(name, `,"presentation":`+presentation)
		_, secrets[name] = s.key(name, org, "")
	}
	for _, c := range []struct {
		keyspace, target string
		headers          []string
		outcome          string
	}{
		{"usual", "", nil, "MISSING"},
		{"usual", "", []string{"Authorization:"}, "MISSING"},
		{"usual", "", []string{"Authorization:", "X-API-Key: $"}, "VALID"},
		{"usual", "", []string{"Authorization: Bearer $"}, "VALID"},
		{"usual", "", []string{"authorization: bEARER $"}, "VALID"},
		{"usual", "", []string{"Authorization: Bearer   $ "}, "VALID"},
		{"usual", "", []string{"Authorization: Bearer"}, "NOT_FOUND"},
		{"usual", "", []string{"Authorization: Bearer "}, "NOT_FOUND"},
		{"usual", "", []string{"Authorization: Bearer\t$"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Bearer$"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: $"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Digest x"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Digest x", "X-API-Key: $"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Bearer $", "Authorization: Bearer $"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Bearer $, Bearer $"}, "NOT_FOUND"},
		{"usual", "", []string{"X-API-Key: $"}, "VALID"},
		{"usual", "", []string{"X-API-Key: $", "X-API-Key: $"}, "MALFORMED"},
		{"usual", "", []string{"X-API-Key: $", "x-api-key:"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Bearer $", "X-API-Key: $"}, "VALID"},
		{"usual", "", []string{"Authorization: Bearer $", "X-API-Key: other"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Bearer", "X-API-Key: $"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Basic {$:}"}, "VALID"},
		{"usual", "", []string{"Authorization: Basic {$:any}"}, "VALID"},
		{"usual", "", []string{"Authorization: Basic {:$}"}, "NOT_FOUND"},
		{"usual", "", []string{"Authorization: Basic {$:}", "X-API-Key: $"}, "VALID"},
		{"usual", "", []string{"Authorization: Basic"}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Basic ====="}, "MALFORMED"},
		{"usual", "", []string{"Authorization: Basic {no colon}"}, "MALFORMED"},
		{"usual", "/x?api_key=$&token=$", nil, "MISSING"},
		{"usual", "", []string{"X-API-Key: a b"}, "NOT_FOUND"},
		{"usual", "", []string{"X-API-Key: \x80\xff"}, "NOT_FOUND"},
		{"usual", "", []string{"X-API-Key: ключ"}, "NOT_FOUND"},
		{"usual", "", []string{"X-API-Key: " + strings.Repeat("k", 8<<10)}, "NOT_FOUND"},
		{"usual", "", []string{"Authorization: Bearer " + strings.Repeat("k", 8<<10)}, "NOT_FOUND"},

		{"exact", "", []string{"Authorization: Bearer $"}, "VALID"},
		{"exact", "", []string{"Authorization: bearer $"}, "MALFORMED"},
		{"exact", "", []string{"Authorization: BEARER $"}, "MALFORMED"},
		{"exact", "", []string{"Authorization: Bearer  $"}, "NOT_FOUND"},
		{"exact", "", []string{"Authorization: Bearer\t$"}, "MALFORMED"},
		{"exact", "", []string{"Authorization: Bearer"}, "NOT_FOUND"},
		{"exact", "", []string{"Authorization: Bearer  "}, "NOT_FOUND"},
		{"exact", "", []string{"Authorization: bearer"}, "MALFORMED"},
		{"exact", "", []string{"Authorization: $"}, "MALFORMED"},
		{"exact", "", []string{"Authorization: Basic {$:}"}, "MALFORMED"},
		{"exact", "", []string{"X-API-Key: $"}, "MISSING"},
		{"exact", "", []string{"X-API-Key: other", "Authorization: Bearer $"}, "VALID"},

		{"header", "", []string{"X-Secret: $"}, "VALID"},
		{"header", "", []string{"X-SECRET: $", "Authorization: Digest for the backend"}, "VALID"},
		{"header", "", []string{"Authorization: Bearer $"}, "MISSING"},
		{"header", "", []string{"X-Secret: Bearer $"}, "NOT_FOUND"},

		{"query", "/x?token=$", nil, "VALID"},
		{"query", "/x?a=%zz&b;c&t%6Fken=$&=", nil, "VALID"},
		{"query", "/x?token=", nil, "NOT_FOUND"},
		{"query", "/x?token", nil, "NOT_FOUND"},
		{"query", "/x?Token=$", nil, "MISSING"},
		{"query", "/x?token=%zz", nil, "MALFORMED"},
		{"query", "/x?token=$&token=$", nil, "MALFORMED"},
		{"query", "/x?token=%00%0a", nil, "NOT_FOUND"},
		{"query", "/x?token=$", []string{"Authorization: Basic {$:}"}, "VALID"},
		{"query", "/x?token=$", []string{"Authorization: Basic {other:}"}, "MALFORMED"},
		{"query", "/x?token=$", []string{"Authorization: Bearer $"}, "MALFORMED"},
		{"query", "?token=$", nil, "MISCONFIGURED"}, // there the query is the gateway's

		{"first", "", []string{"X-API-Key: $", "Authorization: Bearer other"}, "VALID"},
		{"first", "", []string{"X-API-Key: other", "Authorization: Bearer $"}, "NOT_FOUND"},
		{"first", "", []string{"X-API-Key: $", "Authorization: Digest x"}, "VALID"},
		{"first", "", []string{"Authorization: Digest x"}, "MALFORMED"},
		{"first", "/?k=$", []string{"Authorization: Digest x"}, "VALID"},
		{"first", "", []string{"Authorization: Basic {$:}"}, "VALID"},
		{"first", "", []string{"X-API-Key: a", "X-API-Key: $", "Authorization: Bearer $"}, "MALFORMED"},
	} {
		var headers []string
		for _, h := range c.headers {
			headers = append(headers, encoded(strings.ReplaceAll(h, "$", secrets[c.keyspace])))
		}
		target := "/v1/authorize/" + c.keyspace + strings.ReplaceAll(c.target, "$", secrets[c.keyspace])
		status, header, text := s.raw("", "GET", target, headers...)
		if header.Get("X-Keytrail-Outcome") != c.outcome || (c.outcome == "VALID") != (status == "200 OK") || strings.Contains(fmt.Sprint(header)+text, secrets[c.keyspace]) {
			t.Errorf("%s%s %q: %s %v %s, want %s", c.keyspace, c.target, c.headers, status, header, text, c.outcome)
		}
	}
}
