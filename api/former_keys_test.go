package api_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// listedKeys are all keys of a question, each as JSON, without what is not told of a past moment.
func (s *service) listedKeys(key, query string) (all []string) {
	s.t.Helper()
	for cursor := ""; ; {
		page := s.must(key, "GET", "/v1/keys?limit=7&"+query+cursor, "")
		for _, item := range page["items"].([]any) {
			k := item.(map[string]any)
			for _, name := range []string{"last_used_at", "rotate_after", "rotation_due"} {
				if _, told := k[name]; told == strings.Contains(query, "at=") {
					s.t.Errorf("?%s: %s is told: %v", query, name, told)
				}
				delete(k, name)
			}
			text, _ := json.Marshal(k)
			all = append(all, string(text))
		}
		if page["next_cursor"] == nil {
			return all
		}
		cursor = "&cursor=" + page["next_cursor"].(string)
	}
}

// TestAPastMomentIsListedAsItWas carries out random commands, some of which clock makes expire
// what they are about, records listings with the position that the command was answered with, and
// later asks for each of these positions.
func TestAPastMomentIsListedAsItWas(t *testing.T) {
	var c clock
	first := start(t)
	s := first.node(first.store, c.now)
	orgs := []string{s.org("acme"), s.org("globex")}
	var auditors []string
	for _, org := range orgs {
		_, secret := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"auditor","scopes":["keys:read","audit:read"]}`)
		auditors = append(auditors, secret)
	}
	type recorded struct {
		at         string
		key, query string
		keys       []string
	}
	var all []recorded
	var ids []string
	random := rand.New(rand.NewPCG(7, 7))
	for range 60 {
		var header string
		if len(ids) < 8 || random.IntN(5) == 0 {
			body := fmt.Sprintf(`{"org_id":%q,"name":"%c%d","owner":"o%d","scopes":["r%d:read"],"ttl":"%dm"}`, orgs[random.IntN(2)], 'a'+random.IntN(3), random.IntN(100), random.IntN(3), random.IntN(3), 30+random.IntN(3000))
			status, h, text := s.do(s.root, "POST", "/v1/keys", body)
			var a struct {
				Key struct{ ID string } `json:"key"`
			}
			if err := json.Unmarshal([]byte(text), &a); err != nil || status != 201 {
				t.Fatal(status, text)
			}
			ids, header = append(ids, a.Key.ID), h.Get("Keytrail-Position")
		} else {
			do := []string{"/revoke ", "/disable ", "/enable ", "/rotate ", ` {"name":"b7"}`, ` {"scopes":["r1:read"],"metadata":{"a":"b"}}`, ` {"expires_at":null}`, ` {"owner":"o1"}`}[random.IntN(8)]
			path, body, _ := strings.Cut("/v1/keys/"+ids[random.IntN(len(ids))]+do, " ")
			method := "POST"
			if body != "" {
				method = "PATCH"
			}
			status, h, _ := s.do(s.root, method, path, body)
			if header = h.Get("Keytrail-Position"); status != 200 { // it is revoked, or has expired
				c.jump(time.Duration(c.ahead.Load()) + time.Minute)
				continue
			}
		}
		if header != fmt.Sprint(s.store.Position()) { // it was so already: the position is an older one
			continue
		}
		for n, query := range []string{"", "sort=name", "sort=-expires_at", "sort=created_at&status=expired", "status=active", "owner=o1", "scope=r1:read", "name=b", "never_rotated=true", "org_id=" + orgs[0] + "&status=revoked", "expires_before=" + url.QueryEscape(c.now().Add(5*time.Hour).UTC().Format(time.RFC3339))} {
			if key := append(auditors, s.root)[random.IntN(3)]; n < 4 || random.IntN(3) == 0 {
				if key != auditors[1] || !strings.Contains(query, "org_id") {
					all = append(all, recorded{header, key, query, s.listedKeys(key, query)})
				}
			}
		}
		c.jump(time.Duration(c.ahead.Load()) + time.Duration(random.IntN(20))*time.Minute)
		s.expire(c.now())
	}
	if len(all) < 100 {
		t.Fatalf("%d listings were recorded", len(all))
	}
	for _, r := range all {
		if got := s.listedKeys(r.key, r.query+"&at="+r.at); strings.Join(got, "\n") != strings.Join(r.keys, "\n") {
			t.Fatalf("?%s&at=%s:\n%s\nand then it was\n%s", r.query, r.at, strings.Join(got, "\n"), strings.Join(r.keys, "\n"))
		}
	}
}

// TestATimeIsThePositionThatWasStoredByThen to the nanosecond, by the clock of the server.
func TestATimeIsThePositionThatWasStoredByThen(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
	s.create(s.root, `{"org_id":"`+org+`","name":"m"}`)
	for p := eventstore.Position(1); p <= s.store.Position(); p++ {
		m, err := s.ledger.Message(t.Context(), eventstore.Events, p)
		if err != nil {
			t.Fatal(err)
		}
		for before, want := range []eventstore.Position{p, p - 1} {
			at := m.Stored.Add(-time.Duration(before)).UTC().Format(time.RFC3339Nano)
			told := s.must(s.root, "GET", "/v1/keys?at="+url.QueryEscape(at), "")["at"].(map[string]any)
			if told["position"] != float64(want) || told["time"] != at {
				t.Errorf("at %s is %v, want position %d", at, told, want)
			}
		}
	}
	if told := s.must(s.root, "GET", "/v1/keys?at=0", "")["at"].(map[string]any); len(told) != 1 || told["position"] != 0.0 {
		t.Errorf("before the first event is %v", told)
	}
	if told := s.must(s.root, "GET", "/v1/keys?at=1969-07-20T20:17:40Z", "")["at"].(map[string]any); told["position"] != 0.0 {
		t.Errorf("before everything is %v", told)
	}
}

// TestThePastOfAnotherOrganizationIsNotTold nor that of one's own to who may not read the trail.
func TestThePastOfAnotherOrganizationIsNotTold(t *testing.T) {
	s := start(t)
	ours, theirs := s.org("ours"), s.org("theirs")
	id, _ := s.create(s.root, `{"org_id":"`+theirs+`","name":"secretive"}`)
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
	at := fmt.Sprint(s.store.Position())
	make := func(org, scopes string) string {
		_, secret := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"x","scopes":[`+scopes+`]}`)
		return secret
	}
	auditor, lister, reader := make(ours, `"keys:read","audit:read"`), make(theirs, `"keys:read"`), make(theirs, `"audit:read"`)
	for _, c := range []struct {
		key, path string
		status    int
	}{
		{auditor, "/v1/keys/" + id + "?at=" + at, 404},
		{auditor, "/v1/keys/" + id + "?at=1", 404},
		{auditor, "/v1/keys?at=" + at + "&org_id=" + theirs, 404},
		{auditor, "/v1/keys?at=" + at, 200},
		{auditor, "/v1/keys?at=", 400},
		{s.root, "/v1/keys/" + id + "?at=", 400},
		{lister, "/v1/keys?at=" + at, 403},
		{lister, "/v1/keys/" + id + "?at=" + at, 403},
		{reader, "/v1/keys?at=" + at, 403},
		{"", "/v1/keys?at=" + at, 401},
		{s.root, "/v1/keys/" + id + "?at=" + at, 200},
		{s.root, "/v1/keys/" + id + "?at=1", 404},
		{s.root, "/v1/keys/" + string(domain.NewKeyID("", "nobody")) + "?at=" + at, 404},
	} {
		if status, _, text := s.do(c.key, "GET", c.path, ""); status != c.status || c.key == auditor && strings.Contains(text, "secretive") {
			t.Errorf("GET %s: %d %s, want %d", c.path, status, text, c.status)
		}
	}
	if len(s.listedKeys(auditor, "at="+at)) != 0 { // its own key came later
		t.Error("the other organization's past is listed")
	}
	// A cursor is of its moment and its filters.
	s.create(s.root, `{"org_id":"`+theirs+`","name":"more"}`)
	next := s.must(s.root, "GET", "/v1/keys?limit=1&at="+at, "")["next_cursor"]
	for _, query := range []string{"", "&at=" + fmt.Sprint(s.store.Position()), "&org_id=" + theirs + "&at=" + at} {
		if status, _, _ := s.do(s.root, "GET", fmt.Sprintf("/v1/keys?limit=1&cursor=%v%s", next, query), ""); status != 400 {
			t.Errorf("the cursor is taken with %q: %d", query, status)
		}
	}
	// Asking is on the trail.
	reads := s.must(s.root, "GET", "/v1/events?type=audit.read&org_id="+ours, "")["items"].([]any)
	if len(reads) == 0 || reads[0].(map[string]any)["data"].(map[string]any)["access"] != "state" {
		t.Errorf("the trail does not tell who asked: %v", reads)
	}
}
