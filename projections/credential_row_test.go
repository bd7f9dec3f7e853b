package projections

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// sampleKey has a value in every field that a credential shows.
func sampleKey(name string) (domain.Key, domain.KeySecret) {
	at := time.Date(2026, 11, 20, 12, 0, 0, int(5*time.Millisecond), time.UTC)
	k := domain.Key{ID: domain.NewKeyID("", name), Org: domain.NewOrgID("o"), Keyspace: "default", Environment: "live", State: domain.Disabled,
		Settings: domain.Settings{Name: name, Owner: "ö", Scopes: []string{"a:read", "b:*"}, AllowedCIDRs: []string{"192.0.2.0/24", "2001:db8::/32"},
			RateLimits: []domain.RateLimit{{Limit: 3, Window: domain.Duration(time.Minute)}, {Limit: 1 << 40, Window: domain.Duration(time.Hour)}},
			ExpiresAt:  at, Metadata: map[string]string{"plan": "free"}}}
	return k, domain.KeySecret{Digest: domain.NewSecret(name).Digest(), ValidUntil: at.Add(time.Hour), Ended: true}
}

func TestACredentialComesBackAsItWasWritten(t *testing.T) {
	k, s := sampleKey("n")
	want := Credential{Credential: domain.Credential{Key: k.ID, Org: k.Org, Keyspace: k.Keyspace, State: k.State,
		ExpiresAt: k.ExpiresAt.UnixMilli(), ValidUntil: s.ValidUntil.UnixMilli(), Ended: true, Scopes: k.Scopes,
		AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}, RateLimits: k.RateLimits},
		Environment: k.Environment, Owner: k.Owner, Name: k.Name, Metadata: `{"plan":"free"}`, encoded: string(encodeCredential(k, s))}
	var got Credential
	for range 2 { // the second time into slices that are used again
		if got.decode(want.encoded); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	}
	for v, i := reflect.ValueOf(want.Credential), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the sample has no %s", v.Type().Field(i).Name)
		}
	}
	got.decode(string(encodeCredential(domain.Key{ID: k.ID, Org: k.Org}, domain.KeySecret{})))
	if got.ExpiresAt != 0 || got.ValidUntil != 0 || got.Ended || len(got.Scopes)+len(got.AllowedCIDRs)+len(got.RateLimits) > 0 || got.Metadata != "{}" {
		t.Errorf("nothing came back as %+v", got)
	}
}

func TestACredentialTakesThePlaceOfItsKeys(t *testing.T) {
	list := func(names ...string) (b []byte) {
		for _, name := range names {
			b = appendCredential(b, encodeCredential(sampleKey(name)))
		}
		return b
	}
	id := func(name string) domain.KeyID { return domain.NewKeyID("", name) }
	changed, secret := sampleKey("b")
	changed.State = domain.Revoked
	again := encodeCredential(changed, secret)
	for what, c := range map[string]struct{ got, want []byte }{
		"first":    {replaceCredential(nil, id("a"), encodeCredential(sampleKey("a"))), list("a")},
		"last":     {replaceCredential(list("a", "b"), id("c"), encodeCredential(sampleKey("c"))), list("a", "b", "c")},
		"in place": {replaceCredential(list("a", "b", "c"), id("b"), again), slices.Concat(list("a"), appendCredential(nil, again), list("c"))},
		"out":      {replaceCredential(list("a", "b"), id("a"), nil), list("b")},
		"unknown":  {replaceCredential(list("a"), id("b"), nil), list("a")},
	} {
		if string(c.got) != string(c.want) {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
		}
	}
}
