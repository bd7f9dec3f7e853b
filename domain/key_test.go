package domain_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "github.com/keytrail/keytrail/domain"
)

var (
	noon    = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	acme    = NewOrgID("acme")
	admin   = Principal{ID: "admin", Org: acme, Scopes: []string{"keys:*"}}
	created = KeyCreated{ID: NewKeyID(acme, "k"), Org: acme, Keyspace: DefaultKeyspace, Settings: Settings{Name: "ci", Scopes: []string{"a:read"}}, Digest: Digest{1}, Prefix: "kt_1", Header: Header{At: noon}}
	brief   = KeyCreated{ID: NewKeyID(acme, "k"), Org: acme, Keyspace: DefaultKeyspace, Settings: Settings{Name: "ci", ExpiresAt: noon.Add(time.Hour)}, Digest: Digest{1}, Prefix: "kt_1", Header: Header{At: noon}}
	strong  = KeyCreated{ID: NewKeyID(acme, "k"), Org: acme, Keyspace: ManagementKeyspace, Settings: Settings{Name: "root", Scopes: []string{"*"}}, Digest: Digest{1}, Prefix: "kt_1", Header: Header{At: noon}}
	root    = KeyCreated{ID: NewKeyID(Installation, "r"), Org: Installation, Keyspace: ManagementKeyspace, Settings: Settings{Name: "root", Scopes: []string{"*"}}, Root: true, Digest: Digest{1}, Prefix: "kt_1", Header: Header{At: noon}}
	revoked = KeyRevoked{Prefix: "kt_1", Reason: Superseded, Header: Header{At: noon, By: "admin"}}
	expired = KeyExpired{Prefix: "kt_1", ExpiresAt: brief.ExpiresAt, Header: Header{At: brief.ExpiresAt}}
)

func fold(history ...Event) (k Key) {
	for _, e := range history {
		k.Apply(e)
	}
	return k
}

