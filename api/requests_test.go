package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
	"github.com/keytrail/keytrail/verify"
)

// node is another process on the ledger of s, which remembers none of the requests that s
// carried out, with a clock of its own.
func (s *service) node(store *projections.Store, now func() time.Time) *service {
	s.t.Helper()
	n := *s
	n.store = store
	n.commands = commands.New(s.ledger, commands.Options{Index: store, Now: now})
	v := verify.New(store, s.ledger, verify.Options{Now: now})
	server := httptest.NewServer(api.New(api.Options{Commands: n.commands, Store: store, Ledger: s.ledger, Verifier: v, Now: now, Version: "test"}))
	n.url = server.URL
	s.t.Cleanup(func() {
		server.Close()
		if err := v.Close(context.Background()); err != nil {
			s.t.Error(err)
		}
	})
	return &n
}

// caughtUp waits until the read model has every event.
func (s *service) caughtUp() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	end, err := s.ledger.End(ctx, eventstore.Events)
	if err == nil {
		err = s.store.WaitFor(ctx, end)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestNoTwoKeysShareAnIDAndNoTwoRequestsAnIdempotencyKey sends random requests of several
// principals and organizations under few Idempotency-Keys, through two nodes.
func TestNoTwoKeysShareAnIDAndNoTwoRequestsAnIdempotencyKey(t *testing.T) {
	s := start(t)
	nodes := []*service{s, s.node(s.store, time.Now)}
	orgs := []string{s.org("acme"), s.org("globex"), s.org("initech")}
	_, second := s.create(s.root, `{"name":"second","keyspace":"keytrail","scopes":["*"]}`)
	_, tenant := s.create(s.root, `{"org_id":"`+orgs[0]+`","name":"admin","keyspace":"keytrail","scopes":["*"]}`)
	target, _ := s.create(s.root, `{"org_id":"`+orgs[0]+`","name":"target"}`)
	other, _ := s.create(s.root, `{"org_id":"`+orgs[0]+`","name":"other"}`)
	principals := []string{s.root, second, tenant}
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		carriedOut := map[string]string{} // who and Idempotency-Key → request
		answers := map[string]string{}    // who and Idempotency-Key → id that was answered
		made := map[string]string{}       // id → who and Idempotency-Key that made it
		for range rapid.IntRange(2, 12).Draw(t, "requests") {
			node := nodes[rapid.IntRange(0, 1).Draw(t, "node")]
			who := rapid.IntRange(0, 2).Draw(t, "who")
			again := fmt.Sprint(runs, rapid.IntRange(0, 1).Draw(t, "Idempotency-Key"))
			org := rapid.SampledFrom(orgs).Draw(t, "organization")
			id := rapid.SampledFrom([]string{target, other}).Draw(t, "key")
			// Each has something to change when it first comes.
			r := rapid.SampledFrom([][3]string{{"POST", "/v1/organizations", `{"name":"new"}`}, {"POST", "/v1/keys", `{"org_id":"` + org + `","name":"ci"}`},
				{"POST", "/v1/keys/" + id + "/rotate", `{}`}, {"PATCH", "/v1/keys/" + id, fmt.Sprintf(`{"owner":"%s of %d"}`, again, who)}}).Draw(t, "request")
			status, _, text := node.do(principals[who], r[0], r[1], r[2], "Idempotency-Key", again)
			by, request := fmt.Sprint(who, " ", again), fmt.Sprint(r)
			earlier, repeated := carriedOut[by]
			switch {
			case status == 403 || status == 404:
				if who != 2 {
					t.Fatalf("%s: %d %s", request, status, text) // only the tenant cannot reach all
				}
				continue
			case repeated && earlier != request:
				if status != 422 {
					t.Fatalf("%s after %s under one Idempotency-Key: %d %s", request, earlier, status, text)
				}
				continue
			case status >= 300:
				t.Fatalf("%s: %d %s", request, status, text)
			}
			answered := answeredID(t, text)
			if repeated && answers[by] != answered {
				t.Fatalf("%s is answered %s, then %s", request, answers[by], answered)
			}
			if maker, taken := made[answered]; status == 201 && taken && maker != by {
				t.Fatalf("%s and %s made %s", maker, by, answered)
			}
			carriedOut[by], answers[by] = request, answered
			if status == 201 {
				made[answered] = by
			}
			node.caughtUp() // the other node knows the request from the read model alone
		}
	})
}

