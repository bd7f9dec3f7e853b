package domain_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	. "github.com/keytrail/keytrail/domain"
)

func TestWhichTokensAKeyMayHave(t *testing.T) {
	self := Principal{ID: string(created.ID), Org: acme, Scopes: created.Scopes}
	policy := &TokenPolicy{MaxTTL: Duration(10 * time.Minute), Audience: "shop"}
	ask := func(change func(*DeriveToken)) DeriveToken {
		c := DeriveToken{ID: "j", Digest: created.Digest, Policy: policy, At: noon, By: self}
		change(&c)
		return c
	}
	plain := ask(func(*DeriveToken) {})
	soon := brief
	soon.ExpiresAt = noon.Add(90*time.Second + 300*time.Millisecond)
	overlap := KeyRotated{Digest: Digest{2}, OldValidUntil: noon.Add(time.Minute), Header: Header{At: noon}}
	atOnce := KeyRotated{Digest: Digest{2}, OldValidUntil: noon, Header: Header{At: noon}}
	for name, c := range map[string]struct {
		given []Event
		when  DeriveToken
		ends  time.Duration
		err   error
	}{
		"as the policy says":             {[]Event{created}, plain, 5 * time.Minute, nil},
		"for as long as allowed":         {[]Event{created}, ask(func(c *DeriveToken) { c.TTL = policy.MaxTTL }), 10 * time.Minute, nil},
		"for longer":                     {[]Event{created}, ask(func(c *DeriveToken) { c.TTL = policy.MaxTTL + 1 }), 0, &Error{Code: "invalid_field"}},
		"for less than a second":         {[]Event{created}, ask(func(c *DeriveToken) { c.TTL = 1 }), 0, &Error{Code: "invalid_field"}},
		"for a negative time":            {[]Event{created}, ask(func(c *DeriveToken) { c.TTL = -1 }), 0, &Error{Code: "invalid_field"}},
		"with no policy":                 {[]Event{created}, ask(func(c *DeriveToken) { c.Policy = nil }), 0, ErrNoTokens},
		"of a management key":            {[]Event{strong}, ask(func(c *DeriveToken) { c.By.Scopes = []string{"*"} }), 0, ErrNoTokens},
		"with a scope that it has not":   {[]Event{created}, ask(func(c *DeriveToken) { c.Scopes = []string{"a:*"} }), 0, NotAllowed(UseInsufficientScope)},
		"of a key that ends before":      {[]Event{soon}, plain, 90 * time.Second, nil},
		"with a secret in its overlap":   {[]Event{created, overlap}, plain, time.Minute, nil},
		"with a secret that was ended":   {[]Event{created, atOnce}, plain, 0, ErrInvalidKey},
		"with a secret of another key":   {[]Event{created}, ask(func(c *DeriveToken) { c.Digest = Digest{9} }), 0, ErrInvalidKey},
		"of a revoked key":               {[]Event{created, revoked}, plain, 0, ErrKeyRevoked},
		"of a key with a second to live": {[]Event{soon}, ask(func(c *DeriveToken) { c.At = noon.Add(90*time.Second + time.Millisecond) }), 0, ErrKeyExpired},
	} {
		e, err := fold(c.given...).DeriveToken(c.when)
		var got, want *Error
		if errors.As(err, &got) != errors.As(c.err, &want) || got != nil && got.Code != want.Code {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if d, _ := e.(TokenDerived); c.err == nil && (!d.ExpiresAt.Equal(noon.Add(c.ends)) || d.Audience != "shop") {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestSharedScopesAreThoseOfBoth(t *testing.T) {
	for _, c := range []struct{ a, b, want []string }{
		{[]string{"a:read", "b:read"}, []string{"a:read"}, []string{"a:read"}},
		{[]string{"a:*"}, []string{"a:read", "b:read"}, []string{"a:read"}},
		{[]string{"a:read", "b:read"}, []string{"*"}, []string{"a:read", "b:read"}},
		{[]string{"a:*"}, []string{"a:*"}, []string{"a:*"}},
		{[]string{"a:read"}, nil, nil},
	} {
		if got := SharedScopes(c.a, c.b); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v and %v: %v, want %v", c.a, c.b, got, c.want)
		}
		if got := SharedScopes(c.b, c.a); len(got) != len(c.want) {
			t.Errorf("%v and %v: %v, want %v", c.b, c.a, got, c.want)
		}
	}
}

// TestTokensOfAKeyAreBounded: each is an event that stays.
func TestTokensOfAKeyAreBounded(t *testing.T) {
	k := fold(created)
	self := Principal{ID: string(created.ID), Org: acme, Scopes: created.Scopes}
	derive := func(at time.Time) error {
		e, err := k.DeriveToken(DeriveToken{ID: "j", Digest: created.Digest, Policy: &TokenPolicy{}, At: at, By: self})
		if err == nil {
			k.Apply(e)
		}
		return err
	}
	for _, minute := range []time.Duration{0, time.Minute, -time.Hour} {
		for n := range 60 {
			if err := derive(noon.Add(minute)); err != nil {
				t.Fatalf("token %d at %v: %v", n, minute, err)
			}
		}
		if err := derive(noon.Add(minute + 59*time.Second)); !errors.Is(err, ErrTooManyTokens) {
			t.Errorf("one more at %v: %v", minute, err)
		}
	}
}
