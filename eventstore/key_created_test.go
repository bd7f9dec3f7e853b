package eventstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// FuzzScanKeyCreated holds the scanner to encoding/json: what it reads at all, it reads
// as the same event.
func FuzzScanKeyCreated(f *testing.F) {
	for _, name := range []string{"ci", "Schlüssel", "鍵", "a\"b", "a\\b", "<&>", "\x7f", "tab\t", "bad \xff", ""} {
		data, err := json.Marshal(domain.KeyCreated{ID: "key_1", Org: "org_1", Keyspace: "default", Settings: domain.Settings{Name: name, Owner: "o", Scopes: []string{"a:b", "c:*"}, ExpiresAt: time.UnixMilli(1).UTC(), RateLimits: []domain.RateLimit{{Limit: 5, Window: domain.Duration(time.Hour)}}, AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"a": "b", "c": name}}, Prefix: "p", Imported: true, Header: domain.Header{By: "s"}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(`{"key_id":"k","org_id":"o","keyspace":"","name":"","prefix":"","at":"2026-11-20T12:00:00+01:00","by":""}`)
	f.Fuzz(func(t *testing.T, data string) {
		var fast domain.KeyCreated
		s := fastjson.NewScanner(data)
		if !scanKeyCreated(&s, &fast) || !s.End() {
			return
		}
		slow, err := types["key.created"].Decode([]byte(data), domain.Private{})
		if err != nil {
			t.Fatalf("the scanner reads %q, encoding/json: %v", data, err)
		}
		if !reflect.DeepEqual(slow, domain.Event(fast)) {
			t.Fatalf("%q is read as %+v, encoding/json has %+v", data, fast, slow)
		}
	})
}

// What is written must be what the scanner reads, or a replay becomes slow without any test
// failing.
func TestTheScannerReadsKeyCreated(t *testing.T) {
	created := domain.KeyCreated{
		ID: domain.NewKeyID("", "k"), Org: domain.NewOrgID("o"), Keyspace: "default", Environment: "live",
		Settings: domain.Settings{Name: "Bücher 1", Owner: "o", Scopes: []string{"a:b"}, ExpiresAt: time.Now(), RateLimits: []domain.RateLimit{{Limit: 5, Window: domain.Duration(time.Hour)}},
			AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"a": "b"}},
		Digest: domain.Digest{1}, Sealed: []byte("s"), Prefix: "p", Imported: true, Root: true, Header: domain.Header{At: time.Now(), By: "root"},
	}
	demandNoZeros(t, reflect.ValueOf(created))
	data, err := json.Marshal(created)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := keyCreated(data, domain.Private{}); !ok {
		t.Errorf("the fast path does not take %s", data)
	}
}

// demandNoZeros fails for each field that has no value: a field that was added to the event
// must be read by the scanner, too.
func demandNoZeros(t *testing.T, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Anonymous:
			demandNoZeros(t, v.Field(i))
		case v.Field(i).IsZero():
			t.Errorf("the test leaves %s out: give it a value, and read it in key_created.go", f.Name)
		}
	}
}
