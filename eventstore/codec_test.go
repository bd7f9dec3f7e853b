package eventstore

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

var add = flag.Bool("samples.add", false, "write the samples that are missing")

// samples are one event of each stored name, as it was when the name was first written.
func samples() []domain.Event {
	at := time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)
	name, org := "renamed", domain.NewOrgID("acme")
	digest := domain.NewSecret("sample").Digest()
	return []domain.Event{
		domain.KeyCreated{ID: domain.NewKeyID("k"), Org: org, Keyspace: "default", Name: "ci", Owner: "o", Scopes: []string{"a:read"}, ExpiresAt: at,
			RateLimits: []domain.RateLimit{{Limit: 100, Window: domain.Duration(time.Minute)}}, AllowedCIDRs: []string{"192.0.2.0/24"},
			Metadata: map[string]string{"plan": "pro"}, Digest: digest, Prefix: "kt_live_abcd", At: at, By: "system"},
		domain.KeyUpdated{Changes: domain.Changes{Name: &name, NoExpiry: true}, At: at, By: "system"},
		domain.KeyRotated{Digest: digest, Prefix: "kt_live_efgh", OldValidUntil: at, At: at, By: "system"},
		domain.KeyDisabled{At: at, By: "system"}, domain.KeyEnabled{At: at, By: "system"},
		domain.KeyRevoked{Reason: domain.KeyCompromise, Comment: "leaked", At: at, By: "system"},
		domain.KeyExpired{ExpiresAt: at, At: at},
		domain.CredentialsRefused{Principal: "authorize", Count: 3, From: at, To: at},
		domain.OrganizationCreated{ID: org, Name: "acme", At: at, By: "system"},
		domain.OrganizationUpdated{Name: "globex", At: at, By: "system"},
	}
}

// TestEverySampleIsStillRead decodes what was once written. A sample is never edited: an
// event that changes its shape gets a new name.
func TestEverySampleIsStillRead(t *testing.T) {
	names := map[string]bool{}
	for _, e := range samples() {
		names[e.EventType()] = true
		file := filepath.Join("testdata", "events", e.EventType()+".json")
		written, err := os.ReadFile(file)
		want, _ := json.Marshal(e)
		if os.IsNotExist(err) && *add {
			written, err = append(want, '\n'), os.WriteFile(file, append(want, '\n'), 0o644)
		}
		if err != nil {
			t.Errorf("%s has no sample: %v", e.EventType(), err)
			continue
		}
		decoded, at, err := decoders[e.EventType()](bytes.TrimSpace(written))
		if err != nil || at.IsZero() {
			t.Errorf("%s: %v at %v", e.EventType(), err, at)
			continue
		}
		if have, _ := json.Marshal(decoded); !bytes.Equal(have, want) {
			t.Errorf("%s is read as %s, was %s", e.EventType(), have, want)
		}
	}
	for name := range decoders {
		if !names[name] {
			t.Errorf("%s has no sample", name)
		}
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("key.created", []byte(`{"specversion":"1.0","data":{"name":"n"}}`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		_, _ = appendRecords(nil, stored{subject: "keytrail.events.o.key.k", header: map[string][]string{headerType: {kind}}, data: body})
	})
}

// FuzzUses holds the fast reader to what the careful one says.
func FuzzUses(f *testing.F) {
	var b UseBatch
	b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", Scopes: []string{"a:b"}, IP: "::1", Principal: "p", RequestID: "r", Windows: []int64{60000}, At: time.UnixMilli(5)})
	b.Add(&domain.KeyUsed{Key: "k", Code: "VALID", RequestID: "\"quoted\"", At: time.UnixMilli(6)})
	f.Add(b.body())
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, err := appendUses(nil, Record{}, body)
		var slow []useOnWire
		if json.NewDecoder(bytes.NewReader(body)).Decode(&slow) != nil || err != nil {
			return
		}
		if len(fast) != len(slow) {
			t.Fatalf("%d uses, encoding/json has %d in %s", len(fast), len(slow), body)
		}
		for i := range slow {
			if u := fast[i].Event.(domain.KeyUsed); u.Key != slow[i].Key || u.RequestID != slow[i].RequestID || u.At.UnixMilli() != slow[i].Time {
				t.Errorf("use %d is %+v, encoding/json has %+v", i, u, slow[i])
			}
		}
	})
}

func TestADigestIsNotInWhatTheAPIShows(t *testing.T) {
	for _, e := range samples() {
		shown, err := Record{Event: e}.CloudEvent()
		spelled, _ := domain.NewSecret("sample").Digest().MarshalText()
		if err != nil || strings.Contains(string(shown), string(spelled)) || strings.Contains(string(shown), `"digest"`) {
			t.Errorf("%s: %s %v", e.EventType(), shown, err)
		}
	}
}
