package witness

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
)

// A testLog is a log of n leaves, with a key.
type testLog struct {
	origin string
	stored []tlog.Hash
	signer note.Signer
	vkey   string
}

func newLog(t testing.TB, origin, content string, n int) *testLog {
	t.Helper()
	secret, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{origin: origin, signer: signer, vkey: vkey}
	for i := range n {
		hashes, err := tlog.StoredHashes(int64(i), fmt.Appendf(nil, "%s %d", content, i), l)
		if err != nil {
			t.Fatal(err)
		}
		l.stored = append(l.stored, hashes...)
	}
	return l
}

func (l *testLog) ReadHashes(indexes []int64) (hashes []tlog.Hash, err error) {
	for _, i := range indexes {
		hashes = append(hashes, l.stored[i])
	}
	return hashes, nil
}

func (l *testLog) root(t testing.TB, size int) tlog.Hash {
	t.Helper()
	if size == 0 {
		return sha256.Sum256(nil)
	}
	root, err := tlog.TreeHash(int64(size), l)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func (l *testLog) checkpoint(t testing.TB, size int) string {
	t.Helper()
	root := l.root(t, size)
	text := log.Checkpoint{Origin: l.origin, Size: uint64(size), Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// request is one for a checkpoint of a size, with its proof.
func (l *testLog) request(t testing.TB, old, size int) string {
	t.Helper()
	var proof tlog.TreeProof
	if old > 0 && old < size {
		var err error
		if proof, err = tlog.ProveTree(int64(size), int64(old), l); err != nil {
			t.Fatal(err)
		}
	}
	return string(request([]byte(l.checkpoint(t, size)), int64(old), proof))
}

func newKeys(t testing.TB) Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := CreateKeys(path, "witness.example.com/1"); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	return keys
}

func newWitness(t testing.TB, keys Keys, dir string, logs ...*testLog) http.Handler {
	t.Helper()
	var vkeys []string
	for _, l := range logs {
		vkeys = append(vkeys, l.vkey)
	}
	w, err := New(keys, dir, vkeys)
	if err != nil {
		t.Fatal(err)
	}
	return w.Handler(slog.New(slog.DiscardHandler))
}

func post(h http.Handler, body string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/add-checkpoint", strings.NewReader(body)))
	return answer
}

// TestProtocol goes through what the specification says, in order, with one witness.
func TestProtocol(t *testing.T) {
	l := newLog(t, "keytrail/0a1b2c3d/events", "a", 50)
	forked, stranger, other := newLog(t, l.origin, "b", 50), newLog(t, l.origin, "a", 50), newLog(t, "other/events", "a", 50)
	forked.signer = l.signer
	keys := newKeys(t)
	h := newWitness(t, keys, t.TempDir(), l)
	for _, step := range []struct {
		name, body string
		status     int
		answer     string
	}{
		{"nothing", "", 400, ""},
		{"no old size", l.checkpoint(t, 10), 400, ""},
		{"a size in another spelling", strings.Replace(l.request(t, 0, 10), "old 0", "old 00", 1), 400, ""},
		{"a negative size", strings.Replace(l.request(t, 0, 10), "old 0", "old -1", 1), 400, ""},
		{"a size out of all bounds", strings.Replace(l.request(t, 0, 10), "old 0", "old 99999999999999999999", 1), 400, ""},
		{"no checkpoint", "old 0\n\n", 400, ""},
		{"too many lines of proof", "old 0\n" + strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 64) + "\n" + l.checkpoint(t, 10), 400, ""},
		{"a proof that is no hash", "old 0\nAAAA\n\n" + l.checkpoint(t, 10), 400, ""},
		{"an endless request", strings.Repeat("x", maxRequest+1), 400, ""},
		{"an unknown log", other.request(t, 0, 10), 404, ""},
		{"an unknown key", stranger.request(t, 0, 10), 403, ""},
		{"a false signature", strings.Replace(l.request(t, 0, 10), "\n10\n", "\n11\n", 1), 403, ""},
		{"beyond its end", l.request(t, 11, 10), 400, ""},
		{"an old size though there is none", l.request(t, 5, 10), 409, "0\n"},
		{"a proof though there is no old size", "old 0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" + l.checkpoint(t, 10), 422, ""},
		{"an empty log", l.request(t, 0, 0), 200, ""},
		{"the first", l.request(t, 0, 10), 200, ""},
		{"the same", l.request(t, 10, 10), 200, ""},
		{"the same size, another root", forked.request(t, 10, 10), 422, ""},
		{"with an older size", l.request(t, 7, 30), 409, "10\n"},
		{"with no size", l.request(t, 0, 30), 409, "10\n"},
		{"another history", forked.request(t, 10, 30), 422, ""},
		{"without its proof", "old 10\n\n" + l.checkpoint(t, 30), 422, ""},
		{"the next", l.request(t, 10, 30), 200, ""},
		{"one before", l.request(t, 10, 20), 409, "30\n"},
		{"one before, by its size", l.request(t, 30, 20), 400, ""},
	} {
		answer := post(h, step.body)
		if answer.Code != step.status || step.answer != "" && answer.Body.String() != step.answer {
			t.Errorf("%s: %d %q; want %d %q", step.name, answer.Code, answer.Body, step.status, step.answer)
		}
		if isConflict := answer.Code == 409; isConflict != (answer.Header().Get("Content-Type") == "text/x.tlog.size") {
			t.Errorf("%s: content type %q", step.name, answer.Header().Get("Content-Type"))
		}
	}
	if answer := post(h, l.request(t, 30, 31)); !cosignedBy(t, keys, l.checkpoint(t, 31), answer.Body.String()) {
		t.Errorf("%s", answer.Body)
	}
	if answer := get(h, "/"+originHash(l.origin)+"/checkpoint"); answer.Code != 200 || !strings.Contains(answer.Body.String(), "\n31\n") || strings.Count(answer.Body.String(), "— ") != 3 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if answer := get(h, "/"+originHash("other")+"/checkpoint"); answer.Code != 404 {
		t.Errorf("%d", answer.Code)
	}
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

// cosignedBy reports whether lines are signatures of all keys under a checkpoint.
func cosignedBy(t testing.TB, keys Keys, checkpoint, lines string) bool {
	t.Helper()
	var verifiers []note.Verifier
	for _, k := range keys.VerifierKeys {
		v, err := formats.NewVerifierForCosignatureV1(k)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open([]byte(checkpoint+lines), note.VerifierList(verifiers...))
	return err == nil && len(n.Sigs) == len(keys.VerifierKeys)
}

// TestAWitnessRemembers stops a witness and starts it again.
func TestAWitnessRemembers(t *testing.T) {
	l, keys, dir := newLog(t, "keytrail/0a1b2c3d/events", "a", 50), newKeys(t), t.TempDir()
	if answer := post(newWitness(t, keys, dir, l), l.request(t, 0, 20)); answer.Code != 200 {
		t.Fatal(answer.Code)
	}
	if answer := post(newWitness(t, keys, dir, l), l.request(t, 0, 10)); answer.Code != 409 || answer.Body.String() != "20\n" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	path := filepath.Join(dir, originHash(l.origin))
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(keys, dir, []string{l.vkey}); err == nil {
		t.Error("a witness starts on a state that it cannot read")
	}
}

// TestNothingIsSignedThatIsNotKept takes the directory away from under a witness.
func TestNothingIsSignedThatIsNotKept(t *testing.T) {
	l, dir := newLog(t, "keytrail/0a1b2c3d/events", "a", 50), filepath.Join(t.TempDir(), "state")
	h := newWitness(t, newKeys(t), dir, l) // there is no such directory
	if answer := post(h, l.request(t, 0, 20)); answer.Code != 500 || strings.Contains(answer.Body.String(), "—") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if answer := post(h, l.request(t, 0, 20)); answer.Code != 200 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

// TestOneHistoryIsSigned asks for two at the same time, often.
func TestOneHistoryIsSigned(t *testing.T) {
	a := newLog(t, "keytrail/0a1b2c3d/events", "a", 50)
	b := newLog(t, a.origin, "b", 50)
	b.signer = a.signer
	for range 20 {
		h := newWitness(t, newKeys(t), t.TempDir(), a)
		var wait sync.WaitGroup
		var mu sync.Mutex
		signed := 0
		for _, body := range []string{a.request(t, 0, 20), b.request(t, 0, 20)} {
			wait.Go(func() {
				if answer := post(h, body); answer.Code == 200 {
					mu.Lock()
					defer mu.Unlock()
					signed++
				}
			})
		}
		wait.Wait()
		if signed != 1 {
			t.Fatalf("%d histories were signed", signed)
		}
	}
}

// TestClient asks a witness, and servers that are none.
func TestClient(t *testing.T) {
	l, keys := newLog(t, "keytrail/0a1b2c3d/events", "a", 50), newKeys(t)
	h := newWitness(t, keys, t.TempDir(), l)
	var instead atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := instead.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	policy := ""
	for i, k := range keys.VerifierKeys {
		policy += fmt.Sprintf("witness w%d %s %s/\n", i, k, server.URL)
	}
	clients, err := ParseClients([]byte("log x\n" + policy + "quorum w0\n"))
	if err != nil || len(clients) != 1 {
		t.Fatal(clients, err)
	}
	ask := func(old, size int) ([]note.Signature, error) {
		c, err := audit.ParseCheckpoint([]byte(l.checkpoint(t, size)))
		if err != nil {
			t.Fatal(err)
		}
		var proof []tlog.Hash
		if old > 0 {
			if proof, err = tlog.ProveTree(int64(size), int64(old), l); err != nil {
				t.Fatal(err)
			}
		}
		return clients[0].ask(t.Context(), c, int64(old), proof)
	}
	if signatures, err := ask(0, 20); err != nil || len(signatures) != 2 {
		t.Errorf("%v, %v", signatures, err)
	}
	if signatures, err := ask(20, 30); err != nil || len(signatures) != 2 {
		t.Errorf("%v, %v", signatures, err)
	}
	if _, err := ask(20, 40); err == nil || err.Error() != (&conflict{30}).Error() {
		t.Errorf("%v", err)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"500":            func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"nothing":        func(w http.ResponseWriter, r *http.Request) {},
		"a foreign line": func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "— x AAAAAAAA\n") },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1", http.StatusTemporaryRedirect)
		},
		"409 without size": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(409) },
		"an endless answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("— x AAAAAAAA\n", 1<<20))
		},
		"a broken answer": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"an old signature": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, get(h, "/"+originHash(l.origin)+"/checkpoint").Body.String())
		},
	} {
		instead.Store(&answer)
		if signatures, err := ask(30, 40); err == nil {
			t.Errorf("%s: %v", name, signatures)
		}
	}
	for _, bad := range []string{"witness w " + keys.VerifierKeys[0], "witness w x http://x", "witness w " + keys.VerifierKeys[0] + " ftp://x"} {
		if _, err := ParseClients([]byte(bad)); err == nil {
			t.Errorf("%q names a witness", bad)
		}
	}
}
