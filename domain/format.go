package domain

import (
	"hash/crc32"
	"math/big"
	"slices"
	"strings"
)

// A Format is how the secrets of a keyspace look: a prefix that scanners can find, the tag of
// an environment if the keyspace has some, random characters of an alphabet, and, if there is
// a checksum, characters of it over all before them, so that typos and noise are refused
// without a look-up.
type Format struct {
	Prefix       string        `json:"prefix,omitempty" validate:"max=24,secret_text"`
	Environments []Environment `json:"environments,omitempty" validate:"max=10,unique=Name,unique=Tag,dive"`
	Alphabet     Alphabet      `json:"alphabet" validate:"required,oneof=hex base32 base36 base62"`
	Length       int           `json:"length" validate:"min=1,max=128"` // of the random characters
	Checksum     Checksum      `json:"checksum,omitempty" validate:"omitempty,oneof=crc32"`
	Shown        int           `json:"shown,omitempty" validate:"min=0,max=8"` // how many random characters the display prefix has
}

// An Environment is a part of a keyspace, like live and test. A key is of one of them, and its
// secrets have the tag.
type Environment struct {
	Name string `json:"name" validate:"required,max=32,keyspace_name"`
	Tag  string `json:"tag" validate:"required,max=16,secret_text"`
}

// An Alphabet is the characters of a secret's random part, by its name.
type Alphabet string

// The alphabets. Base32 is that of RFC 4648, section 6; Base36 are digits and lower-case letters.
const (
	Hex    Alphabet = "hex"
	Base32 Alphabet = "base32"
	Base36 Alphabet = "base36"
	Base62 Alphabet = "base62"
)

// Alphabets are all alphabets.
var Alphabets = []Alphabet{Hex, Base32, Base36, Base62}

func (a Alphabet) characters() string {
	switch a {
	case Hex:
		return "0123456789abcdef"
	case Base32:
		return "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	case Base36:
		return "0123456789abcdefghijklmnopqrstuvwxyz"
	}
	return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
}

// A Checksum is a function of a secret's characters, by its name; "": none.
type Checksum string

// CRC32 is that of IEEE 802.3, as many characters as hold its 32 bits, the highest digit first.
const CRC32 Checksum = "crc32"

// minEntropy is how many random bits a secret has at least.
const minEntropy = 128

// check refuses a format whose secrets could be guessed.
func (f Format) check() error {
	if bits := f.entropy(); bits < minEntropy {
		return InvalidField("format.length", "%d characters of %s are %d random bits, and a secret needs %d; take at least %d",
			f.Length, f.Alphabet, bits, minEntropy, f.leastLength())
	}
	return nil
}

// entropy is the random bits of a secret, rounded down.
func (f Format) entropy() int {
	size := big.NewInt(int64(len(f.Alphabet.characters())))
	return new(big.Int).Exp(size, big.NewInt(int64(f.Length)), nil).BitLen() - 1
}

func (f Format) leastLength() int {
	for f.Length = 1; f.entropy() < minEntropy; f.Length++ {
	}
	return f.Length
}

// sameShapes reports whether the secrets of f and g look the same, whatever is shown of them.
func (f Format) sameShapes(g Format) bool {
	return f.Prefix == g.Prefix && slices.Equal(f.Environments, g.Environments) && f.Alphabet == g.Alphabet && f.Length == g.Length && f.Checksum == g.Checksum
}

// Shapes are those of all environments, or the one of a format without any.
func (f Format) Shapes() (all []Shape) {
	if len(f.Environments) == 0 {
		return []Shape{f.shape("", "")}
	}
	for _, e := range f.Environments {
		all = append(all, f.shape(e.Name, e.Tag))
	}
	return all
}

func (f Format) shape(environment, tag string) Shape {
	s := Shape{Environment: environment, Head: f.Prefix + tag, Alphabet: f.Alphabet, Length: f.Length, shown: f.Shown, characters: f.Alphabet.characters()}
	if f.Checksum == CRC32 {
		s.Check = digitsFor(32, len(s.characters))
	}
	for i := range len(s.characters) {
		s.allowed[s.characters[i]] = true
	}
	return s
}

