package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/domain"
)

// rich is a definition with all fields.
const rich = `{
	"description":"All there is","format":{"prefix":"rich_","environments":[{"name":"live","tag":"live_"},{"name":"test","tag":"test_"}],"alphabet":"base36","length":30,"checksum":"crc32","shown":4},
	"presentation":{"places":["bearer","header:X-Key","query:key"],"several":"first","exact_scheme":true},
	"scopes":[{"scope":"invoices:read","description":"Read invoices","category":"Billing"},{"scope":"invoices:write"}],
	"defaults":{"ttl":"24h","scopes":["invoices:read"],"rate_limits":[{"limit":100,"window":"1m"}]},
	"bounds":{"max_ttl":"48h","keys_per_owner":5,"keys_per_organization":100,"min_overlap":"1m","max_overlap":"1h30m","rotate_after":"720h"},
	"notices":{"expiring_days":7,"idle_days":30},"recoverable":true,"revoke_leaked":true,
	"tokens":{"max_ttl":"1h","audience":"https://api.example"},
	"sessions":{"roles":[{"role":"member","scopes":["invoices:read"]}]},
	"gateway":{"demands":["scope","organization","cost"],"record_resource":true,"rate_limit_headers":["x-ratelimit","ratelimit"]},
	"requirements":[{"attribute":"discord_id","of":"owner","reply":{"status":403,"content_type":"text/plain","headers":{"X-Why":"{}"},"body":"Please enter {{.Attribute}}"}}],
	"replies":[{"for":["MISSING","NOT_FOUND"],"status":401,"body":"{\"message\":\"{{.Outcome}}\"}"}]
}`

// What was written is read back, and written again changes nothing.
func TestADefinitionIsReadBackAsItWasWritten(t *testing.T) {
	s := start(t)
	for _, name := range []string{"rich", domain.DefaultKeyspace} {
		definition := strings.ReplaceAll(rich, "rich_", name+"_")
		if m := s.must(s.root, "PUT", "/v1/keyspaces/"+name+"?dry_run=true", definition); m["plan"].(map[string]any)["action"] != map[string]string{"rich": "create", "default": "update"}[name] {
			t.Errorf("%s: the plan is %v", name, m["plan"])
		}
		first := s.must(s.root, "PUT", "/v1/keyspaces/"+name, definition)
		again := s.must(s.root, "GET", "/v1/keyspaces/"+name, "")
		revision := again["revision"]
		if revision != first["revision"] || revision == 0.0 {
			t.Errorf("%s: revision %v, and %v when it is read", name, first["revision"], revision)
		}
		for _, more := range []string{"name", "created_at", "retired_at", "former_formats", "revision"} {
			if _, ok := again[more]; !ok {
				t.Errorf("%s: it has no %s", name, more)
			}
			delete(again, more)
		}
		var written any
		if err := json.Unmarshal([]byte(definition), &written); err != nil {
			t.Fatal(err)
		}
		w, _ := json.Marshal(written)
		body, _ := json.Marshal(again)
		if string(w) != string(body) {
			t.Errorf("%s was written as\n%s\nand is read as\n%s", name, w, body)
		}
		if m := s.must(s.root, "PUT", "/v1/keyspaces/"+name+"?dry_run=true", string(body)); m["plan"].(map[string]any)["action"] != "none" {
			t.Errorf("%s: what was read would change it: %v", name, m["plan"])
		}
		if m := s.must(s.root, "PUT", "/v1/keyspaces/"+name, string(body)); m["revision"] != revision {
			t.Errorf("%s: what was read changed it", name)
		}
	}
}

