package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// A Secret is a key's plaintext. It exists between minting and the one response that
// carries it, or between a request and its digest, and prints as [secret] everywhere.
type Secret struct{ s *string } // a pointer, so that no fmt verb can reach the text

const redacted = "[secret]"

// NewSecret wraps text that a caller presented.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal is the one way out. The zero Secret reveals "".
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Digest is the SHA-256 of the secret's bytes.
func (s Secret) Digest() Digest { return sha256.Sum256([]byte(s.Reveal())) }

// A Digest is the SHA-256 of a secret: all that is kept of it. It prints as [digest],
// and is spelled out, as 64 hex characters, only on the ledger.
type Digest [sha256.Size]byte

func (Digest) String() string       { return "[digest]" }
func (Digest) GoString() string     { return "[digest]" }
func (Digest) LogValue() slog.Value { return slog.StringValue("[digest]") }

// Format makes every fmt verb, %x among them, print [digest].
func (Digest) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[digest]")) }

// MarshalText is the ledger's spelling. No answer, log line or error may hold a Digest.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads 64 hex characters.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return errDigest
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return errDigest
	}
	return nil
}

var errDigest = InvalidField("digest", "a digest is the SHA-256 of the secret as 64 hex characters")

// ParseDigest reads 64 hex characters; its error does not repeat them.
func ParseDigest(s string) (d Digest, err error) { return d, d.UnmarshalText([]byte(s)) }
