package api_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A clock jumps when it is told to.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) jump(ahead time.Duration) { c.ahead.Store(int64(ahead)) }
func (s *service) verified(key string) any {
	return s.must(s.root, "POST", "/v1/verify", fmt.Sprintf(`{"key":%q}`, key))["code"]
}
func (s *service) expiries(id string) (n int) {
	s.t.Helper()
	_ = s.ledger.Read(s.t.Context(), eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(b eventstore.Batch) error {
		for _, r := range b.Records {
			if _, ok := r.Event.(domain.KeyExpired); ok && r.Subject == id {
				n++
			}
		}
		return nil
	})
	return n
}

// expire is one round of the pass that writes expiries down.
func (s *service) expire(now time.Time) {
	s.t.Helper()
	keys, err := s.store.Overdue(now, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range keys {
		if err := s.commands.ExpireKey(s.t.Context(), k.Org, k.ID); err != nil {
			s.t.Fatal(err)
		}
	}
	s.caughtUp()
}

func (s *service) listed(org, status, sort string) string {
	s.t.Helper()
	ids := ""
	for _, k := range s.must(s.root, "GET", "/v1/keys?org_id="+org+"&status="+status+"&sort="+sort, "")["items"].([]any) {
		ids += k.(map[string]any)["id"].(string)
	}
	return ids
}

func TestAClockThatWasAheadEndsNoKey(t *testing.T) {
	var c clock
	first := start(t)
	s := first.node(first.store, c.now)
	org := s.org("acme")
	id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"brief","ttl":"1h"}`)
	path := "/v1/keys/" + id
	check := func(when, code, status string, expiries int) {
		t.Helper()
		if got := s.verified(secret); got != code {
			t.Errorf("%s the key is %v", when, got)
		}
		if got := s.must(s.root, "GET", path, "")["status"]; got != status {
			t.Errorf("%s its status is %v", when, got)
		}
		for _, listing := range []string{"active", "expired", "disabled"} {
			for _, sort := range []string{"created_at", "-created_at", "name", "expires_at", "last_used_at"} {
				if got := s.listed(org, listing, sort); (got == id) != (listing == status) || got != "" && got != id {
					t.Errorf("%s the %s keys by %s are %q", when, listing, sort, got)
				}
			}
		}
		if n := s.expiries(id); n != expiries {
			t.Errorf("%s key.expired was written %d times", when, n)
		}
	}
	check("before", "VALID", "active", 0)
	c.jump(2 * time.Hour)
	check("ahead", "EXPIRED", "expired", 0)
	s.expire(c.now())
	s.expire(c.now())
	check("ahead, and written", "EXPIRED", "expired", 1)
	c.jump(0)
	check("when the clock is right", "VALID", "active", 1)
	s.must(s.root, "POST", path+"/disable", "")
	check("disabled", "DISABLED", "disabled", 1)
	s.must(s.root, "POST", path+"/enable", "")
	c.jump(2 * time.Hour)
	s.expire(c.now())
	check("when its time has come", "EXPIRED", "expired", 1)
	if status, _, text := s.do(s.root, "PATCH", path, `{"owner":"o"}`); status != http.StatusConflict {
		t.Errorf("changing an expired key: %d %s", status, text)
	}
	c.jump(0)
	s.must(s.root, "PATCH", path, fmt.Sprintf(`{"expires_at":%q}`, c.now().Add(3*time.Hour).UTC().Format(time.RFC3339)))
	c.jump(2 * time.Hour)
	s.expire(c.now())
	check("with a later end", "VALID", "active", 1)
	c.jump(4 * time.Hour)
	s.expire(c.now())
	check("after the later end", "EXPIRED", "expired", 2)
}

func TestAClockThatIsBehindRevivesNoSecret(t *testing.T) {
	var c clock
	first := start(t)
	s := first.node(first.store, c.now)
	id, old := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"ci"}`)
	rotated := s.must(s.root, "POST", "/v1/keys/"+id+"/rotate", "")["secret"].(string)
	for _, ahead := range []time.Duration{0, -24 * time.Hour, 24 * time.Hour} {
		c.jump(ahead)
		if a, b := s.verified(old), s.verified(rotated); a != "EXPIRED" || b != "VALID" {
			t.Errorf("with the clock %v ahead the old secret is %v, the new one %v", ahead, a, b)
		}
	}
}

func TestAYearThatIs10000InUTCIsRefused(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id, _ := s.create(s.root, `{"org_id":"`+org+`","name":"ci"}`)
	const late = `"expires_at":"9999-12-31T23:59:59-01:00"`
	for _, c := range [][3]string{{"POST", "/v1/keys", `{"org_id":"` + org + `","name":"n",` + late + `}`}, {"PATCH", "/v1/keys/" + id, `{` + late + `}`}} {
		if status, _, text := s.do(s.root, c[0], c[1], c[2]); status != 400 {
			t.Errorf("%s %s: %d %s", c[0], c[1], status, text)
		}
	}
	a := s.must(s.root, "POST", "/v1/keys/import", `{"org_id":"`+org+`","name":"n","digest":"`+digestOf("x")+`",`+late+`}`)
	if r := a["results"].([]any)[0].(map[string]any); r["code"] != "invalid_field" {
		t.Errorf("import: %v", r)
	}
	s.must(s.root, "PATCH", "/v1/keys/"+id, `{"expires_at":"9999-12-31T23:59:59Z"}`)
}
