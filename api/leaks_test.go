package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/internal/githubscan"
)

// github is a signer in the place of GitHub's secret scanning.
type github struct {
	*ecdsa.PrivateKey
	keys *githubscan.Keys
}

func newGitHub(t *testing.T) github {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"public_keys": []any{map[string]any{"key_identifier": "k1", "is_current": true,
		"key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := githubscan.New(file)
	if err != nil {
		t.Fatal(err)
	}
	return github{k, keys}
}

func (g github) sign(t *testing.T, body string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	sig, err := ecdsa.SignASN1(rand.Reader, g.PrivateKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func TestGitHubIsToldWhatItFoundAndNoOneElse(t *testing.T) {
	g := newGitHub(t)
	s := startWith(t, nil, func(o *api.Options) { o.GitHubKeys = g.keys })
	s.must(s.root, "POST", "/v1/keyspaces", `{"name":"pingd","revoke_leaked":true,"format":{"prefix":"pingd-","alphabet":"hex","length":32,"shown":4}}`)
	id, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","keyspace":"pingd","name":"bot"}`)
	body := fmt.Sprintf(`[{"token":%q,"type":"keytrail_pingd","url":"https://github.com/a/b","source":"commit","new":1},{"token":"pingd-%s","type":"keytrail_pingd","url":"\u202e","source":""}]`, secret, strings.Repeat("0", 32))
	for name, signature := range map[string]string{"no signature": "", "that of another body": g.sign(t, body+" ")} {
		if status, _, answer := s.do("", "POST", "/v1/leaks/github", body, "Github-Public-Key-Identifier", "k1", "Github-Public-Key-Signature", signature); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if got := s.must(s.root, "GET", "/v1/keys/"+id, "")["status"]; got != "active" {
		t.Errorf("after reports that are not GitHub's: %v", got)
	}
	for range 2 { // GitHub repeats a report whose answer was lost
		status, _, answer := s.do("", "POST", "/v1/leaks/github", body, "Github-Public-Key-Identifier", "k1", "Github-Public-Key-Signature", g.sign(t, body))
		var labels []map[string]string
		if err := json.Unmarshal([]byte(answer), &labels); status != http.StatusOK || err != nil {
			t.Fatalf("%d %s", status, answer)
		}
		want := []map[string]string{{"token_raw": secret, "token_type": "keytrail_pingd", "label": "true_positive"}, {"token_raw": "pingd-" + strings.Repeat("0", 32), "token_type": "keytrail_pingd", "label": "false_positive"}}
		if !reflect.DeepEqual(labels, want) {
			t.Errorf("%v", labels)
		}
	}
	if k := s.must(s.root, "GET", "/v1/keys/"+id, ""); k["status"] != "revoked" || k["revocation_reason"] != "key_compromise" {
		t.Errorf("%v", k)
	}
	if leaks := s.leaks(id); len(leaks) != 1 || leaks[0]["source"] != "github commit" || leaks[0]["url"] != "https://github.com/a/b" {
		t.Errorf("%v", leaks)
	}
}

// leaks are the data of the key's events key.leaked.
func (s *service) leaks(id string) (all []map[string]any) {
	s.t.Helper()
	for _, e := range s.must(s.root, "GET", "/v1/events?key_id="+id+"&type=key.leaked", "")["items"].([]any) {
		all = append(all, e.(map[string]any)["data"].(map[string]any))
	}
	return all
}

// TestALeakThatIsReportedAgainAndAgain bounds what the holders of one secret can write.
func TestALeakThatIsReportedAgainAndAgain(t *testing.T) {
	s := start(t)
	id, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"plain"}`)
	report := func(n int) {
		t.Helper()
		if status, header, body := s.do("", "POST", "/v1/leaks", fmt.Sprintf(`{"secret":%q,"url":"https://example.com/%d"}`, secret, n)); status != http.StatusAccepted || body != "" || header.Get("Content-Length") != "0" {
			t.Fatalf("%d %v %s", status, header, body)
		}
	}
	report(0)
	report(0)
	if n := len(s.leaks(id)); n != 1 {
		t.Errorf("one report is %d events", n)
	}
	for n := range 30 {
		report(n)
	}
	if n := len(s.leaks(id)); n != 20 {
		t.Errorf("%d events", n)
	}
	// A secret that was rotated away is no reason to end the key, and cannot end it by itself.
	next := s.must(s.root, "POST", "/v1/keys/"+id+"/rotate", "")["secret"].(string)
	s.do(secret, "POST", "/v1/keys/self/revoke", "")
	if got := s.must(s.root, "GET", "/v1/keys/"+id, "")["status"]; got != "active" {
		t.Errorf("an old secret ended the key: %v", got)
	}
	s.do(next, "POST", "/v1/keys/self/revoke", "")
	if got := s.must(s.root, "GET", "/v1/keys/"+id, "")["status"]; got != "revoked" {
		t.Errorf("the secret did not end its key: %v", got)
	}
}

func TestTheRootKeyIsNeverEndedByAReport(t *testing.T) {
	s := start(t)
	_, other := s.create(s.root, `{"keyspace":"keytrail","name":"weak","scopes":["keys:read"]}`)
	for _, secret := range []string{s.root, other} {
		if status, _, body := s.do("", "POST", "/v1/leaks", fmt.Sprintf(`{"secret":%q,"source":"test"}`, secret)); status != http.StatusAccepted {
			t.Errorf("%d %s", status, body)
		}
	}
	me := s.must(s.root, "GET", "/v1/principal", "")["id"].(string)
	if leaks := s.leaks(me); len(leaks) != 1 || leaks[0]["source"] != "test" {
		t.Errorf("the root key's: %v", leaks)
	}
	if status, _, _ := s.do(other, "GET", "/v1/principal", ""); status != http.StatusUnauthorized {
		t.Errorf("another management key that leaked: %d", status)
	}
	if _, _, text := s.do("", "GET", "/metrics", ""); !strings.Contains(text, `keytrail_leaked_secrets_total{of="root_key"} 1`) {
		t.Error("no alarm in the metrics")
	}
}
