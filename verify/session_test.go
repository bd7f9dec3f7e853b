package verify_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/token"
	"github.com/keytrail/keytrail/verify"
)

var ada = domain.NewUserID("ada")

// issuer makes the tokens of an installation.
func issuer(t testing.TB, seed byte) *token.Issuer {
	t.Helper()
	i, err := token.NewIssuer([32]byte{seed}, [32]byte{seed, 1}, "")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// settle makes Ada an admin of the desk's organization.
func (d *desk) settle() {
	d.t.Helper()
	d.put(eventstore.UserRef(ada), domain.UserCreated{ID: ada, Email: "ada@example.com", Header: at})
	d.put(eventstore.MembersRef(d.org), domain.MembershipCreated{User: ada, Role: domain.RoleAdmin, Header: at})
}

// session begins a session of Ada's, and gives its token.
func (d *desk) session(i *token.Issuer, name string, generation int) string {
	d.t.Helper()
	id, ends := domain.NewSessionID(name), noon.Add(time.Hour)
	d.put(eventstore.SessionsRef(d.org, ada), domain.SessionCreated{ID: id, User: ada, Org: d.org, Method: domain.ByPassword, ExpiresAt: ends, Header: at})
	text, err := i.SignSession(generation, token.SessionClaims{Subject: string(ada), ID: string(id), Org: string(d.org), Position: uint64(d.store.Position()), IssuedAt: noon.Unix(), Expiry: ends.Unix()})
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

// outcomeOf is that of a token for a product.
func (d *desk) outcomeOf(text string) domain.Outcome {
	d.t.Helper()
	var a verify.Answer
	if err := d.Verify(d.t.Context(), &verify.Request{Secret: text, By: d.asker, Scopes: []string{"keys:read"}}, &a); err != nil {
		d.t.Fatal(err)
	}
	return a.Outcome
}

// TestASessionEndsByTheClock to the second, also if that jumps ahead and back.
func TestASessionEndsByTheClock(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	text := d.session(i, "s", 1)
	for _, c := range []struct {
		at   time.Duration
		want domain.Outcome
	}{{0, domain.UseValid}, {time.Hour - time.Millisecond, domain.UseValid}, {time.Hour, domain.UseExpired}, {48 * time.Hour, domain.UseExpired}, {-48 * time.Hour, domain.UseValid}, {time.Hour - 1, domain.UseValid}} {
		d.clock.Store(noon.Add(c.at).UnixMilli())
		if got := d.outcomeOf(text); got != c.want {
			t.Errorf("after %s: %s, want %s", c.at, got, c.want)
		}
	}
}

// TestARotatedKeysTokensEndWithTheOverlap, by the clock, and those of the new one do not.
func TestARotatedKeysTokensEndWithTheOverlap(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	old := d.session(i, "old", 1)
	if got := d.outcomeOf(old); got != domain.UseValid { // and it is remembered
		t.Errorf("the old one before: %s", got)
	}
	if got := d.outcomeOf(d.session(i, "early", 2)); got != domain.UseNotFound {
		t.Errorf("of a generation that does not sign yet: %s", got)
	}
	d.put(eventstore.SessionKeysRef(), domain.SessionKeysRotated{Generation: 2, OldUntil: noon.Add(time.Minute), Header: at})
	newer := d.session(i, "new", 2)
	for after, want := range map[time.Duration]domain.Outcome{0: domain.UseValid, time.Minute - time.Millisecond: domain.UseValid, time.Minute: domain.UseExpired} {
		d.clock.Store(noon.Add(after).UnixMilli())
		if got := d.outcomeOf(old); got != want {
			t.Errorf("the old one after %s: %s, want %s", after, got, want)
		}
		if got := d.outcomeOf(newer); got != domain.UseValid {
			t.Errorf("the new one after %s: %s", after, got)
		}
	}
}

// TestWhatIsNoTokenOfASession is not found, whatever it says, and however often.
func TestWhatIsNoTokenOfASession(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	good := d.session(i, "s", 1)
	parts := strings.Split(good, ".")
	id := domain.NewSessionID("s")
	claims := fmt.Sprintf(`{"sub":%q,"jti":%q,"org":%q,"iat":1,"exp":99999999999}`, ada, id, d.org)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	derived, err := i.Sign(token.Claims{Subject: string(id), Org: string(d.org), Keyspace: "default", ID: string(id), Expiry: noon.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	forged := parts[0] + "." + encode(claims)
	for name, text := range map[string]string{
		"other claims":               parts[0] + "." + encode(claims) + "." + parts[2],
		"another's signature":        forged + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(stranger, []byte(forged))),
		"no algorithm":               encode(strings.Replace(string(header), "EdDSA", "none", 1)) + "." + encode(claims) + ".",
		"another type":               encode(strings.Replace(string(header), "keytrail-session+jwt", "keytrail+jwt", 1)) + "." + parts[1] + "." + parts[2],
		"a derived token":            derived,
		"another installation":       d.session(issuer(t, 2), "other", 1),
		"no signature":               parts[0] + "." + parts[1] + ".",
		"a line break":               good + "\n",
		"a huge one":                 parts[0] + "." + strings.Repeat("A", 1<<16) + "." + parts[2],
		"of a session that is ahead": ahead(t, i, d),
	} {
		if got := d.outcomeOf(text); got != domain.UseNotFound {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := d.outcomeOf(good); got != domain.UseValid {
		t.Errorf("the good one: %s", got)
	}
}

// ahead is the token of a session that this node has not heard of yet.
func ahead(t *testing.T, i *token.Issuer, d *desk) string {
	t.Helper()
	text, err := i.SignSession(1, token.SessionClaims{Subject: string(ada), ID: string(domain.NewSessionID("ahead")), Org: string(d.org), Position: uint64(d.store.Position()) + 1, IssuedAt: noon.Unix(), Expiry: noon.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestJunkDrivesNoSessionOut presents 100,000 texts that begin like a token, and counts what is
// remembered.
func TestJunkDrivesNoSessionOut(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	good := d.session(i, "s", 1)
	head, _, _ := strings.Cut(good, ".")
	if got := d.outcomeOf(good); got != domain.UseValid {
		t.Fatal(got)
	}
	for n := range 100_000 {
		text := fmt.Sprintf("%s.e30.%d", head, n)
		if n%10 == 0 {
			text = fmt.Sprintf("eyJ.%d.x", n)
		}
		if got := d.outcomeOf(text); got != domain.UseNotFound {
			t.Fatal(text, got)
		}
	}
	if n := d.KnownSessions(); n != 1 {
		t.Errorf("%d are remembered", n)
	}
	if got := d.outcomeOf(good); got != domain.UseValid {
		t.Errorf("the good one: %s", got)
	}
}

// TestTheMemoryOfSessionsIsBounded also if there are more of them, and all of them stay good.
func TestTheMemoryOfSessionsIsBounded(t *testing.T) {
	verify.SetMaxYoungSessions(t, 2)
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	var all []string
	for n := range 600 {
		org := domain.NewOrgID(fmt.Sprint(n))
		id, ends := domain.NewSessionID(fmt.Sprint(n)), noon.Add(time.Hour)
		d.put(eventstore.MembersRef(org), domain.MembershipCreated{User: ada, Role: domain.RoleAdmin, Header: at})
		d.put(eventstore.SessionsRef(org, ada), domain.SessionCreated{ID: id, User: ada, Org: org, ExpiresAt: ends, Header: at})
		text, err := i.SignSession(1, token.SessionClaims{Subject: string(ada), ID: string(id), Expiry: ends.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	for range 2 {
		for _, text := range all {
			var a verify.Answer
			if err := d.Verify(t.Context(), &verify.Request{Secret: text, By: domain.System}, &a); err != nil || a.Outcome != domain.UseValid {
				t.Fatal(a.Outcome, err)
			}
		}
	}
	if n := d.KnownSessions(); n == 0 || n > 64*2*2 {
		t.Errorf("%d are remembered", n)
	}
}

// TestARememberedSessionHeedsEachChange of what it hangs on, and nothing else makes it be looked up.
func TestARememberedSessionHeedsEachChange(t *testing.T) {
	i := issuer(t, 1)
	d := openWith(t, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	d.put(eventstore.MembersRef(d.org), domain.RoleDefined{Role: "reader", Scopes: []string{"keys:read"}, New: true, Header: at})
	text := d.session(i, "s", 1)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "first"}}) // after which its keyspace has imported keys
	before := d.store.SessionsVersion()
	d.session(i, "another", 1)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good"}})
	if now := d.store.SessionsVersion(); now != before {
		t.Errorf("a key and a session that began moved the version of sessions from %d to %d", before, now)
	}
	product := func(scopes ...string) domain.KeyspaceDefined {
		return domain.KeyspaceDefined{Name: "product", Header: at, Definition: domain.KeyspaceDefinition{Format: domain.Format{Prefix: "product_", Alphabet: domain.Base62, Length: 32},
			Sessions: &domain.SessionPolicy{Roles: []domain.RoleScopes{{Role: "reader", Scopes: scopes}}}}}
	}
	for _, c := range []struct {
		change   string
		ref      eventstore.Ref
		event    domain.Event
		keyspace string
		scope    string
		want     domain.Outcome
	}{
		{"another role", eventstore.MembersRef(d.org), domain.MembershipUpdated{User: ada, Role: "reader", Header: at}, "", "keys:write", domain.UseInsufficientScope},
		{"a role's scopes", eventstore.MembersRef(d.org), domain.RoleDefined{Role: "reader", Scopes: []string{"keys:write"}, Header: at}, "", "keys:write", domain.UseValid},
		{"a keyspace", eventstore.KeyspaceRef("product"), product("a:read"), "product", "a:read", domain.UseValid},
		{"a keyspace's scopes", eventstore.KeyspaceRef("product"), product("b:read"), "product", "a:read", domain.UseInsufficientScope},
		{"single sign-on", eventstore.SSORef(d.org), domain.SSOConfigured{SSODefinition: domain.SSODefinition{Issuer: "https://id.example.com", Enforced: true}, Header: at}, "", "keys:write", domain.UseRevoked},
		{"no single sign-on", eventstore.SSORef(d.org), domain.SSORemoved{Header: at}, "", "keys:write", domain.UseValid},
		{"a disabled user", eventstore.UserRef(ada), domain.UserDisabled{Header: at}, "", "keys:write", domain.UseDisabled},
	} {
		for range 2 { // the second time it is remembered
			d.outcomeAt(text, c.keyspace, c.scope)
		}
		d.put(c.ref, c.event)
		if got := d.outcomeAt(text, c.keyspace, c.scope); got != c.want {
			t.Errorf("after %s: %s, want %s", c.change, got, c.want)
		}
	}
}

// outcomeAt is that of a token at a product.
func (d *desk) outcomeAt(text, keyspace, scope string) domain.Outcome {
	d.t.Helper()
	var a verify.Answer
	if err := d.Verify(d.t.Context(), &verify.Request{Secret: text, Keyspace: keyspace, By: d.asker, Scopes: []string{scope}}, &a); err != nil {
		d.t.Fatal(err)
	}
	return a.Outcome
}

// BenchmarkVerifySessionBesideWrites moves the read model on between verifications, by what is no
// session's business.
func BenchmarkVerifySessionBesideWrites(b *testing.B) {
	i := issuer(b, 1)
	d := openWith(b, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	text := d.session(i, "s", 1)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good", Scopes: []string{"a:read"}}})
	for _, c := range []struct{ name, secret string }{{"key", "good"}, {"session", text}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var a verify.Answer
			for n := 0; b.Loop(); n++ {
				if n%8 == 0 {
					b.StopTimer()
					d.put(eventstore.OrganizationRef(domain.NewOrgID(fmt.Sprint(c.name, b.N, n))), domain.OrganizationCreated{ID: domain.NewOrgID(fmt.Sprint(c.name, b.N, n)), Header: at})
					b.StartTimer()
				}
				if err := d.Verify(context.Background(), &verify.Request{Secret: c.secret, By: d.asker}, &a); err != nil || a.Outcome != domain.UseValid {
					b.Fatal(a.Outcome, err)
				}
			}
		})
	}
	d.close()
}

func BenchmarkVerifySession(b *testing.B) {
	i := issuer(b, 1)
	d := openWith(b, verify.Options{Tokens: i, Durability: verify.Relaxed}, nil)
	d.settle()
	text := d.session(i, "s", 1)
	d.key(domain.KeyCreated{Settings: domain.Settings{Name: "good", Scopes: []string{"a:read"}}})
	for name, secret := range map[string]string{"key": "good", "session": text} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				var a verify.Answer
				for p.Next() {
					if err := d.Verify(context.Background(), &verify.Request{Secret: secret, By: d.asker}, &a); err != nil || a.Outcome != domain.UseValid {
						b.Error(a.Outcome, err)
						return
					}
				}
			})
		})
	}
	d.close()
}
