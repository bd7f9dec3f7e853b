package domain_test

import (
	"errors"
	"testing"
	"time"

	. "github.com/keytrail/keytrail/domain"
)

func TestWhoseSecretMayBeRevealed(t *testing.T) {
	sealed := created
	sealed.Sealed = []byte("sealed")
	ending := sealed
	ending.ExpiresAt = noon.Add(time.Hour)
	again := KeyRotated{Digest: Digest{2}, Prefix: "kt_2", Sealed: []byte("also"), OldValidUntil: noon.Add(time.Hour)}
	elsewhere := Principal{ID: "other", Org: NewOrgID("other"), Scopes: []string{"*"}}
	for name, c := range map[string]struct {
		given []Event
		when  RevealKey
		want  error
	}{
		"a sealed one":                        {[]Event{sealed}, RevealKey{true, noon, admin}, nil},
		"that of a disabled key":              {[]Event{sealed, KeyDisabled{}}, RevealKey{true, noon, admin}, nil},
		"one that came with a rotation":       {[]Event{created, again}, RevealKey{true, noon, admin}, nil},
		"one that was not sealed":             {[]Event{created}, RevealKey{true, noon, admin}, ErrNotRecoverable},
		"one after the keyspace changed":      {[]Event{sealed}, RevealKey{false, noon, admin}, ErrNotRecoverable},
		"the one after a sealed one":          {[]Event{sealed, KeyRotated{Digest: Digest{2}}}, RevealKey{true, noon, admin}, ErrNotRecoverable},
		"that of a revoked key":               {[]Event{sealed, revoked}, RevealKey{true, noon, admin}, ErrKeyRevoked},
		"that of an expired key":              {[]Event{ending}, RevealKey{true, noon.Add(time.Hour), admin}, ErrKeyExpired},
		"that of another organization's key":  {[]Event{sealed}, RevealKey{true, noon, elsewhere}, ErrKeyNotFound},
		"that of no key":                      {nil, RevealKey{true, noon, admin}, ErrKeyNotFound},
		"that of a management key (unsealed)": {[]Event{strong}, RevealKey{true, noon, Principal{Org: acme, Scopes: []string{"*"}}}, ErrNotRecoverable},
	} {
		e, err := fold(c.given...).Reveal(c.when)
		if !errors.Is(err, c.want) || (e == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v, want %v", name, e, err, c.want)
		}
	}
	rotated := fold(sealed, KeyRotated{Digest: Digest{2}, OldValidUntil: noon.Add(time.Hour)})
	if rotated.Secrets[1].Sealed != nil {
		t.Error("a secret that was rotated away is still sealed")
	}
}

func TestTheRevealScopeMustBeListed(t *testing.T) {
	holds := func(keyspace string, scopes ...string) Outcome {
		c := Credential{Key: created.ID, Org: acme, Keyspace: keyspace, State: Active, Scopes: scopes}
		return c.Decide(UseRequest{At: noon, Keyspace: keyspace, Scopes: []string{RevealScope}, By: admin})
	}
	for want, scopes := range map[Outcome][][]string{
		UseValid:             {{"keys:reveal"}, {"*", "keys:reveal"}},
		UseInsufficientScope: {{"*"}, {"keys:*"}, {"keys:write", "keys:read"}},
	} {
		for _, s := range scopes {
			if got := holds(ManagementKeyspace, s...); got != want {
				t.Errorf("%v: %v, want %v", s, got, want)
			}
		}
	}
	if got := holds("default", "keys:*"); got != UseValid {
		t.Errorf("a product's scope of that name: %v", got)
	}
	// A wildcard is enough to give it to another key.
	c := CreateKey{ID: created.ID, Org: acme, Keyspace: ManagementKeyspace, Settings: Settings{Name: "support", Scopes: []string{RevealScope}}, At: noon, By: admin}
	if _, err := (Key{}).Create(c); err != nil {
		t.Errorf("granted by keys:*: %v", err)
	}
	c.By.Scopes = []string{"keys:write"}
	if _, err := (Key{}).Create(c); !errors.Is(err, ErrScopeEscalation) {
		t.Errorf("granted without: %v", err)
	}
}
