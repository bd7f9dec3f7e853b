// Package token makes and checks the tokens of an installation: JWTs (RFC 7519), which anyone can
// check with the public keys in the JWK set (RFC 7517). There are derived tokens, which stand for a
// key for some minutes, and sessions, which stand for a user.
//
// There is one algorithm, EdDSA with Ed25519, and each kind has its own keys and its own type, so that
// none is taken for another. What a token says of itself chooses none of them: its header must be, byte
// for byte, one that is written here.
package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The media types of the tokens, without application/ (RFC 8725, section 3.11): a JWT made for something
// else is none of them.
const (
	derivedType = "keytrail+jwt"
	sessionType = "keytrail-session+jwt"
)

// MaxSize bounds a token, in bytes: one of the most scopes is refused when it is made, and a longer
// text is not read.
const MaxSize = 4096

// ErrNotValid is a text that is no token of this issuer, or was changed.
var ErrNotValid = errors.New("it is not a token of this installation")

// Looks reports whether a text can be a token: its header, a JSON object in base64url, begins like any.
func Looks(text string) bool { return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2 }

// A key signs and checks tokens of one type.
type key struct {
	id     string
	header string // of its tokens, as they begin
	signer jose.Signer
	public ed25519.PublicKey
}

func newKey(seed [32]byte, typ string) (*key, error) {
	private := ed25519.NewKeyFromSeed(seed[:])
	k := &key{public: private.Public().(ed25519.PublicKey)}
	thumb := sha256.Sum256(k.public)
	k.id = hex.EncodeToString(thumb[:8])
	var err error
	signing := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: k.id}}
	if k.signer, err = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType(jose.ContentType(typ))); err != nil {
		return nil, err
	}
	sample, err := k.sign(struct{}{})
	k.header = headerOf(sample)
	return k, err
}

func headerOf(text string) string {
	header, _, _ := strings.Cut(text, ".")
	return header
}

func (k *key) sign(claims any) (string, error) {
	return jwt.Signed(k.signer).Claims(claims).Serialize()
}

// check reads a token into claims, which it is to fill.
func (k *key) check(text string, claims any) error {
	if len(text) > MaxSize || !Looks(text) || headerOf(text) != k.header || !canonical(text) {
		return ErrNotValid
	}
	t, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || t.Claims(k.public, claims) != nil {
		return ErrNotValid
	}
	return nil
}

// canonical reports whether the parts of a token are spelled in the one way in which they are written.
// base64 leaves some bits of its last character unused: a token would have thousands of spellings.
func canonical(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		if _, err := strictBase64.DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return false
		}
	}
	return true
}

var strictBase64 = base64.RawURLEncoding.Strict()

// jwk is the public key.
func (k *key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: string(jose.EdDSA), Use: "sig"}
}

// An Issuer makes and checks the tokens of one installation. It is safe for concurrent use.
type Issuer struct {
	name     string
	derived  *key
	sessions sessionKeys
}

// NewIssuer is an issuer whose signing keys follow from two seeds, which are used for nothing else. Its
// name is the claim iss; "": one that follows from the key of derived tokens.
func NewIssuer(derived, sessions [32]byte, name string) (*Issuer, error) {
	k, err := newKey(derived, derivedType)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = "urn:keytrail:" + k.id
	}
	return &Issuer{name: name, derived: k, sessions: sessionKeys{master: sessions, known: map[int]*key{}}}, nil
}

// Name is the claim iss of its tokens.
func (i *Issuer) Name() string { return i.name }

// KeySet is the JWK set with which others check its tokens: those of sessions that were signed with the
// keys of some generations.
func (i *Issuer) KeySet(generations []int) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.derived.jwk()}}
	for _, g := range generations {
		k, err := i.sessions.of(g)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, k.jwk())
	}
	return json.Marshal(set)
}
