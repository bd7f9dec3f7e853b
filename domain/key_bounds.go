package domain

import (
	"cmp"
	"slices"
	"time"
)

// settle gives the settings of a new key what they leave out, and refuses what is beyond the
// bounds. The key keeps what it gets here, whatever becomes of the keyspace.
func (d *KeyspaceDefinition) settle(s Settings, ttl Duration, at time.Time) (Settings, error) {
	if d.Bounds.MaxTTL != 0 && ttl > d.Bounds.MaxTTL {
		return s, InvalidField("ttl", "must be at most %s, the max_ttl of the keyspace", d.Bounds.MaxTTL)
	}
	if d.Bounds.OneKeyPerOwner && s.Owner == "" {
		return s, InvalidField("owner", "is required: the keyspace gives each owner one key")
	}
	if ttl = cmp.Or(ttl, d.Defaults.TTL, d.Bounds.MaxTTL); s.ExpiresAt.IsZero() && ttl != 0 {
		s.ExpiresAt = at.Add(time.Duration(ttl))
	}
	if s.Scopes == nil {
		s.Scopes = d.Defaults.Scopes
	}
	if s.RateLimits == nil {
		s.RateLimits = d.Defaults.RateLimits
	}
	if err := d.allowsScopes(s.Scopes, nil); err != nil {
		return s, err
	}
	return s, d.allowsExpiry(s.ExpiresAt, at)
}

// allowsChanges refuses changes that take a key beyond the bounds. A key that is beyond newer
// bounds may stay so: what is not changed is not looked at.
func (d *KeyspaceDefinition) allowsChanges(k *Key, c Changes) error {
	if c.Owner != nil && d.Bounds.OneKeyPerOwner {
		return InvalidField("owner", "cannot be changed: the keyspace gives each owner one key")
	}
	if c.Scopes != nil {
		if err := d.allowsScopes(*c.Scopes, k.Scopes); err != nil {
			return err
		}
	}
	if c.ExpiresAt != nil {
		return d.allowsExpiry(*c.ExpiresAt, k.Secrets[0].CreatedAt)
	}
	return nil
}

// allowsScopes refuses scopes that are not in the catalogue, but for those that a key has.
func (d *KeyspaceDefinition) allowsScopes(scopes, has []string) error {
	for i, s := range scopes {
		if !d.hasScope(s) && !slices.Contains(has, s) {
			return InvalidField("scopes["+itoa(i)+"]", "is not in the scopes of the keyspace, and covers none of them")
		}
	}
	return nil
}

// allowsExpiry refuses an expiry too late for a secret that was made at a moment: a rotation
// begins a new time to live.
func (d *KeyspaceDefinition) allowsExpiry(expiry, made time.Time) error {
	last := made.Add(time.Duration(d.Bounds.MaxTTL))
	if d.Bounds.MaxTTL != 0 && (expiry.IsZero() || expiry.After(last)) {
		return InvalidField("expires_at", "must be at most %s, the max_ttl of the keyspace, after the newest secret was made: by %s", d.Bounds.MaxTTL, last.Format(time.RFC3339))
	}
	return nil
}

// Overlap is that of a rotation which asks for one, nil: for none in particular.
func (b KeyBounds) Overlap(asked *Duration) (time.Duration, error) {
	switch {
	case asked == nil:
		return time.Duration(b.MinOverlap), nil
	case *asked < b.MinOverlap:
		return 0, InvalidField("overlap", "must be at least %s, the min_overlap of the keyspace", b.MinOverlap)
	case b.MaxOverlap != nil && *asked > *b.MaxOverlap:
		return 0, InvalidField("overlap", "must be at most %s, the max_overlap of the keyspace", *b.MaxOverlap)
	}
	return time.Duration(*asked), nil
}

// RotateAt is when a key is due for rotation, by the age of its newest secret. Zero: never, as of
// one that was revoked.
func (b KeyBounds) RotateAt(k *Key) time.Time {
	if b.RotateAfter == 0 || k.State == Absent || k.State == Revoked {
		return time.Time{}
	}
	return k.Secrets[0].CreatedAt.Add(time.Duration(b.RotateAfter))
}

// RotationDue reports whether a key should be rotated: one that can be.
func (b KeyBounds) RotationDue(k *Key, now time.Time) bool {
	at := b.RotateAt(k)
	return !at.IsZero() && !now.Before(at) && !k.AtEnd(now)
}
