package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/eventstore"
)

// behind checks that an answer is a refusal because of the read model, and gives the
// position that it names.
func (s *service) behind(status int, h http.Header, text string) string {
	s.t.Helper()
	if status != 503 || !strings.Contains(text, `"read_model_behind"`) || h.Get("Retry-After") == "" || strings.Contains(text, `"secret"`) {
		s.t.Errorf("%d %v %s", status, h, text)
	}
	return h.Get("Keytrail-Position")
}

func (s *service) end() eventstore.Position {
	s.t.Helper()
	end, err := s.ledger.End(s.t.Context(), eventstore.Events)
	if err != nil {
		s.t.Fatal(err)
	}
	return end
}

// What shuts a door is acknowledged when it is shut here, and not before.
func TestWhatShutsADoorIsAcknowledgedWhenItIsShut(t *testing.T) {
	api.SetWaits(t, 50*time.Millisecond)
	s := start(t)
	org := s.org("acme")
	for name, c := range map[string]struct{ method, path, body string }{
		"revoke":     {"POST", "/v1/keys/%s/revoke", ""},
		"disable":    {"POST", "/v1/keys/%s/disable", ""},
		"scopes":     {"PATCH", "/v1/keys/%s", `{"scopes":[]}`},
		"networks":   {"PATCH", "/v1/keys/%s", `{"allowed_cidrs":["192.0.2.0/24"]}`},
		"rate limit": {"PATCH", "/v1/keys/%s", `{"rate_limits":[{"limit":1,"window":"1h"}]}`},
		"bulk":       {"POST", "/v1/keys/revoke", `{"ids":["%s"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"n","scopes":["a:read"]}`)
			n := s.laggingNode()
			send := func() (int, http.Header, string) {
				return n.do(s.root, c.method, strings.Replace(c.path, "%s", id, 1), strings.Replace(c.body, "%s", id, 1))
			}
			for range 2 { // repeated, it changes nothing more, and is still not in force
				if at := n.behind(send()); at != fmt.Sprint(n.end()) {
					t.Errorf("the refusal names %s, the write is at %d", at, n.end())
				}
			}
			n.goOn()
			n.caughtUp()
			if status, _, text := send(); status != 200 {
				t.Errorf("when it has caught up: %d %s", status, text)
			}
		})
	}
}

// A rotation without overlap is refused before anything is written if the read model is
// behind, and never answered with a secret while the old one is good.
func TestRotationIsAcknowledgedWhenTheOldSecretEnded(t *testing.T) {
	api.SetWaits(t, 50*time.Millisecond)
	s := start(t)
	org := s.org("acme")
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	n := s.laggingNode()
	rotate := "/v1/keys/" + id + "/rotate"

	before := n.end()
	at := n.behind(n.do(s.root, "POST", rotate, ""))
	if at != fmt.Sprint(before+1) || n.end() != before+1 {
		t.Errorf("the refusal names %q, the rotation is at %d", at, n.end())
	}
	if at := n.behind(n.do(s.root, "POST", rotate, "")); at != "" || n.end() != before+1 {
		t.Errorf("a node that is behind rotates, to %q", at)
	}
	if n.verified(secret) != "VALID" {
		t.Error("this test proves nothing: the old secret is refused")
	}
	n.goOn()
	n.caughtUp()
	if status, _, text := n.do(s.root, "POST", rotate, ""); status != 200 || !strings.Contains(text, `"secret"`) {
		t.Errorf("when it has caught up: %d %s", status, text)
	}
	if got := n.verified(secret); got == "VALID" {
		t.Error("the old secret is good after the rotation")
	}
}

// With after, a verification on another node sees the write that was answered with that
// position, or is refused.
func TestVerificationWaitsForAPosition(t *testing.T) {
	api.SetWaits(t, 50*time.Millisecond)
	s := start(t)
	org := s.org("acme")
	n := s.laggingNode()
	_, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	after := fmt.Sprint(s.end())
	body := `{"key":"` + secret + `"}`
	asks := map[string]func(after string) (int, http.Header, string){
		"verify": func(after string) (int, http.Header, string) {
			return n.do(s.root, "POST", "/v1/verify?after="+after, body)
		},
		"authorize, query": func(after string) (int, http.Header, string) {
			return n.do(secret, "GET", "/v1/authorize/default?after="+after, "")
		},
		"authorize, header": func(after string) (int, http.Header, string) {
			return n.do(secret, "GET", "/v1/authorize/default/x?after=0", "", "X-Keytrail-After", after)
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			if at := n.behind(ask(after)); at != after {
				t.Errorf("the refusal names %q", at)
			}
			if status, _, text := ask("x"); status != 400 {
				t.Errorf("after=x: %d %s", status, text)
			}
		})
	}
	for _, query := range []string{"after=1&after=2", "after=%zz", "After=1", "after=9999999"} {
		if status, _, text := n.do(s.root, "POST", "/v1/verify?"+query, body); status != 400 {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	n.goOn()
	for name, ask := range asks {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := n.store.WaitFor(ctx, s.end()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if status, h, text := ask(after); status != 200 || h.Get("X-Keytrail-Key-Id") == "" && !strings.Contains(text, `"VALID"`) {
			t.Errorf("%s, when it has caught up: %d %s", name, status, text)
		}
	}
}

// A request whose body comes slowly is refused if its caller's key ends meanwhile.
func TestACallerMayNotOutliveItsKey(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	for name, c := range map[string]struct{ path, kind, body string }{
		"create": {"/v1/keys", "json", `{"name":"late"}`},
		"import": {"/v1/keys/import", "x-ndjson", `{"name":"late","digest":"` + strings.Repeat("ab", 32) + `"}`},
		"verify": {"/v1/verify", "json", `{"key":"x"}`},
	} {
		t.Run(name, func(t *testing.T) {
			id, key := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"leaked","scopes":["keys:write","keys:verify"]}`)
			c1 := s.dial("127.0.0.1")
			if err := c1.send("POST %s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nContent-Type: application/%s\nContent-Length: %d\nExpect: 100-continue\n\n", c.path, key, c.kind, len(c.body)); err != nil {
				t.Fatal(err)
			}
			if got := c1.status(t); got != "100 Continue" {
				t.Fatal(got)
			}
			s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
			if err := c1.send("%s", c.body); err != nil {
				t.Fatal(err)
			}
			if got := c1.status(t); got != "401 Unauthorized" {
				t.Errorf("after the revocation: %s", got)
			}
		})
	}
}
