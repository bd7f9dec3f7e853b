package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
)

// long makes a value of a key's field with a length, in characters or entries.
var long = map[string]func(n int) any{
	"name":  func(n int) any { return strings.Repeat("é", n) },
	"owner": func(n int) any { return strings.Repeat("o", n) },
	"scopes": func(n int) any {
		return each(n, func(i int) any { return fmt.Sprintf("r%d:read", i) })
	},
	"allowed_cidrs": func(n int) any {
		return each(n, func(i int) any { return fmt.Sprintf("10.0.%d.0/24", i) })
	},
	"rate_limits": func(n int) any {
		return each(n, func(i int) any { return map[string]any{"limit": 1, "window": fmt.Sprintf("%ds", i+1)} })
	},
	"metadata": func(n int) any {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = ""
		}
		return m
	},
}

func each(n int, f func(int) any) (all []any) {
	for i := range n {
		all = append(all, f(i))
	}
	return all
}

// The document's bounds are made of the validator's tags. Both must take what is
// at a bound, and refuse what is one beyond by the field's name.
func TestTheDocumentsBoundsAreTheValidators(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	handler := commands.New(s.ledger, commands.Options{})
	by := domain.Principal{ID: "test", Org: domain.Installation, Scopes: []string{"*"}}
	doc := s.must("", "GET", "/openapi.json", "")
	for _, route := range []string{"POST /v1/keys", "PATCH /v1/keys/{id}"} {
		method, path, _ := strings.Cut(route, " ")
		checked := 0
		for field, bound := range boundsOf(doc, strings.ToLower(method), path) {
			checked++
			if long[field] == nil {
				t.Fatalf("add %s to the values of this test", field)
			}
			for _, beyond := range []int{0, 1} {
				value := long[field](bound + beyond)
				body := map[string]any{"name": "n", field: value}
				if method == "POST" {
					body["org_id"] = org
				}
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				status, _, answer := s.do(s.root, method, strings.Replace(path, "{id}", id, 1), string(text))
				if beyond == 0 && status >= 300 || beyond == 1 && (status != 400 || !strings.Contains(answer, `"field":"`+field)) {
					t.Errorf("%s with %d of %s: %d %s", route, bound+beyond, field, status, answer)
				}
				var settings domain.Settings
				if err := json.Unmarshal(text, &settings); err != nil {
					t.Fatal(err)
				}
				_, err = handler.CreateKey(context.Background(), commands.CreateKey{Request: commands.Request{By: by}, Org: domain.OrgID(org), Settings: settings})
				var refusal *domain.Error
				if beyond == 0 && err != nil || beyond == 1 && (!errors.As(err, &refusal) || refusal.Field != field) {
					t.Errorf("the validator, with %d of %s: %v", bound+beyond, field, err)
				}
			}
		}
		if checked != len(long) {
			t.Errorf("%s has %d bounds in the document, the test knows %d", route, checked, len(long))
		}
	}
}

// boundsOf is how long each field of a route's body may be.
func boundsOf(doc map[string]any, method, path string) map[string]int {
	at := func(v any, steps ...string) any {
		for _, step := range steps {
			v = v.(map[string]any)[step]
		}
		return v
	}
	ref := at(doc, "paths", path, method, "requestBody", "content", "application/json", "schema", "$ref").(string)
	bounds := map[string]int{}
	for field, schema := range at(doc, "components", "schemas", ref[strings.LastIndex(ref, "/")+1:], "properties").(map[string]any) {
		for _, name := range []string{"maxLength", "maxItems", "maxProperties"} {
			if n, ok := at(schema, name).(float64); ok {
				bounds[field] = int(n)
			}
		}
	}
	return bounds
}

// A refusal is not much longer than the request, however much is wrong with that.
func TestARefusalNamesSomeFaults(t *testing.T) {
	s := start(t)
	status, _, text := s.do(s.root, "POST", "/v1/keys/revoke", `{"ids":[`+strings.Repeat("1,", 10_000)+`1]}`)
	if status != 400 || len(text) > 10_000 || !strings.Contains(text, `"ids[1]"`) {
		t.Errorf("%d, %d bytes, %.300s", status, len(text), text)
	}
}
