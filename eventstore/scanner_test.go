package eventstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// FuzzKeyCreatedScanner holds the scanner to encoding/json: what it reads at all, it reads
// as the same event.
func FuzzKeyCreatedScanner(f *testing.F) {
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
		s := scanner{data}
		if !s.keyCreated(&fast) || s.rest != "" {
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

// FuzzUsesScanner does the same for a message of uses, in all members.
func FuzzUsesScanner(f *testing.F) {
	var b UseBatch
	for _, id := range []string{"r", "", "Ü", "\"q\"", "\xff", "a\\b", "\x1f"} {
		b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", Scopes: []string{"a:b", id}, IP: "::1", Principal: "p", RequestID: id, Windows: []int64{60000, 1}, At: time.UnixMilli(5)})
		f.Add(string(b.body()))
		b.Reset()
		b.Add(&domain.KeyUsed{Key: "k", Code: "REVOKED", Principal: id, At: time.UnixMilli(5), Count: 3, First: time.UnixMilli(4), Addresses: []string{"::1", id}})
		f.Add(string(b.body()))
		b.Reset()
	}
	f.Add(`[]`)
	f.Add(`[{"key_id":"k","code":"c","time":01}]`)
	f.Add(`[{"key_id":"k","code":"c","time":1,"count":2}]`)
	f.Add(`[{"key_id":"k","code":"c","time":1,"count":1,"first":9,"addresses":[]}]`)
	f.Fuzz(func(t *testing.T, body string) {
		fast, ok := scanUses(nil, Record{}, body)
		if !ok {
			return
		}
		var slow []useOnWire
		if err := json.Unmarshal([]byte(body), &slow); err != nil {
			t.Fatalf("the scanner reads %q, encoding/json: %v", body, err)
		}
		if len(slow) != len(fast) {
			t.Fatalf("%d uses in %q, encoding/json has %d", len(fast), body, len(slow))
		}
		for i := range slow {
			if want := useRecord(Record{}, i, &slow[i]); !reflect.DeepEqual(fast[i], want) {
				t.Fatalf("use %d of %q is %+v, encoding/json has %+v", i, body, fast[i], want)
			}
		}
	})
}

// What this package writes must be what the scanner reads, or the replay promise is lost
// without any test failing.
func TestTheScannerReadsWhatIsWritten(t *testing.T) {
	created := domain.KeyCreated{
		ID: domain.NewKeyID("", "k"), Org: domain.NewOrgID("o"), Keyspace: "default",
		Settings: domain.Settings{Name: "Bücher 1", Owner: "o", Scopes: []string{"a:b"}, ExpiresAt: time.Now(), RateLimits: []domain.RateLimit{{Limit: 5, Window: domain.Duration(time.Hour)}},
			AllowedCIDRs: []string{"192.0.2.0/24"}, Metadata: map[string]string{"a": "b"}},
		Digest: domain.Digest{1}, Prefix: "p", Imported: true, Root: true, Header: domain.Header{At: time.Now(), By: "root"},
	}
	demandNoZeros(t, reflect.ValueOf(created))
	data, err := json.Marshal(created)
	if err != nil {
		t.Fatal(err)
	}
	var e domain.KeyCreated
	if s := (scanner{string(data)}); !s.keyCreated(&e) || s.rest != "" {
		t.Errorf("the fast path does not take %s", data)
	}
	var b UseBatch
	b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", Scopes: []string{"a:b"}, IP: "::1", Principal: "p", RequestID: "r", Windows: []int64{60000}, At: time.Now()})
	b.Add(&domain.KeyUsed{Key: "k", Code: "REVOKED", At: time.Now(), Count: 2, First: time.Now(), Addresses: []string{"::1", "192.0.2.1"}})
	if _, ok := scanUses(nil, Record{}, string(b.body())); !ok {
		t.Errorf("the fast path does not take %s", b.body())
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
			t.Errorf("the test leaves %s out: give it a value, and read it in keycreated.go", f.Name)
		}
	}
}