// digitsFor is how many digits of a base hold so many bits.
func digitsFor(bits uint, base int) (n int) {
	for rest := new(big.Int).Lsh(big.NewInt(1), bits); rest.Cmp(big.NewInt(1)) > 0; n++ {
		rest.Div(rest.Add(rest, big.NewInt(int64(base-1))), big.NewInt(int64(base)))
	}
	return n
}

// A Shape is how the secrets of one environment look.
type Shape struct {
	Environment string // "": the format has none
	Head        string // the prefix and the tag
	Alphabet    Alphabet
	Length      int // of the random characters
	Check       int // characters of the checksum; 0: there is none
	shown       int
	characters  string
	allowed     [256]bool
}

// Size is how many characters a secret has.
func (s *Shape) Size() int { return len(s.Head) + s.Length + s.Check }

// RandomBytes is how many random bytes Mint needs: 64 bits more than a secret has, so that
// reducing them to digits is even to within 2^-64.
func (s *Shape) RandomBytes() int {
	size := big.NewInt(int64(len(s.characters)))
	return (new(big.Int).Exp(size, big.NewInt(int64(s.Length)), nil).BitLen()+7)/8 + 8
}

// Mint makes a secret of random bytes.
func (s *Shape) Mint(random []byte) Secret {
	b := append([]byte(s.Head), s.digits(new(big.Int).SetBytes(random), s.Length)...)
	return NewSecret(string(s.appendCheck(b, string(b))))
}

// digits are the last n of a number in the alphabet's base.
func (s *Shape) digits(number *big.Int, n int) []byte {
	digits := make([]byte, n)
	base, digit := big.NewInt(int64(len(s.characters))), new(big.Int)
	for i := n - 1; i >= 0; i-- {
		number.DivMod(number, base, digit)
		digits[i] = s.characters[digit.Int64()]
	}
	return digits
}

// DisplayPrefix is the part of a secret that is safe to show.
func (s *Shape) DisplayPrefix(secret Secret) string { return secret.Reveal()[:len(s.Head)+s.shown] }

// Matches reports whether text has the head, the size, the alphabet and the checksum.
func (s *Shape) Matches(text string) bool {
	if len(text) != s.Size() || !strings.HasPrefix(text, s.Head) {
		return false
	}
	for i := len(s.Head); i < len(text); i++ {
		if !s.allowed[text[i]] {
			return false
		}
	}
	var want [32]byte
	end := len(text) - s.Check
	return string(s.appendCheck(want[:0], text[:end])) == text[end:]
}

// appendCheck appends the checksum of body.
func (s *Shape) appendCheck(b []byte, body string) []byte {
	sum, base := crc32.ChecksumIEEE([]byte(body)), uint32(len(s.characters))
	start := len(b)
	for range s.Check {
		b = append(b, s.characters[sum%base])
		sum /= base
	}
	slices.Reverse(b[start:])
	return b
}

// overlaps reports whether a text can have both shapes, but for their checksums.
func (s *Shape) overlaps(t *Shape) bool {
	if s.Size() != t.Size() {
		return false
	}
	for i := range s.Size() {
		if !slices.ContainsFunc([]byte(s.at(i)), func(c byte) bool { return strings.IndexByte(t.at(i), c) >= 0 }) {
			return false
		}
	}
	return true
}

// at are the characters that can be at i.
func (s *Shape) at(i int) string {
	if i < len(s.Head) {
		return s.Head[i : i+1]
	}
	return s.characters
}

// shapeOf is that of an environment; "": the first, if there are some.
func (f Format) shapeOf(environment string) (Shape, error) {
	for _, s := range f.Shapes() {
		if environment == "" || s.Environment == environment {
			return s, nil
		}
	}
	if len(f.Environments) == 0 {
		return Shape{}, InvalidField("environment", "the keyspace has no environments; leave it out")
	}
	var names []string
	for _, e := range f.Environments {
		names = append(names, e.Name)
	}
	return Shape{}, InvalidField("environment", "the keyspace has the environments %s", strings.Join(names, ", "))
}
