package domain

import (
	"slices"
	"time"
)

// TokenDerived is a token that was derived from the key: its holder may do what Scopes say until
// ExpiresAt.
type TokenDerived struct {
	Prefix    string    `json:"prefix"` // of the key's newest secret
	ID        string    `json:"token_id"`
	Scopes    []string  `json:"scopes,omitempty"`
	Audience  string    `json:"audience,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	Header
}

// DeriveToken asks for a token that stands for a key. By is the key itself.
type DeriveToken struct {
	ID       string
	Digest   Digest       // of the secret that was presented
	Policy   *TokenPolicy // nil: none are derived
	Scopes   []string     // nil: all that the key has
	Audience string       // "": the policy's
	TTL      Duration     // 0: DefaultTokenTTL, or the longest that the policy allows
	At       time.Time
	By       Principal
}

// DeriveToken decides whether the key may have the token. It ends in a whole second, and no later than
// the key and the presented secret.
func (k Key) DeriveToken(c DeriveToken) (Event, error) {
	if err := k.changeable(c.By, c.At); err != nil {
		return nil, err
	}
	if c.Policy == nil || k.Keyspace == ManagementKeyspace {
		return nil, ErrNoTokens
	}
	if k.TokenMinute == minuteOf(c.At) && k.Tokens >= maxTokens {
		return nil, ErrTooManyTokens
	}
	s, known := k.Secret(c.Digest)
	if !known || s.Ended {
		return nil, ErrInvalidKey
	}
	ttl, err := c.Policy.ttl(c.TTL)
	if err != nil {
		return nil, err
	}
	if c.Scopes == nil {
		c.Scopes = k.Scopes
	}
	if !coversAll(k.Scopes, c.Scopes) {
		return nil, NotAllowed(UseInsufficientScope)
	}
	ends := earliest(c.At.Add(time.Duration(ttl)), k.ExpiresAt, s.ValidUntil).Truncate(time.Second)
	if !ends.After(c.At) {
		return nil, ErrKeyExpired
	}
	if c.Audience == "" {
		c.Audience = c.Policy.Audience
	}
	return TokenDerived{Prefix: k.prefix(), ID: c.ID, Scopes: c.Scopes, Audience: c.Audience, ExpiresAt: ends, Header: Header{c.At, c.By.ID}}, nil
}

// maxTokens is how many tokens a key derives in a minute. Each is an event that stays, and the holder
// of a key without rate limits could otherwise fill the ledger.
const maxTokens = 60

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// ttl is how long a token lives.
func (p TokenPolicy) ttl(asked Duration) (Duration, error) {
	most := p.MaxTTL
	if most == 0 {
		most = DefaultTokenTTL
	}
	switch {
	case asked == 0:
		return min(DefaultTokenTTL, most), nil
	case asked < Duration(time.Second) || asked > most:
		return 0, InvalidField("ttl", "must be from 1s to %s, which is the keyspace's bound", most)
	}
	return asked, nil
}

// earliest is the first of at and those of the others that are not zero.
func earliest(at time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

// Secret finds one of the key's secrets.
func (k Key) Secret(d Digest) (KeySecret, bool) {
	i := slices.IndexFunc(k.Secrets, func(s KeySecret) bool { return s.Digest == d })
	if i < 0 {
		return KeySecret{}, false
	}
	return k.Secrets[i], true
}

// SecretMadeAt finds the key's secret that was made at a moment, in milliseconds since the Unix epoch.
func (k Key) SecretMadeAt(ms int64) (KeySecret, bool) {
	i := slices.IndexFunc(k.Secrets, func(s KeySecret) bool { return s.CreatedAt.UnixMilli() == ms })
	if i < 0 {
		return KeySecret{}, false
	}
	return k.Secrets[i], true
}

// SharedScopes are what both a and b give.
func SharedScopes(a, b []string) (shared []string) {
	for _, s := range a {
		if covers(b, s) {
			shared = append(shared, s)
		}
	}
	for _, s := range b {
		if covers(a, s) && !slices.Contains(shared, s) {
			shared = append(shared, s)
		}
	}
	return shared
}
