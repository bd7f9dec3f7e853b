package eventstore

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/fastjson"
)

// headerPrivate is the header that holds an event's private facts; the body is public. It is a
// random salt and JSON, as `<32 hex characters>.{…}`. The body's attribute private is the
// SHA-256 of that text in hex, which binds the two: a proof over the body covers the header as
// well, and without the salt no guess at the facts can be tried.
const headerPrivate = "Keytrail-Private"

const (
	saltLength    = 2 * 16            // hex characters of 128 bits
	bindingLength = 2 * sha256.Size   // hex characters
	bindingMember = `,"private":"`    // the last member before the data
	bindingEnd    = bindingLength + 1 // with the closing quote
)

var (
	errPrivateMissing = errors.New("its private facts are missing: was the header " + headerPrivate + " removed?")
	errPrivateForeign = errors.New("the header " + headerPrivate + " is not the one that the body names: one of them was changed")
)

// sealPrivate is the header's value for p.
func sealPrivate(p domain.Private) (string, error) {
	facts, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	var salt [saltLength / 2]byte
	_, _ = rand.Read(salt[:]) // it never fails
	return hex.EncodeToString(salt[:]) + "." + string(facts), nil
}

// bindPrivate is the body's attribute private for a value of the header.
func bindPrivate(header string) string {
	sum := sha256.Sum256([]byte(header))
	return hex.EncodeToString(sum[:])
}

// openPrivate reads the private facts of an event whose body has the attributes before its
// data, after comparing them with the binding there. An event without either has none.
func openPrivate(header string, attributes []byte) (p domain.Private, binding string, err error) {
	var named []byte
	if start := len(attributes) - bindingEnd; start > 0 && bytes.HasSuffix(attributes[:start], []byte(bindingMember)) {
		named = attributes[start : start+bindingLength]
	}
	if header == "" && named == nil {
		return p, "", nil
	}
	if header == "" {
		return p, "", errPrivateMissing
	}
	if !binds(named, header) || len(header) <= saltLength || header[saltLength] != '.' {
		return p, "", errPrivateForeign
	}
	binding = string(named)
	facts := header[saltLength+1:]
	s := fastjson.NewScanner(facts)
	var digest string
	if s.Member(`{"digest":`, &digest) && s.Literal("}") && s.End() && p.Digest.UnmarshalText([]byte(digest)) == nil {
		return p, binding, nil
	}
	p, err = slowPrivate(facts)
	return p, binding, err
}

// binds reports whether binding is bindPrivate of the header, without an allocation: a replay
// asks for each key.
func binds(binding []byte, header string) bool {
	var text [2 * bindingLength]byte
	sum := sha256.Sum256(append(text[:0], header...))
	return string(hex.AppendEncode(text[:0], sum[:])) == string(binding)
}

// slowPrivate reads facts in another spelling than sealPrivate's. It is a function of its own
// because its p is allocated.
func slowPrivate(facts string) (p domain.Private, err error) {
	return p, json.Unmarshal([]byte(facts), &p)
}

// demandPrivate refuses an event that has private facts and came without, or the reverse.
func demandPrivate(e domain.Event, binding string) error {
	_, confidential := e.(domain.Confidential)
	switch {
	case confidential && binding == "":
		return errPrivateMissing
	case !confidential && binding != "":
		return errPrivateForeign
	}
	return nil
}