func TestDecisions(t *testing.T) {
	revoke := func(k Key) (Event, error) { return k.Revoke(RevokeKey{Reason: Superseded, At: noon, By: admin}) }
	rotate := func(at time.Time) func(Key) (Event, error) {
		return func(k Key) (Event, error) {
			return k.Rotate(RotateKey{Digest: Digest{2}, Overlap: time.Hour, At: at, By: admin})
		}
	}
	disable := func(k Key) (Event, error) { return k.Disable(DisableKey{At: noon, By: admin}) }
	enable := func(k Key) (Event, error) { return k.Enable(EnableKey{At: noon, By: admin}) }
	expire := func(at time.Time) func(Key) (Event, error) {
		return func(k Key) (Event, error) { return k.Expire(at) }
	}
	rename := func(name string) func(Key) (Event, error) {
		return func(k Key) (Event, error) {
			return k.Update(UpdateKey{Changes: Changes{Name: &name}, At: noon, By: admin})
		}
	}
	by := func(p Principal) func(Key) (Event, error) {
		return func(k Key) (Event, error) { return k.Rotate(RotateKey{At: noon, By: p}) }
	}
	later := KeyUpdated{Changes: Changes{ExpiresAt: new(noon.Add(2 * time.Hour))}}
	super := Principal{ID: "super", Org: Installation, Scopes: []string{"*"}}
	narrow := func(c Changes) func(Key) (Event, error) {
		return func(k Key) (Event, error) { return k.Update(UpdateKey{Changes: c, At: noon, By: super}) }
	}
	for name, c := range map[string]struct {
		given []Event
		when  func(Key) (Event, error)
		then  Event
		err   error
	}{
		"revoking an active key":                    {[]Event{created}, revoke, revoked, nil},
		"revoking twice is news once":               {[]Event{created, revoked}, revoke, nil, nil},
		"revoking an expired key is for the record": {[]Event{brief, expired}, revoke, revoked, nil},
		"revoking without history":                  {nil, revoke, nil, ErrKeyNotFound},
		"rotating an active key":                    {[]Event{created}, rotate(noon), KeyRotated{Digest: Digest{2}, OldValidUntil: noon.Add(time.Hour), Header: Header{At: noon, By: "admin"}}, nil},
		"rotating a revoked key":                    {[]Event{created, revoked}, rotate(noon), nil, ErrKeyRevoked},
		"rotating at the expiry":                    {[]Event{brief}, rotate(noon.Add(time.Hour)), nil, ErrKeyExpired},
		"disabling":                                 {[]Event{created}, disable, KeyDisabled{Prefix: "kt_1", Header: Header{At: noon, By: "admin"}}, nil},
		"disabling a rotated key":                   {[]Event{created, KeyRotated{Digest: Digest{2}, Prefix: "kt_2"}}, disable, KeyDisabled{Prefix: "kt_2", Header: Header{At: noon, By: "admin"}}, nil},
		"disabling twice is news once":              {[]Event{created, KeyDisabled{}}, disable, nil, nil},
		"disabling a revoked key":                   {[]Event{created, revoked}, disable, nil, ErrKeyRevoked},
		"enabling a disabled key":                   {[]Event{created, KeyDisabled{}}, enable, KeyEnabled{Prefix: "kt_1", Header: Header{At: noon, By: "admin"}}, nil},
		"enabling an active key":                    {[]Event{created}, enable, nil, nil},
		"expiring before the time":                  {[]Event{brief}, expire(noon.Add(time.Hour - 1)), nil, nil},
		"expiring at the time":                      {[]Event{brief}, expire(noon.Add(time.Hour)), KeyExpired{Prefix: "kt_1", ExpiresAt: noon.Add(time.Hour), Header: Header{At: noon.Add(time.Hour)}}, nil},
		"expiring twice":                            {[]Event{brief, expired}, expire(noon.Add(time.Hour)), nil, nil},
		"expiring again after a later expiry":       {[]Event{brief, expired, later}, expire(noon.Add(3 * time.Hour)), KeyExpired{Prefix: "kt_1", ExpiresAt: noon.Add(2 * time.Hour), Header: Header{At: noon.Add(3 * time.Hour)}}, nil},
		"rotating after the clock was ahead":        {[]Event{brief, expired}, rotate(noon), KeyRotated{Digest: Digest{2}, OldValidUntil: noon.Add(time.Hour), Header: Header{At: noon, By: "admin"}}, nil},
		"disabling after the clock was ahead":       {[]Event{brief, expired}, disable, KeyDisabled{Prefix: "kt_1", Header: Header{At: noon, By: "admin"}}, nil},
		"revoking the root key":                     {[]Event{root}, func(k Key) (Event, error) { return k.Revoke(RevokeKey{At: noon, By: super}) }, nil, ErrRootKeyProtected},
		"disabling the root key":                    {[]Event{root}, func(k Key) (Event, error) { return k.Disable(DisableKey{At: noon, By: super}) }, nil, ErrRootKeyProtected},
		"narrowing the root key":                    {[]Event{root}, narrow(Changes{Scopes: &[]string{"keys:read"}}), nil, ErrRootKeyProtected},
		"binding the root key to a network":         {[]Event{root}, narrow(Changes{AllowedCIDRs: &[]string{"192.0.2.0/24"}}), nil, ErrRootKeyProtected},
		"limiting the root key":                     {[]Event{root}, narrow(Changes{RateLimits: &[]RateLimit{{Limit: 1}}}), nil, ErrRootKeyProtected},
		"making the root key expire":                {[]Event{root}, narrow(Changes{ExpiresAt: &brief.ExpiresAt}), nil, ErrRootKeyProtected},
		"the root key's scopes as they are":         {[]Event{root}, narrow(Changes{Scopes: &[]string{"*"}}), nil, nil},
		"the system ends the root key":              {[]Event{root}, func(k Key) (Event, error) { return k.Revoke(RevokeKey{At: noon, By: System}) }, KeyRevoked{Prefix: "kt_1", Header: Header{At: noon, By: "system"}}, nil},
		"a second root key": {nil, func(k Key) (Event, error) {
			return k.Create(CreateKey{Root: true, Org: Installation, Keyspace: ManagementKeyspace, At: noon, By: super})
		}, nil, ErrRootKeyProtected},
		"expiring a revoked key":                  {[]Event{brief, revoked}, expire(noon.Add(time.Hour)), nil, nil},
		"renaming to the same":                    {[]Event{created}, rename("ci"), nil, nil},
		"another organization's principal":        {[]Event{created}, by(Principal{ID: "x", Org: NewOrgID("other"), Scopes: []string{"*"}}), nil, ErrKeyNotFound},
		"a weaker principal and a management key": {[]Event{strong}, by(admin), nil, ErrScopeEscalation},
	} {
		event, err := c.when(fold(c.given...))
		if !reflect.DeepEqual(event, c.then) || !errors.Is(err, c.err) {
			t.Errorf("%s: %#v, %v; want %#v, %v", name, event, err, c.then, c.err)
		}
	}
}

