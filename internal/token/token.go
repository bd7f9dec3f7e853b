// Package token makes and checks derived tokens: JWTs (RFC 7519) that stand for a key for some
// minutes, and that a service can check by itself with the public key in the JWK set (RFC 7517).
//
// There is one algorithm, EdDSA with Ed25519, one key and one type. What a token says of itself
// chooses none of them.
package token

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// typ is the media type of these tokens, without application/ (RFC 8725, section 3.11): a JWT made
// for something else is none of them.
const typ = "keytrail+jwt"

// MaxSize bounds a token, in bytes: one of the most scopes is refused when it is made, and a longer
// text is not read.
const MaxSize = 4096

// ErrNotValid is a text that is no token of this issuer, or was changed.
var ErrNotValid = errors.New("it is not a token of this installation")

// Claims are what a token says. Times are seconds since the Unix epoch.
type Claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"` // the key's id
	Audience string `json:"aud,omitempty"`
	Org      string `json:"org"`
	Keyspace string `json:"keyspace"`
	Owner    string `json:"owner,omitempty"`
	Scope    string `json:"scope"` // separated by spaces
	ID       string `json:"jti"`
	Secret   int64  `json:"sec"` // when the secret was made that it was derived with, in milliseconds
	IssuedAt int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// An Issuer makes and checks the tokens of one installation. It is safe for concurrent use.
type Issuer struct {
	name   string
	kid    string
	signer jose.Signer
	public ed25519.PublicKey
	set    []byte
}

// NewIssuer is an issuer whose signing key follows from seed. Its name is the claim iss; "": one that
// follows from the key.
func NewIssuer(seed [32]byte, name string) (*Issuer, error) {
	private := ed25519.NewKeyFromSeed(seed[:])
	public := private.Public().(ed25519.PublicKey)
	thumb := sha256.Sum256(public)
	i := &Issuer{name: name, kid: hex.EncodeToString(thumb[:8]), public: public}
	if i.name == "" {
		i.name = "urn:keytrail:" + i.kid
	}
	var err error
	key := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: i.kid}}
	if i.signer, err = jose.NewSigner(key, (&jose.SignerOptions{}).WithType(typ)); err != nil {
		return nil, err
	}
	i.set, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: i.kid, Algorithm: string(jose.EdDSA), Use: "sig"}}})
	return i, err
}

// Name is the claim iss of its tokens.
func (i *Issuer) Name() string { return i.name }

// KeySet is the JWK set with which others check its tokens.
func (i *Issuer) KeySet() []byte { return i.set }

// Sign makes a token.
func (i *Issuer) Sign(c Claims) (string, error) {
	c.Issuer = i.name
	return jwt.Signed(i.signer).Claims(c).Serialize()
}

// Looks reports whether a text can be a token: its header, a JSON object in base64url, begins like any.
func Looks(text string) bool { return strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2 }

// Check reads a token that this issuer signed, whatever its time.
func (i *Issuer) Check(text string) (c Claims, err error) {
	if len(text) > MaxSize || !Looks(text) {
		return c, ErrNotValid
	}
	t, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(t.Headers) != 1 {
		return c, ErrNotValid
	}
	if h := t.Headers[0]; h.KeyID != i.kid || h.ExtraHeaders[jose.HeaderType] != typ {
		return c, ErrNotValid
	}
	if err := t.Claims(i.public, &c); err != nil || c.Expiry <= 0 {
		return Claims{}, ErrNotValid
	}
	return c, nil
}
