package password

import (
	"errors"
	"strings"
	"testing"
)

func TestWhichPasswordsMayBeChosen(t *testing.T) {
	for text, want := range map[string]error{
		"":                           ErrTooShort,
		"elevenchars":                ErrTooShort,
		"éééééé-äöüß":                ErrTooShort, // 11 code points, 21 bytes
		"vier Wörter ohne Sinn":      nil,
		"tangent lamp orbit 7":       nil,
		"パスワードではない長い文":               nil,
		strings.Repeat("aBcD9", 205): ErrTooLong,
		strings.Repeat("x", 5000):    ErrTooLong,
		"with a bell\a in it":        ErrCharacters,
		"not utf-8 \xff at all":      ErrCharacters,
		"aaaaaaaaaaaaaaaa":           ErrCommon,
		"121212121212":               ErrCommon,
		"123456789012":               ErrCommon,
		"Password1234":               ErrCommon,
		"P@ssw0rd!P@ssw0rd!":         ErrCommon,
		"qwertyuiop123456":           ErrCommon,
		"1q2w3e4r5t6y":               ErrCommon,
		"CorrectHorseBatteryStaple":  ErrCommon,
		"Welcome2026!!":              ErrCommon,
		"ada@example.com":            ErrCommon,
		"Lovelace1815":               ErrCommon,
		"Ada.Lovelace!":              ErrCommon,
		"l0vel@ce-ex@mple":           ErrCommon,
		"lovelace tangent orbit":     nil, // there is enough beside it
	} {
		if err := Check(text, "ada@example.com", "Ada Lovelace"); !errors.Is(err, want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestTheLongestPasswordMayBeChosen(t *testing.T) {
	text := strings.Repeat("𝔞𝔟𝔠𝔡9-", 171)[:len(strings.Repeat("𝔞𝔟𝔠𝔡9-", 170))] + "wxyz"
	if err := Check(text); err != nil {
		t.Error(err)
	}
}

// vector is a test vector of the reference implementation of Argon2.
const vector = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestHashesOfOthersAreChecked(t *testing.T) {
	p := NewPool()
	for text, want := range map[string]bool{"password": true, "Password": false} {
		if got, err := p.Matches(t.Context(), Client{}, vector, text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if !NeedsRehash(vector) {
		t.Error("a hash with other parameters is taken for a current one")
	}
}

func TestAPasswordMatchesHoweverItIsTyped(t *testing.T) {
	p := NewPool()
	phc, err := p.Hash(t.Context(), Client{}, "caf\u00e9\u00a0crème brûlée")
	if err != nil || NeedsRehash(phc) || !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(phc, err)
	}
	for text, want := range map[string]bool{
		"cafe\u0301 crème brûlée":        true,
		"cafe crème brûlée":              false,
		"caf\u00e9 crème brûlée\a":       false,
		"":                               false,
		strings.Repeat("long", maxBytes): false,
	} {
		if got, err := p.Matches(t.Context(), Client{}, phc, text); got != want || err != nil {
			t.Errorf("%.40q: %v, %v", text, got, err)
		}
	}
	other, err := p.Hash(t.Context(), Client{}, "caf\u00e9\u00a0crème brûlée")
	if err != nil || other == phc {
		t.Error("two hashes have one salt", err)
	}
}

func TestNothingMatchesNoHash(t *testing.T) {
	if got, err := NewPool().Matches(t.Context(), Client{}, "", "a password that somebody guesses"); got || err != nil {
		t.Error(got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{vector, dummy.String(), "", "$argon2id$v=19$m=19456,t=2,p=1$$", "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "$argon2id$v=19$m=+19456,t=02,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parse(text)
		if err != nil {
			if strings.Contains(err.Error(), text) && text != "" && len(text) > 8 {
				t.Errorf("the error shows %q", text)
			}
			return
		}
		if h.String() != text {
			t.Errorf("%q is read as %q", text, h.String())
		}
		if h.memory > maxMemory || h.time < 1 || h.time > maxTime || h.threads < 1 || h.threads > maxThreads || len(h.salt) < 8 || len(h.sum) < 16 {
			t.Errorf("%q is beyond the bounds", text)
		}
	})
}