func TestUses(t *testing.T) {
	base := Credential{Key: NewKeyID(acme, "k"), Org: acme, Keyspace: DefaultKeyspace, State: Active, Scopes: []string{"a:read", "b:*"}}
	ask := UseRequest{At: noon, By: Principal{Org: acme}}
	for name, c := range map[string]struct {
		set  func(*Credential, *UseRequest)
		want Outcome
	}{
		"valid":                       {func(*Credential, *UseRequest) {}, UseValid},
		"no key":                      {func(c *Credential, _ *UseRequest) { c.State = Absent }, UseNotFound},
		"another organization's":      {func(_ *Credential, r *UseRequest) { r.By.Org = NewOrgID("other") }, UseNotFound},
		"asked for the installation":  {func(_ *Credential, r *UseRequest) { r.By.Org = Installation }, UseValid},
		"another keyspace":            {func(_ *Credential, r *UseRequest) { r.Keyspace = ManagementKeyspace }, UseNotFound},
		"a management key, unasked":   {func(c *Credential, _ *UseRequest) { c.Keyspace = ManagementKeyspace }, UseNotFound},
		"revoked before expired":      {func(c *Credential, _ *UseRequest) { c.State, c.ExpiresAt = Revoked, 1 }, UseRevoked},
		"expired before disabled":     {func(c *Credential, _ *UseRequest) { c.State, c.ExpiresAt = Disabled, 1 }, UseExpired},
		"the last millisecond":        {func(c *Credential, _ *UseRequest) { c.ExpiresAt = noon.UnixMilli() + 1 }, UseValid},
		"the end":                     {func(c *Credential, _ *UseRequest) { c.ExpiresAt = noon.UnixMilli() }, UseExpired},
		"an ended secret, any clock":  {func(c *Credential, _ *UseRequest) { c.Ended, c.ValidUntil = true, noon.UnixMilli()+1 }, UseExpired},
		"a secret after its overlap":  {func(c *Credential, _ *UseRequest) { c.ValidUntil = noon.UnixMilli() }, UseExpired},
		"disabled":                    {func(c *Credential, _ *UseRequest) { c.State = Disabled }, UseDisabled},
		"scopes held":                 {func(_ *Credential, r *UseRequest) { r.Scopes = []string{"a:read", "b:write", "b:*"} }, UseValid},
		"a scope that is not held":    {func(_ *Credential, r *UseRequest) { r.Scopes = []string{"a:read", "a:write"} }, UseInsufficientScope},
		"a wildcard that is not held": {func(_ *Credential, r *UseRequest) { r.Scopes = []string{"*"} }, UseInsufficientScope},
		"a network without an address": {func(c *Credential, _ *UseRequest) {
			c.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, UseIPNotAllowed},
		"an address mapped into IPv6": {func(c *Credential, r *UseRequest) {
			c.AllowedCIDRs, r.IP = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, netip.MustParseAddr("::ffff:10.1.2.3")
		}, UseValid},
		"under the second limit alone": {func(c *Credential, r *UseRequest) {
			c.RateLimits, r.Counts = []RateLimit{{Limit: 2}, {Limit: 9}}, []int64{2, 3}
		}, UseRateLimited},
	} {
		credential, request := base, ask
		c.set(&credential, &request)
		if got := credential.Decide(request); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRotationEndsOldSecretsInTime(t *testing.T) {
	k := fold(created,
		KeyRotated{Digest: Digest{2}, OldValidUntil: noon.Add(time.Hour)},
		KeyRotated{Digest: Digest{3}, OldValidUntil: noon.Add(2 * time.Hour)})
	if len(k.Secrets) != 3 || !k.Secrets[0].ValidUntil.IsZero() || !k.Secrets[1].ValidUntil.Equal(noon.Add(2*time.Hour)) ||
		!k.Secrets[2].ValidUntil.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v: a later rotation must not give an old secret more time", k.Secrets)
	}
	k.Apply(KeyRotated{Digest: Digest{4}, OldValidUntil: noon, Header: Header{At: noon}})
	k.Apply(KeyRotated{Digest: Digest{5}, OldValidUntil: noon.Add(time.Hour), Header: Header{At: noon}})
	if s := k.Secrets; s[0].Ended || s[1].Ended || !s[2].Ended || !s[3].Ended || !s[4].Ended {
		t.Errorf("%+v: a rotation without overlap ends what was there before it, and nothing else", s)
	}
	for n := range 20 {
		k.Apply(KeyRotated{Digest: Digest{byte(n)}, OldValidUntil: noon})
	}
	if len(k.Secrets) != 10 {
		t.Errorf("%d secrets are remembered", len(k.Secrets))
	}
}

func TestNoVerbPrintsASecret(t *testing.T) {
	const text = "kt_live_hunter2"
	s := NewSecret(text)
	d := s.Digest()
	spelled, _ := d.MarshalText()
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", s, "digest", d, "both", struct{ S Secret }{s})
	j, _ := json.Marshal(struct{ S Secret }{s})
	printed := log.String() + string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, struct{ S Secret }{s}) + fmt.Sprintf(verb, d) + fmt.Sprintf(verb, &d)
	}
	for _, leak := range []string{text, "hunter2", fmt.Sprintf("%x", text), string(spelled), string(spelled[:16])} {
		if strings.Contains(strings.ToLower(printed), strings.ToLower(leak)) {
			t.Errorf("%q is in %s", leak, printed)
		}
	}
}

