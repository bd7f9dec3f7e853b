package sso

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// How long a person has to log in at the provider, and a product to exchange a code.
const (
	StateTTL = 10 * time.Minute
	codeTTL  = time.Minute
)

// maxSealed bounds the text of a state or code that is opened.
const maxSealed = 4096

// A state is a log-in that is under way at the provider.
type state struct {
	Revision  uint64    `json:"r"` // of the organization's single sign-on
	ReturnURL int       `json:"u"` // its place in the definition
	Nonce     string    `json:"n"`
	Verifier  string    `json:"v"` // of PKCE, towards the provider
	Challenge string    `json:"c"` // of PKCE, of the product's page
	Expires   time.Time `json:"e"`
}

// An Assertion is what an organization's provider says of a person, as a code carries it.
type Assertion struct {
	Code     string          `json:"c"` // names the code; random
	Identity domain.Identity `json:"i"`
	Revision uint64          `json:"r"`           // of the organization's single sign-on
	Role     string          `json:"o"`           // "": none
	Email    string          `json:"m"`           // as NormalEmail; "": none that is one
	Verified bool            `json:"v,omitempty"` // the address is the person's, as the provider has seen to
	ObjectID string          `json:"d,omitempty"` // of the person in the directory, where the subject is another for each client (Entra ID)
	Name     string          `json:"n"`
	Expires  time.Time       `json:"e"`
}

// seal makes a text of v that opens only with the same use and binding.
func (p *Party) seal(use, binding string, v any) string {
	text, _ := json.Marshal(v) // our own structs
	return base64.RawURLEncoding.EncodeToString(p.key.Seal(text, additional(use, binding)))
}

// open reads what seal made into v.
func (p *Party) open(use, binding, text string, v any) bool {
	if len(text) > maxSealed {
		return false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	opened, err := p.key.Open(sealed, additional(use, binding))
	return err == nil && json.Unmarshal(opened, v) == nil
}

func additional(use, binding string) []byte { return []byte("keytrail sso " + use + " 1 " + binding) }

// random is 256 bits as text: of a nonce, a verifier, a browser.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it ends the program if it fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// isRandom reports whether random can have made a text, and so a challenge be a hash.
func isRandom(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == 32
}

// challengeOf is the code challenge of a verifier, by the method S256.
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
