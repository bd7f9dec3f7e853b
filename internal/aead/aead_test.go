package aead_test

import (
	"errors"
	"testing"

	"github.com/keytrail/keytrail/internal/aead"
)

func TestASealedTextOpensOnlyAsItWasSealed(t *testing.T) {
	k := aead.NewKey()
	sealed := k.Seal([]byte("text"), []byte("bound to"))
	if text, err := k.Open(sealed, []byte("bound to")); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if string(k.Seal([]byte("text"), []byte("bound to"))) == string(sealed) {
		t.Error("two texts have one nonce")
	}
	changed := append([]byte(nil), sealed...)
	changed[len(changed)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another key":             func() ([]byte, error) { return aead.NewKey().Open(sealed, []byte("bound to")) },
		"other additional data":   func() ([]byte, error) { return k.Open(sealed, []byte("bound")) },
		"a changed text":          func() ([]byte, error) { return k.Open(changed, []byte("bound to")) },
		"a text that was cut off": func() ([]byte, error) { return k.Open(sealed[:10], []byte("bound to")) },
		"nothing":                 func() ([]byte, error) { return k.Open(nil, []byte("bound to")) },
	} {
		if text, err := open(); !errors.Is(err, aead.ErrNotSealed) || text != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}
