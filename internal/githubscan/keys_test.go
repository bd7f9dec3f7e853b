package githubscan

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func newKey(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k *ecdsa.PrivateKey, body string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	sig, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func list(t *testing.T, keys map[string]*ecdsa.PrivateKey) []byte {
	t.Helper()
	var all []map[string]any
	for name, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, map[string]any{"key_identifier": name, "key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "is_current": true})
	}
	text, err := json.Marshal(map[string]any{"public_keys": all})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestABodyIsThatOfAPublishedKey(t *testing.T) {
	one, two, other := newKey(t, elliptic.P256()), newKey(t, elliptic.P256()), newKey(t, elliptic.P384())
	var asked atomic.Int64
	var now atomic.Pointer[[]byte]
	publish := func(keys map[string]*ecdsa.PrivateKey) { text := list(t, keys); now.Store(&text) }
	publish(map[string]*ecdsa.PrivateKey{"one": one, "other": other})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if text := now.Load(); text != nil {
			_, _ = w.Write(*text)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer s.Close()
	k, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	k.client = s.Client()
	const body = `[{"token":"x"}]`
	for name, c := range map[string]struct {
		key, signature, body string
		good                 bool
	}{
		"good":                   {"one", sign(t, one, body), body, true},
		"another body":           {"one", sign(t, one, body), body + " ", false},
		"another key":            {"one", sign(t, two, body), body, false},
		"a key that there isn't": {"two", sign(t, two, body), body, false},
		"a key of another curve": {"other", sign(t, other, body), body, false},
		"no signature":           {"one", "", body, false},
		"no base64":              {"one", "%%%", body, false},
		"no key":                 {"", sign(t, one, body), body, false},
	} {
		if err := k.Check(t.Context(), c.key, c.signature, []byte(c.body)); (err == nil) != c.good || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times: anyone could have them fetched", n)
	}
	before := fetchEvery
	fetchEvery = 0
	t.Cleanup(func() { fetchEvery = before })
	publish(map[string]*ecdsa.PrivateKey{"two": two})
	if err := k.Check(t.Context(), "two", sign(t, two, body), []byte(body)); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if err := k.Check(t.Context(), "one", sign(t, one, body), []byte(body)); !errors.Is(err, ErrSignature) {
		t.Errorf("a key that was taken away: %v", err)
	}
	now.Store(nil)
	k.fetched = time.Now().Add(-2 * keptFor)
	if err := k.Check(t.Context(), "two", sign(t, two, body), []byte(body)); err != nil {
		t.Errorf("a known key while the keys cannot be fetched: %v", err)
	}
	if err := k.Check(t.Context(), "one", sign(t, one, body), []byte(body)); err == nil || errors.Is(err, ErrSignature) {
		t.Errorf("another one: %v", err)
	}
	if _, err := New("http://example.com"); err == nil {
		t.Error("keys in the clear")
	}
	file, err := New(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Check(t.Context(), "one", "AA==", nil); err == nil || errors.Is(err, ErrSignature) {
		t.Errorf("a file that there is not: %v", err)
	}
}

func TestWhoLeavesKeepsTheKeysFromNobody(t *testing.T) {
	one := newKey(t, elliptic.P256())
	text := list(t, map[string]*ecdsa.PrivateKey{"one": one})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer s.Close()
	k, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	k.client = s.Client()
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := k.Check(gone, "none", "AA==", nil); !errors.Is(err, ErrSignature) {
		t.Errorf("a key that there is not, of who is gone: %v", err)
	}
	const body = `[]`
	if err := k.Check(t.Context(), "one", sign(t, one, body), []byte(body)); err != nil {
		t.Errorf("a known key right after: %v", err)
	}
}

func TestAReportIsNotRefusedForKeysThatCannotBeRead(t *testing.T) {
	k, err := New(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"at once", "before the next try"} {
		if err := k.Check(t.Context(), "one", "AA==", nil); err == nil || errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", when, err)
		}
	}
}
