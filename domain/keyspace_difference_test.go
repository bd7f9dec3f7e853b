package domain

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestDifferencesNameWhatChanged(t *testing.T) {
	const before = `{"format":{"prefix":"a_","alphabet":"hex","length":32},
		"scopes":[{"scope":"a:read","description":"Read"},{"scope":"a:write"}],
		"defaults":{"scopes":["a:read"],"rate_limits":[{"limit":1,"window":"1m"}]},
		"requirements":[{"attribute":"x"},{"attribute":"y"}],"replies":[{"for":["MISSING","MALFORMED"],"status":401}]}`
	for name, c := range map[string]struct {
		old, new string
		want     []string
	}{
		"nothing":         {"", "", nil},
		"a number":        {`"length":32`, `"length":40`, []string{"format.length: 32 → 40"}},
		"a field more":    {`"alphabet"`, `"checksum":"crc32","alphabet"`, []string{"format.checksum: <nil> → crc32"}},
		"an object more":  {`"defaults"`, `"tokens":{"max_ttl":"1m"},"defaults"`, []string{"tokens: <nil> → map[max_ttl:1m]"}},
		"a scope more":    {`{"scope":"a:write"}`, `{"scope":"b:x"},{"scope":"a:write"}`, []string{"scopes[b:x]: <nil> → map[scope:b:x]"}},
		"of an entry":     {`"Read"`, `"Look"`, []string{"scopes[a:read].description: Read → Look"}},
		"texts of a list": {`["a:read"]`, `["a:read","a:write"]`, []string{"defaults.scopes: [a:read] → [a:read a:write]"}},
		"a limit":         {`"limit":1`, `"limit":2`, []string{"defaults.rate_limits[1m].limit: 1 → 2"}},
		"the order":       {`{"attribute":"x"},{"attribute":"y"}`, `{"attribute":"y"},{"attribute":"x"}`, []string{"requirements: [x y] → [y x]"}},
		"of a reply":      {`"status":401`, `"status":403`, []string{"replies[MISSING MALFORMED].status: 401 → 403"}},
		"alike entries":   {`{"attribute":"y"}`, `{"attribute":"x","of":"organization"}`, []string{"requirements: [map[attribute:x] map[attribute:y]] → [map[attribute:x] map[attribute:x of:organization]]"}},
		"twice":           {`"length":32},`, `"length":40},"recoverable":true,`, []string{"format.length: 32 → 40", "recoverable: <nil> → true"}},
	} {
		var k Keyspace
		var d KeyspaceDefinition
		k.Name = "a"
		if err := json.Unmarshal([]byte(before), &k.KeyspaceDefinition); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(strings.Replace(before, c.old, c.new, 1)), &d); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range k.Differences("a", d) {
			got = append(got, fmt.Sprintf("%s: %v → %v", d.Field, d.Before, d.After))
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if d := (Keyspace{}).Differences("new", definition(someFormats[1])); d != nil {
		t.Errorf("of a new one: %v", d)
	}
	if d := (Keyspace{}).Differences(DefaultKeyspace, definition(someFormats[1])); len(d) == 0 {
		t.Error("of a built-in one that was never changed: none")
	}
}
