package domain

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A SigningSecret signs webhooks (Standard Webhooks 1.0.0).
type SigningSecret struct {
	Secret     []byte `json:"secret"`                // 32 bytes: the key of v1, and the seed of v1a
	ValidUntil int64  `json:"valid_until,omitempty"` // milliseconds since the Unix epoch, after a rotation; 0: it is the newest
}

// SigningSecretSize is how many random bytes a signing secret has.
const SigningSecretSize = ed25519.SeedSize

// maxSigningSecrets is how many secrets sign one delivery at most.
const maxSigningSecrets = 4

// Text is the secret as its receiver is given it.
func (s SigningSecret) Text() Secret {
	return NewSecret("whsec_" + base64.StdEncoding.EncodeToString(s.Secret))
}

// PublicKey is what the signatures of v1a are checked with.
func (s SigningSecret) PublicKey() string {
	public := ed25519.NewKeyFromSeed(s.Secret).Public().(ed25519.PublicKey)
	return "whpk_" + base64.StdEncoding.EncodeToString(public)
}

// Format makes every fmt verb print [secret].
func (SigningSecret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// LogValue is what a log has of it.
func (SigningSecret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// RotateSigning makes s the newest signing secret. Those before it stay valid for an overlap.
func (c *SinkCredentials) RotateSigning(s SigningSecret, overlap time.Duration, now time.Time) error {
	until := now.Add(overlap).UnixMilli()
	old := slices.Clone(c.Signing)
	for i := range old {
		if old[i].ValidUntil == 0 || old[i].ValidUntil > until {
			old[i].ValidUntil = until
		}
	}
	old = slices.DeleteFunc(old, func(o SigningSecret) bool { return o.ValidUntil <= now.UnixMilli() })
	if len(old) >= maxSigningSecrets {
		return ErrTooManySigningSecrets
	}
	c.Signing = append([]SigningSecret{s}, old...)
	return nil
}
