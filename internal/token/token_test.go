package token_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/keytrail/keytrail/internal/token"
)

var (
	seed   = [32]byte{1}
	claims = token.Claims{Subject: "key_1", Org: "org_1", Keyspace: "default", Scope: "a:read", ID: "j", Secret: 5, IssuedAt: 1, Expiry: 2}
)

func issuer(t *testing.T, seed [32]byte) *token.Issuer {
	t.Helper()
	i, err := token.NewIssuer(seed, seed, "")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func sign(t *testing.T, i *token.Issuer, c token.Claims) string {
	t.Helper()
	text, err := i.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOthersCheckATokenWithTheKeySet does so as a service would: with the public set alone.
func TestOthersCheckATokenWithTheKeySet(t *testing.T) {
	i := issuer(t, seed)
	text := sign(t, i, claims)
	var set jose.JSONWebKeySet
	public := keySet(t, i)
	if err := json.Unmarshal(public, &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() || strings.Contains(string(public), `"d"`) {
		t.Fatalf("%s, %v", public, err)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0])
	if err != nil || !strings.Contains(string(payload), `"iss":"`+i.Name()+`"`) {
		t.Errorf("%s, %v", payload, err)
	}
	c, err := issuer(t, seed).Check(text) // of another process
	claims := claims
	claims.Issuer = i.Name()
	if err != nil || c != claims {
		t.Errorf("%+v, %v", c, err)
	}
}

func keySet(t *testing.T, i *token.Issuer, generations ...int) []byte {
	t.Helper()
	set, err := i.KeySet(generations)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// TestWhatIsNoTokenOfThisInstallation forges tokens in the ways that JWT libraries have let pass.
func TestWhatIsNoTokenOfThisInstallation(t *testing.T) {
	i := issuer(t, seed)
	good := strings.Split(sign(t, i, claims), ".")
	header, err := base64.RawURLEncoding.DecodeString(good[0])
	if err != nil {
		t.Fatal(err)
	}
	private := ed25519.NewKeyFromSeed(seed[:]) // a forger has not; it shows that the header alone is refused
	withHeader := func(h string) string {
		text := part(h) + "." + good[1]
		signature, err := private.Sign(rand.Reader, []byte(text), crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	if _, err := i.Check(withHeader(string(header))); err != nil {
		t.Fatal("its own header:", err)
	}
	change := func(from, to string) string {
		if !strings.Contains(string(header), from) {
			t.Fatalf("%s has no %s", header, from)
		}
		return withHeader(strings.Replace(string(header), from, to, 1))
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(keySet(t, i), &set); err != nil {
		t.Fatal(err)
	}
	stolen := part(strings.Replace(string(header), "EdDSA", "HS256", 1)) + "." + good[1]
	mac := hmac.New(sha256.New, private.Public().(ed25519.PublicKey))
	mac.Write([]byte(stolen))
	for name, text := range map[string]string{
		"no algorithm":                  part(strings.Replace(string(header), "EdDSA", "none", 1)) + "." + good[1] + ".",
		"an HMAC with the public key":   stolen + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"another algorithm's name":      change("EdDSA", "ES256"),
		"another type":                  change("keytrail+jwt", "JWT"),
		"no type":                       change(`,"typ":"keytrail+jwt"`, ""),
		"another key id":                change(`"kid":"`, `"kid":"../../`),
		"no key id":                     change(`"kid"`, `"kit"`),
		"a key of its own":              sign(t, issuer(t, [32]byte{2}), claims),
		"a key in the header":           change(`{`, `{"jwk":`+string(set.Keys[0])+`,"jku":"https://example.com","x":`) + "x",
		"an extension that is critical": change(`{`, `{"crit":["b64"],"b64":false,`),
		"other claims":                  good[0] + "." + part(`{"sub":"key_2"}`) + "." + good[2],
		"no signature":                  good[0] + "." + good[1] + ".",
		"another spelling of it":        strings.Join(good, ".")[:len(strings.Join(good, "."))-1] + otherSpelling(good[2]),
		"a line break in it":            good[0] + "." + good[1] + ".\n" + good[2],
		"a session's":                   session(t, i, 1),
		"more parts":                    strings.Join(append(good, "x"), "."),
		"a huge text":                   good[0] + "." + strings.Repeat("A", 1<<20) + "." + good[2],
		"a key":                         "kt_live_RElx6pT6CnXadJpwNzVUybfUeQ36PHT83McRkN",
		"nothing":                       "",
	} {
		if c, err := i.Check(text); err == nil || c != (token.Claims{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// otherSpelling is a last character of base64 that stands for the same bytes as that of text.
func otherSpelling(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, text[len(text)-1])+1])
}

var sessionClaims = token.SessionClaims{Subject: "user_1", ID: "ses_1", Org: "org_1", Email: "a@example.com", IssuedAt: 1, Expiry: 2}

func session(t *testing.T, i *token.Issuer, generation int) string {
	t.Helper()
	text, err := i.SignSession(generation, sessionClaims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestASessionsTokenIsGoodWhileItsGenerationIs checks tokens of two generations with the one, the other
// and both, as a process does and as a service with the public set.
func TestASessionsTokenIsGoodWhileItsGenerationIs(t *testing.T) {
	i, again := issuer(t, seed), issuer(t, seed)
	first, second := session(t, i, 1), session(t, i, 2)
	for _, c := range []struct {
		text        string
		generations []int
		want        int // 0: it is refused
	}{
		{first, []int{1}, 1}, {second, []int{2, 1}, 2}, {first, []int{2, 1}, 1}, {first, []int{2}, 0}, {second, []int{1}, 0}, {first, nil, 0},
		{sign(t, i, claims), []int{1, 2}, 0}, {session(t, issuer(t, [32]byte{2}), 1), []int{1}, 0}, {first[:len(first)-4] + "AAAA", []int{1}, 0}, {"", []int{1}, 0},
	} {
		got, generation, err := again.CheckSession(c.text, c.generations)
		if generation != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%v of %.20s…: generation %d, %v; want %d", c.generations, c.text, generation, err, c.want)
		}
		want := sessionClaims
		if want.Issuer = i.Name(); err == nil && got != want || err != nil && got != (token.SessionClaims{}) {
			t.Errorf("%+v", got)
		}
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(keySet(t, i, 2, 1), &set); err != nil || len(set.Keys) != 3 {
		t.Fatalf("%+v, %v", set, err)
	}
	signed, err := jose.ParseSignedCompact(second, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0]); err != nil {
		t.Error(err)
	}
}