func answeredID(t *rapid.T, text string) string {
	var a struct {
		ID  string
		Key struct{ ID string }
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	return a.ID + a.Key.ID
}

func TestOneIdempotencyKeyForTwoOrganizationsIsRefused(t *testing.T) {
	s := start(t)
	acme, globex := s.org("acme"), s.org("globex")
	body := func(org string) string { return `{"org_id":"` + org + `","name":"ci"}` }
	s.must(s.root, "POST", "/v1/keys", body(acme), "Idempotency-Key", "once")
	for name, c := range map[string][3]string{
		"another organization": {"POST", "/v1/keys", body(globex)},
		"another route":        {"POST", "/v1/organizations", `{"name":"initech"}`},
		"a bulk":               {"POST", "/v1/keys/revoke", `{"filter":{"org_id":"` + acme + `","name":"c"}}`},
	} {
		if status, _, text := s.do(s.root, c[0], c[1], c[2], "Idempotency-Key", "once"); status != 422 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	// What another principal calls the same is another command.
	_, second := s.create(s.root, `{"name":"second","keyspace":"keytrail","scopes":["*"]}`)
	s.must(second, "POST", "/v1/keys", body(globex), "Idempotency-Key", "once")
	if n := len(s.must(s.root, "GET", "/v1/keys?org_id="+acme, "")["items"].([]any)) + len(s.must(s.root, "GET", "/v1/keys?org_id="+globex, "")["items"].([]any)); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

// A change that is meant for another revision is another request.
func TestAnotherIfMatchIsAnotherRequest(t *testing.T) {
	s := start(t)
	id, _ := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)
	_, header, _ := s.do(s.root, "GET", "/v1/keys/"+id, "")
	for _, c := range []struct {
		ifMatch string
		status  int
	}{{header.Get("ETag"), 200}, {header.Get("ETag"), 200}, {"W/" + header.Get("ETag"), 200}, {`"999999"`, 422}, {"*", 422}} {
		if status, _, text := s.do(s.root, "PATCH", "/v1/keys/"+id, `{"owner":"o"}`, "Idempotency-Key", "once", "If-Match", c.ifMatch); status != c.status {
			t.Errorf("If-Match %s: %d %s", c.ifMatch, status, text)
		}
	}
}

// TestARequestWithNothingToChangeIsRemembered repeats one after somebody else changed the key.
func TestARequestWithNothingToChangeIsRemembered(t *testing.T) {
	s := start(t)
	id, _ := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"ci"}`)
	path := "/v1/keys/" + id
	s.must(s.root, "POST", path+"/enable", "", "Idempotency-Key", "enable")
	s.must(s.root, "POST", path+"/disable", "")
	if k := s.must(s.root, "POST", path+"/enable", "", "Idempotency-Key", "enable"); k["status"] != "disabled" {
		t.Errorf("the repeat of a request with nothing to change enabled the key: %v", k)
	}
	if status, _, text := s.do(s.root, "POST", path+"/revoke", "", "Idempotency-Key", "enable"); status != 422 {
		t.Errorf("another request: %d %s", status, text)
	}
	// A refused request was not carried out: mended, it may come again.
	if status, _, text := s.do(s.root, "PATCH", path, `{"expires_at":"2001-01-01T00:00:00Z"}`, "Idempotency-Key", "mended"); status != 400 {
		t.Errorf("an expiry in the past: %d %s", status, text)
	}
	s.must(s.root, "PATCH", path, `{"owner":"o"}`, "Idempotency-Key", "mended")
}

func TestABulkIsRepeatedWithItsCounts(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	var ids []string
	for i := range 3 {
		id, _ := s.create(s.root, fmt.Sprintf(`{"org_id":%q,"name":"n%d"}`, org, i))
		ids = append(ids, id)
	}
	s.must(s.root, "POST", "/v1/keys/"+ids[0]+"/revoke", "")
	body, _ := json.Marshal(map[string]any{"ids": ids})
	for range 2 {
		a := s.must(s.root, "POST", "/v1/keys/revoke", string(body), "Idempotency-Key", "bulk")
		if a["revoked"] != 2.0 || a["already_revoked"] != 1.0 || len(a["failed"].([]any)) != 0 {
			t.Errorf("%v", a)
		}
	}
}

// A body that cannot be read is the client's fault, whatever route it is for.
func TestABodyThatCannotBeReadIsRefused(t *testing.T) {
	s := start(t)
	for path, kind := range map[string]string{"/v1/keys": "json", "/v1/keys/import": "x-ndjson", "/v1/verify": "json"} {
		c := s.dial("127.0.0.1")
		if err := c.send("POST %s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nContent-Type: application/%s\nTransfer-Encoding: chunked\n\nno length\n", path, s.root, kind); err != nil {
			t.Fatal(err)
		}
		if got := c.status(t); got != "400 Bad Request" {
			t.Errorf("%s: %s", path, got)
		}
	}
}