// A keyspace is created by one request, once, whatever is repeated, and changed only if it is
// as the request takes it to be.
func TestKeyspaceWritesAreGuarded(t *testing.T) {
	s := start(t)
	const body, other = `{"format":{"prefix":"a_","alphabet":"hex","length":32}}`, `{"format":{"prefix":"b_","alphabet":"hex","length":32}}`
	put := func(body string, headers ...string) (int, string, string) {
		t.Helper()
		status, h, text := s.do(s.root, "PUT", "/v1/keyspaces/guarded", body, headers...)
		return status, h.Get("ETag"), text
	}
	status, first, text := put(body, "Idempotency-Key", "one")
	if status != 201 || first == "" {
		t.Fatalf("%d %s", status, text)
	}
	if status, tag, text := put(body, "Idempotency-Key", "one"); status != 200 || tag != first {
		t.Errorf("repeated: %d %s %s", status, tag, text)
	}
	if status, _, text := put(other, "Idempotency-Key", "one"); status != 422 {
		t.Errorf("its Idempotency-Key with another body: %d %s", status, text)
	}
	status, second, text := put(other, "If-Match", first)
	if status != 200 || second == first {
		t.Errorf("with its ETag: %d %s %s", status, second, text)
	}
	for _, query := range []string{"", "?dry_run=true"} {
		if status, _, text := s.do(s.root, "PUT", "/v1/keyspaces/guarded"+query, body, "If-Match", first); status != 412 {
			t.Errorf("with a stale ETag, %q: %d %s", query, status, text)
		}
	}
	if status, h, _ := s.do(s.root, "GET", "/v1/keyspaces/guarded", ""); status != 200 || h.Get("ETag") != second {
		t.Errorf("%d, ETag %s, want %s", status, h.Get("ETag"), second)
	}
	if status, _, text := s.do(s.root, "POST", "/v1/keyspaces/guarded/retire", "", "If-Match", first); status != 412 {
		t.Errorf("retired with a stale ETag: %d %s", status, text)
	}
	_, reader := s.create(s.root, `{"org_id":"`+s.org("acme")+`","keyspace":"keytrail","name":"n","scopes":["keyspaces:*"]}`)
	if m := s.must(reader, "GET", "/v1/keyspaces", ""); len(m["items"].([]any)) != 3 {
		t.Errorf("an organization's key lists %v", m)
	}
	if status, _, text := s.do(reader, "PUT", "/v1/keyspaces/guarded", body); status != 403 {
		t.Errorf("an organization's key changes a keyspace: %d %s", status, text)
	}
}

// A definition has at most 32 KiB, and any text in it comes back as it was.
func TestLargeAndOddDefinitions(t *testing.T) {
	s := start(t)
	definition := func(scopes int, description string) string {
		var entries []map[string]string
		for i := range scopes {
			entries = append(entries, map[string]string{"scope": fmt.Sprint("a:s", i), "description": description})
		}
		text, err := json.Marshal(map[string]any{"format": map[string]any{"alphabet": "hex", "length": 40, "prefix": "odd_"}, "scopes": entries})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const odd = "日本語 😀 e\u0301 \u00a0 \ufeff <&> ßﬁ \\ \" '"
	if status, _, text := s.do(s.root, "PUT", "/v1/keyspaces/odd", definition(60, strings.Repeat("x", 500))); status != 201 {
		t.Errorf("31 KiB: %d %.200s", status, text)
	}
	for _, query := range []string{"", "?dry_run=true"} {
		if status, _, text := s.do(s.root, "PUT", "/v1/keyspaces/odd"+query, definition(70, strings.Repeat("x", 500))); status != 400 || !strings.Contains(text, "32768 bytes") {
			t.Errorf("36 KiB: %d %.200s", status, text)
		}
	}
	s.must(s.root, "PUT", "/v1/keyspaces/odd", definition(1, odd))
	if m := s.must(s.root, "GET", "/v1/keyspaces/odd", ""); m["scopes"].([]any)[0].(map[string]any)["description"] != odd {
		t.Errorf("it came back as %q", m["scopes"])
	}
}

// Of requests that define one keyspace at the same moment one does; of others, all do.
func TestKeyspacesAreDefinedAtOnce(t *testing.T) {
	s := start(t)
	var wait sync.WaitGroup
	created := make(chan int, 100)
	for i := range 100 {
		wait.Go(func() {
			body := fmt.Sprintf(`{"name":"k%d","format":{"prefix":"p%d_","alphabet":"hex","length":32}}`, i%10, i%10)
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/v1/keyspaces", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+s.root)
			r.Header.Set("Content-Type", "application/json")
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			a.Body.Close()
			created <- a.StatusCode
		})
	}
	wait.Wait()
	close(created)
	counts := map[int]int{}
	for status := range created {
		counts[status]++
	}
	if counts[201] != 10 || counts[409] != 90 {
		t.Errorf("the answers were %v", counts)
	}
	if m := s.must(s.root, "GET", "/v1/keyspaces", ""); len(m["items"].([]any)) != 12 {
		t.Errorf("there are %v", m)
	}
}
