package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"strings"
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

// A Format is how the secrets of a keyspace look: a prefix that scanners can find, random
// base62 characters, and base62 characters of a CRC-32 (IEEE) over all before them, so
// that typos and noise are refused without a lookup.
type Format struct {
	Prefix string
	Random int // base62 characters of randomness, at most 42
	Check  int // base62 characters of CRC-32, 6 hold all of it
	Shown  int // how many random characters the displayed prefix has
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Mint makes a secret of 256 random bits. Reducing them to f.Random base62 characters is
// even to within 2^-60 for the 32 characters of the built-in formats.
func (f Format) Mint(random [32]byte) Secret {
	body := f.Prefix + inBase62(new(big.Int).SetBytes(random[:]), f.Random)
	return NewSecret(string(appendCheck([]byte(body), body, f.Check)))
}

// ShownPrefix is the part of a secret of this format that is safe to show.
func (f Format) ShownPrefix(s Secret) string { return s.Reveal()[:len(f.Prefix)+f.Shown] }

// claims reports whether text says, by its prefix, that it is a secret of this format.
func (f Format) claims(text string) bool { return strings.HasPrefix(text, f.Prefix) }

// Intact reports whether text that claims this format has its length, alphabet and checksum.
func (f Format) Intact(text string) bool {
	if len(text) != len(f.Prefix)+f.Random+f.Check {
		return false
	}
	body, check := text[:len(text)-f.Check], text[len(text)-f.Check:]
	for i := len(f.Prefix); i < len(body); i++ {
		if !isBase62(body[i]) {
			return false
		}
	}
	var want [8]byte
	return string(appendCheck(want[:0], body, f.Check)) == check
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// appendCheck appends n base62 characters of body's CRC-32.
func appendCheck(b []byte, body string, n int) []byte {
	sum := crc32.ChecksumIEEE([]byte(body))
	start := len(b)
	for range n {
		b = append(b, base62[sum%62])
		sum /= 62
	}
	for i, j := start, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return b
}

func inBase62(n *big.Int, length int) string {
	digits := make([]byte, length)
	base, digit := big.NewInt(62), new(big.Int)
	for i := length - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		digits[i] = base62[digit.Int64()]
	}
	return string(digits)
}
