package projections_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

func TestACredentialIsFoundWithinReach(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	d := domain.NewSecret("issued elsewhere").Digest()
	for i, org := range h.orgs {
		k := &projections.KeyRow{}
		k.ID, k.Org = domain.NewKeyID("", fmt.Sprint("import", i)), org
		h.append(k, domain.KeyCreated{ID: k.ID, Org: org, Keyspace: "default", Settings: domain.Settings{Name: "n", Scopes: []string{"a:read", "b:*"}, AllowedCIDRs: []string{"192.0.2.0/24"}, RateLimits: []domain.RateLimit{{Limit: 3, Window: domain.Duration(time.Minute)}}, ExpiresAt: noon}, Digest: d, Header: domain.Header{At: noon}, Imported: true})
		h.keys[k.ID] = k
	}
	s, _ := run(t, t.TempDir(), l)
	var c projections.Credential
	for reach, want := range map[domain.Reach]domain.KeyID{domain.Only(h.orgs[0]): domain.NewKeyID("", "import0"), domain.Only(h.orgs[1]): domain.NewKeyID("", "import1"),
		domain.All: domain.NewKeyID("", "import0")} {
		if found, err := s.Credential(&d, reach, &c); err != nil || !found || c.Key != want {
			t.Fatalf("%+v finds %+v, %v; want %s", reach, c, err, want)
		}
	}
	if !slices.Equal(c.Scopes, []string{"a:read", "b:*"}) || c.AllowedCIDRs[0].String() != "192.0.2.0/24" || c.RateLimits[0].Limit != 3 ||
		c.ExpiresAt != noon.UnixMilli() || c.State != domain.Active || c.Keyspace != "default" {
		t.Errorf("the credential came back as %+v", c)
	}
	if found, err := s.Credential(&d, domain.Only(domain.NewOrgID("nobody")), &c); found || err != nil {
		t.Errorf("another organization finds it: %+v, %v", c, err)
	}
}

func TestTheCacheIsFilledAtTheStart(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	for range 1100 { // more than are read at once, and then again
		h.create()
	}
	s, _ := run(t, t.TempDir(), l)
	s.Warm(t.Context(), l)
	var c projections.Credential
	for id, k := range h.keys {
		d := k.Secrets[0].Digest
		if !s.Cached(d) {
			t.Fatalf("%s is not cached", id)
		}
		if found, err := s.Credential(&d, domain.Only(k.Org), &c); err != nil || !found || c.Key != id || c.Name != k.Name || c.Owner != k.Owner || c.Metadata != "{}" {
			t.Fatalf("%s is %+v, %v", id, c, err)
		}
	}
}

// Whoever waits for an event finds the key as that event left it, however many look it up
// all the time.
func TestALookUpIsNeverOlderThanThePosition(t *testing.T) {
	l := eventstoretest.New(t)
	h := newHistory(t, l)
	d := domain.NewSecret("much used").Digest()
	k := &projections.KeyRow{}
	k.ID, k.Org = domain.NewKeyID("", "much used"), h.orgs[0]
	h.append(k, domain.KeyCreated{ID: k.ID, Org: k.Org, Keyspace: "default", Settings: domain.Settings{Name: "n"}, Digest: d, Header: domain.Header{At: noon}})
	s, _ := run(t, t.TempDir(), l)

	done := make(chan struct{})
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer close(done)
	for range 4 {
		lookups.Go(func() {
			var c projections.Credential
			for {
				select {
				case <-done:
					return
				default:
					_, _ = s.Credential(&d, domain.Only(k.Org), &c)
				}
			}
		})
	}
	for i := range 200 {
		want := domain.Disabled
		var e domain.Event = domain.KeyDisabled{Header: domain.Header{At: noon}}
		if i%2 == 1 {
			want, e = domain.Active, domain.KeyEnabled{Header: domain.Header{At: noon}}
		}
		h.append(k, e)
		if err := s.WaitFor(t.Context(), k.Revision); err != nil {
			t.Fatal(err)
		}
		var c projections.Credential
		if found, err := s.Credential(&d, domain.Only(k.Org), &c); err != nil || !found || c.State != want {
			t.Fatalf("after event %d the key is %+v, %v; want %s", i, c, err, want)
		}
		if i%50 == 49 {
			rebuilt(t, s, "keys")
		}
	}
}