// TestRandomHistoriesKeepTheRules drives random commands and compares with plain rules.
func TestRandomHistoriesKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, now, gone, disabled := fold(created), noon, false, false
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Minute)
			var e Event
			var err error
			step := rapid.IntRange(0, 3).Draw(t, "step")
			switch step {
			case 0:
				e, err = k.Revoke(RevokeKey{At: now, By: admin})
			case 1:
				e, err = k.Disable(DisableKey{At: now, By: admin})
			case 2:
				e, err = k.Enable(EnableKey{At: now, By: admin})
			case 3:
				e, err = k.Rotate(RotateKey{Digest: Digest{9}, At: now, By: admin})
			}
			if gone != (err != nil || step == 0 && e == nil) {
				t.Fatalf("step %d on a key that is revoked %v: %v, %v", step, gone, e, err)
			}
			if e != nil {
				k.Apply(e)
			}
			gone = gone || step == 0
			disabled = !gone && (step == 1 || disabled && step != 2)
			if (k.State == Revoked) != gone || (k.State == Disabled) != disabled {
				t.Fatalf("state %s, want revoked %v, disabled %v", k.State, gone, disabled)
			}
		}
	})
}

// TestIdsOfDifferentCommandsDiffer tries the pairs that run together without their lengths.
func TestIdsOfDifferentCommandsDiffer(t *testing.T) {
	other := NewOrgID("other")
	seen := map[KeyID]bool{}
	for _, id := range []KeyID{NewKeyID(acme, "c"), NewKeyID(other, "c"), NewKeyID(acme, "d"), NewKeyID("", string(acme)+"c"), NewKeyID(acme+"c", ""), NewKeyID("", "c")} {
		if seen[id] {
			t.Errorf("%s is the id of two keys", id)
		}
		seen[id] = true
	}
}

func FuzzParseKeyID(f *testing.F) {
	f.Add(string(created.ID))
	f.Add("key_00000000000000000000000001")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseKeyID(s); err == nil && string(KeyIDFromBytes(id.Bytes())) != s {
			t.Errorf("%q is another spelling of an id", s)
		}
	})
}

func FuzzDuration(f *testing.F) {
	f.Add("1h30m")
	f.Fuzz(func(t *testing.T, s string) {
		var d, again Duration
		if d.UnmarshalText([]byte(s)) == nil && (again.UnmarshalText([]byte(d.String())) != nil || again != d) {
			t.Errorf("%q became %s", s, d)
		}
	})
}
