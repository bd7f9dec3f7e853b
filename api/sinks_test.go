package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

const hook = `"type":"webhook","url":"https://siem.example.com/in"`

// admin is a management key of one organization.
func (s *service) admin(org string, scopes ...string) string {
	list, _ := json.Marshal(append([]string{}, scopes...))
	_, key := s.create(s.root, `{"org_id":"`+org+`","keyspace":"keytrail","name":"admin","scopes":`+string(list)+`}`)
	return key
}

// sink creates one and gives its id.
func (s *service) sink(key, body string) string {
	return s.must(key, "POST", "/v1/sinks", body)["sink"].(map[string]any)["id"].(string)
}

func TestWhatASinkIsRefused(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	id := s.sink(s.root, `{"org_id":"`+org+`","name":"n",`+hook+`}`)
	for _, c := range []struct {
		method, path, body string
		status             int
		field              string
	}{
		{"POST", "", `{"name":"n","type":"webhook"}`, 400, "url"},
		{"POST", "", `{"name":"n","type":"pigeon","url":"https://a.example.com"}`, 400, "type"},
		{"POST", "", `{` + hook + `}`, 400, "name"},
		{"POST", "", `{"name":"",` + hook + `}`, 400, "name"},
		{"POST", "", `{"name":"a\u0000b",` + hook + `}`, 400, "name"},
		{"POST", "", `{"name":"` + strings.Repeat("n", 101) + `",` + hook + `}`, 400, "name"},
		{"POST", "", `{"name":"n","type":"webhook","url":"https://ann:pw@siem.example.com"}`, 400, "url"},
		{"POST", "", `{"name":"n","type":"webhook","url":"https://siem.example.com/` + strings.Repeat("a", 2048) + `"}`, 400, "url"},
		{"POST", "", `{"name":"n",` + hook + `,"format":"cef"}`, 400, "format"},
		{"POST", "", `{"name":"n",` + hook + `,"format":"xml"}`, 400, "format"},
		{"POST", "", `{"name":"n",` + hook + `,"event_types":["key.revoked","key.unknown"]}`, 400, "event_types[1]"},
		{"POST", "", `{"name":"n",` + hook + `,"event_types":["key.revoked","key.revoked"]}`, 400, "event_types"},
		{"POST", "", `{"name":"n",` + hook + `,"uses":{"mode":"some"}}`, 400, "uses.mode"},
		{"POST", "", `{"name":"n",` + hook + `,"uses":{"mode":"sampled"}}`, 400, "uses.one_in"},
		{"POST", "", `{"name":"n",` + hook + `,"from":"soon"}`, 400, "from"},
		{"POST", "", `{"name":"n",` + hook + `,"from":1000000}`, 400, "from"},
		{"POST", "", `{"name":"n",` + hook + `,"from":-1}`, 400, "from"},
		{"POST", "", `{"name":"n",` + hook + `,"from":"2999-01-01T00:00:00Z"}`, 400, "from"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"bucket":"logs"}}`, 400, "settings.bucket"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"token":"t"}}`, 400, "settings.token"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"signing":[]}}`, 400, "settings.signing"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"nothing":1}}`, 400, "settings.nothing"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"sign_asymmetric":"yes"}}`, 400, "settings.sign_asymmetric"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"headers":{"Host":"a"}}}`, 400, "settings.headers.Host"},
		{"POST", "", `{"name":"n",` + hook + `,"settings":{"headers":{"X-A":"a\r\nb"}}}`, 400, "settings.headers.X-A"},
		{"POST", "", `{"name":"n","type":"splunk_hec","url":"https://splunk.example.com:8088"}`, 400, "settings.token"},
		{"POST", "", `{"name":"n","org_id":"` + org + `","type":"file","settings":{"path":"trail"}}`, 400, "type"},
		{"POST", "", `{"name":"n","org_id":"` + org + `","type":"nats","url":"nats://nats.example.com","settings":{"subject":"a"}}`, 400, "type"},
		{"POST", "", `{"name":"n","org_id":"` + string(domain.NewOrgID("none")) + `",` + hook + `}`, 404, ""},
		{"GET", "/" + string(domain.NewSinkID("", "none")), "", 404, ""},
		{"GET", "/nonsense", "", 400, "id"},
		{"GET", "?limit=0", "", 400, "limit"},
		{"GET", "?cursor=x", "", 400, "cursor"},
		{"PATCH", "/" + id, `{"name":null}`, 400, "name"},
		{"PATCH", "/" + id, `{"type":"syslog"}`, 400, "type"},
		{"PATCH", "/" + id, `{"url":"ftp://a.example.com"}`, 400, "url"},
		{"PATCH", "/" + id, `{"settings":{"bucket":"logs"}}`, 400, "settings.bucket"},
		{"POST", "/" + id + "/rotate-secret", `{"overlap":"2161h"}`, 400, "overlap"},
		{"POST", "/" + id + "/rotate-secret", `{"overlap":"a day"}`, 400, "overlap"},
		{"POST", "/" + id + "/replay", `{}`, 400, "from"},
		{"POST", "/" + id + "/replay", `{"from":2,"to":1}`, 400, "to"},
		{"POST", "/" + id + "/replay", `{"from":"beginning","to":9999}`, 400, "to"},
		{"GET", "/" + id + "/dead-letters?limit=101", "", 400, "limit"},
		{"POST", "/" + id + "/test", "", 503, ""},
	} {
		status, _, text := s.do(s.root, c.method, "/v1/sinks"+c.path, c.body)
		if status != c.status || c.field != "" && !strings.Contains(text, `"`+c.field+`"`) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, status, text)
		}
	}
}

// TestASinksRefusalNamesWhatIsAllowed: in words, with nothing of Go's or the schema's.
func TestASinksRefusalNamesWhatIsAllowed(t *testing.T) {
	s := start(t)
	for body, want := range map[string]string{
		`{"name":"n",` + hook + `,"format":"cef"}`:         "format: must be one of cloudevents, ocsf, ecs for a sink of the type webhook",
		`{"name":"n",` + hook + `,"uses":{"mode":"some"}}`: "uses.mode: must be one of each, sampled, summed, none\"",
		`{"name":"n",` + hook + `,"from":-1}`:              "from: has the wrong type, or is out of its range",
	} {
		if _, _, text := s.do(s.root, "POST", "/v1/sinks", body); !strings.Contains(text, want) {
			t.Errorf("%s: %s", body, text)
		}
	}
}

// TestSinksOfAnotherOrganizationAreUnknown: each route answers as for a sink that does not exist.
func TestSinksOfAnotherOrganizationAreUnknown(t *testing.T) {
	s := start(t)
	theirs := s.org("theirs")
	stranger := s.admin(s.org("ours"), "*")
	id := s.sink(s.root, `{"org_id":"`+theirs+`","name":"n",`+hook+`}`)
	all := s.sink(s.root, `{"name":"n",`+hook+`}`)
	none := string(domain.NewSinkID("", "none"))
	for route, body := range map[string]string{"GET ": "", "PATCH ": `{"name":"m"}`, "DELETE ": "", "POST /pause": "", "POST /resume": "", "POST /rotate-secret": "", "POST /test": "",
		"GET /attempts": "", "POST /replay": `{"from":"beginning"}`, "GET /dead-letters": "", "POST /dead-letters/replay": ""} {
		method, suffix, _ := strings.Cut(route, " ")
		_, _, unknown := s.do(stranger, method, "/v1/sinks/"+none+suffix, body, "X-Request-Id", "r")
		for _, of := range []string{id, all} {
			status, _, text := s.do(stranger, method, "/v1/sinks/"+of+suffix, body, "X-Request-Id", "r")
			if status != 404 || strings.ReplaceAll(text, of, none) != unknown {
				t.Errorf("%s: %d %s, and of none %s", route, status, text, unknown)
			}
		}
	}
	if m := s.must(stranger, "GET", "/v1/sinks", ""); len(m["items"].([]any)) != 0 {
		t.Errorf("a stranger sees %v", m)
	}
	if status, _, text := s.do(stranger, "POST", "/v1/sinks", `{"org_id":"`+theirs+`","name":"n",`+hook+`}`); status != 404 {
		t.Errorf("a stranger's sink of another organization: %d %s", status, text)
	}
	if status, _, text := s.do(stranger, "GET", "/v1/sinks?org_id="+theirs, ""); status != 404 {
		t.Errorf("a stranger lists: %d %s", status, text)
	}
	if m := s.must(s.root, "GET", "/v1/sinks?org_id="+theirs, ""); len(m["items"].([]any)) != 1 {
		t.Errorf("the operator sees %v", m)
	}
	own := s.must(stranger, "POST", "/v1/sinks", `{"name":"n",`+hook+`}`)["sink"].(map[string]any)
	if own["org_id"] == nil || own["org_id"] == theirs {
		t.Errorf("a sink without organization is of %v", own["org_id"])
	}
}

// TestCredentialsOfSinksAreNowhere: no answer, event or message of the ledger has one in clear.
func TestCredentialsOfSinksAreNowhere(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	answers := ""
	request := func(method, path, body string) map[string]any {
		t.Helper()
		status, _, text := s.do(s.root, method, path, body, "Idempotency-Key", method+path+body)
		if status >= 300 {
			t.Fatal(status, text)
		}
		answers += text
		var m map[string]any
		_ = json.Unmarshal([]byte(text), &m)
		return m
	}
	created := request("POST", "/v1/sinks", `{"org_id":"`+org+`","name":"n",`+hook+`,"settings":{"sign_asymmetric":true,"headers":{"Authorization":"open sesame 1"}}}`)
	id := created["sink"].(map[string]any)["id"].(string)
	path := "/v1/sinks/" + id
	request("PATCH", path, `{"settings":{"headers":{"Authorization":"open sesame 2"}}}`)
	splunk := request("POST", "/v1/sinks", `{"org_id":"`+org+`","name":"n","type":"splunk_hec","url":"https://splunk.example.com","settings":{"token":"open-sesame-3"}}`)["sink"].(map[string]any)
	rotated := request("POST", path+"/rotate-secret", "")
	shown := request("GET", path, "")
	request("GET", "/v1/sinks", "")
	request("GET", "/v1/events?org_id="+org, "")
	if fmt.Sprint(splunk["credentials"]) != "[token]" || fmt.Sprint(shown["credentials"]) != "[headers]" || !strings.HasPrefix(shown["public_key"].(string), "whpk_") {
		t.Errorf("%v, %v", splunk, shown)
	}
	first, second := created["signing_secret"].(string), rotated["signing_secret"].(string)
	if !strings.HasPrefix(first, "whsec_") || first == second || strings.Count(answers, first) != 1 || strings.Count(answers, second) != 1 {
		t.Error("the signing secrets are not shown once")
	}
	if strings.Contains(answers, "sesame") {
		t.Error("an answer has a credential")
	}
	end, err := s.ledger.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	for p := range end {
		m, err := s.ledger.Message(t.Context(), eventstore.Events, p+1)
		if err != nil {
			t.Fatal(err)
		}
		text := m.Subject + fmt.Sprint(m.Header) + string(m.Data)
		for _, secret := range []string{"sesame", strings.TrimPrefix(first, "whsec_"), strings.TrimPrefix(second, "whsec_")} {
			if strings.Contains(text, secret) {
				t.Errorf("position %d has a credential", p+1)
			}
		}
	}
}

// TestCreatingASinkIsRepeated: the same sink is answered, without its secret.
func TestCreatingASinkIsRepeated(t *testing.T) {
	s := start(t)
	body := `{"org_id":"` + s.org("acme") + `","name":"n",` + hook + `,"settings":{"headers":{"X-A":"1"}}}`
	first := s.must(s.root, "POST", "/v1/sinks", body, "Idempotency-Key", "once")
	_, header, text := s.do(s.root, "POST", "/v1/sinks", body, "Idempotency-Key", "once")
	var again map[string]any
	if err := json.Unmarshal([]byte(text), &again); err != nil {
		t.Fatal(err)
	}
	if again["signing_secret"] != nil || header.Get("Idempotency-Replayed") != "true" || header.Get("Cache-Control") != "no-store" || fmt.Sprint(again["sink"]) != fmt.Sprint(first["sink"]) {
		t.Errorf("again: %s", text)
	}
	if status, _, text := s.do(s.root, "POST", "/v1/sinks", strings.Replace(body, `"1"`, `"2"`, 1), "Idempotency-Key", "once"); status != 422 {
		t.Errorf("with another credential: %d %s", status, text)
	}
	path := "/v1/sinks/" + first["sink"].(map[string]any)["id"].(string)
	rotated := s.must(s.root, "POST", path+"/rotate-secret", `{"overlap":"1h"}`, "Idempotency-Key", "rotate")
	if again := s.must(s.root, "POST", path+"/rotate-secret", `{"overlap":"1h"}`, "Idempotency-Key", "rotate"); again["signing_secret"] != nil || fmt.Sprint(again["sink"]) != fmt.Sprint(rotated["sink"]) {
		t.Errorf("rotated again: %v", again)
	}
	for range 2 {
		if status, _, text := s.do(s.root, "DELETE", path, "", "Idempotency-Key", "delete"); status != 204 {
			t.Errorf("deleting: %d %s", status, text)
		}
	}
	if status, _, text := s.do(s.root, "DELETE", path, ""); status != 204 {
		t.Errorf("deleting what was deleted: %d %s", status, text)
	}
	if status, _, text := s.do(s.root, "GET", path, ""); status != 404 {
		t.Errorf("what was deleted: %d %s", status, text)
	}
}

// TestAnotherReceiverDoesNotGetTheCredentials, so that who may change a sink cannot read them.
func TestAnotherReceiverDoesNotGetTheCredentials(t *testing.T) {
	s := start(t)
	path := "/v1/sinks/" + s.sink(s.root, `{"name":"n",`+hook+`,"settings":{"headers":{"X-A":"1"}}}`)
	for _, c := range []struct {
		body   string
		status int
	}{
		{`{"url":"https://evil.example.com/in"}`, 400},
		{`{"url":"https://evil.example.com/in","settings":{"sign_asymmetric":true}}`, 400},
		{`{"url":"http://siem.example.com/in"}`, 400},
		{`{"url":"https://siem.example.com/other"}`, 400},
		{`{"url":"https://SIEM.example.com/in"}`, 200},
		{`{"url":"https://next.example.com","settings":{"headers":{"X-A":"2"}}}`, 200},
		{`{"url":"https://after-next.example.com","settings":{"headers":null}}`, 200},
		{`{"url":"https://last.example.com"}`, 200},
	} {
		if status, _, text := s.do(s.root, "PATCH", path, c.body); status != c.status {
			t.Errorf("%s: %d %s", c.body, status, text)
		}
	}
}

// TestConcurrentUpdatesOfASink: each is carried out, on what the one before left; and of those with
// the revision one.
func TestConcurrentUpdatesOfASink(t *testing.T) {
	s := start(t)
	created := s.must(s.root, "POST", "/v1/sinks", `{"name":"n",`+hook+`}`)["sink"].(map[string]any)
	path := "/v1/sinks/" + created["id"].(string)
	var updates sync.WaitGroup
	var stale, done sync.Map
	for i := range 8 {
		updates.Go(func() {
			status, _, text := s.do(s.root, "PATCH", path, fmt.Sprintf(`{"name":"n%d"}`, i), "If-Match", fmt.Sprintf(`"%v"`, created["revision"]))
			switch status {
			case 200:
				done.Store(i, true)
			case 412:
				stale.Store(i, true)
			default:
				t.Errorf("%d %s", status, text)
			}
		})
	}
	updates.Wait()
	if n := size(&done); n != 1 || size(&stale) != 7 {
		t.Errorf("%d of 8 updates of one revision were carried out", n)
	}
	for i := range 8 {
		updates.Go(func() {
			if status, _, text := s.do(s.root, "PATCH", path, fmt.Sprintf(`{"settings":{"headers":{"X-A":"%d"}}}`, i)); status != 200 {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	updates.Wait()
	if m := s.must(s.root, "GET", path, ""); m["revision"].(float64) != created["revision"].(float64)+9 {
		t.Errorf("revision %v after %v", m["revision"], created["revision"])
	}
}

func size(m *sync.Map) (n int) {
	m.Range(func(_, _ any) bool { n++; return true })
	return n
}

func TestSinksAreBounded(t *testing.T) {
	s := start(t)
	admin := s.admin(s.org("acme"), "sinks:read", "sinks:write")
	refused := func(of, why string) {
		t.Helper()
		if status, _, text := s.do(admin, "POST", "/v1/sinks", `{"name":"n",`+of+`}`); status != 409 || !strings.Contains(text, why) {
			t.Errorf("%s: %d %s", of, status, text)
		}
	}
	for i := range domain.MaxSinksPerOrganization {
		of := hook
		if i < domain.MaxStreamsPerOrganization {
			of = `"type":"stream"`
		}
		s.sink(admin, fmt.Sprintf(`{"name":"n%d",%s}`, i, of))
		if i == domain.MaxStreamsPerOrganization {
			refused(`"type":"stream"`, "sinks of type stream")
		}
	}
	refused(hook, "50 sinks")
	s.sink(s.root, `{"name":"n","type":"stream"}`)
	seen, cursor := 0, ""
	for {
		m := s.must(admin, "GET", "/v1/sinks?limit=20&cursor="+cursor, "")
		seen += len(m["items"].([]any))
		if m["next_cursor"] == nil {
			break
		}
		cursor = m["next_cursor"].(string)
	}
	if seen != domain.MaxSinksPerOrganization {
		t.Errorf("%d are listed", seen)
	}
}

// TestWhereASinkBegins: from names a place in the trail, which the sink tells.
func TestWhereASinkBegins(t *testing.T) {
	s := start(t)
	org := s.org("acme")
	end, err := s.ledger.End(t.Context(), eventstore.Events)
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]uint64{`"beginning"`: 0, `1`: 1, `"1"`: 1, `"2020-01-01T00:00:00Z"`: 0} {
		after := s.must(s.root, "POST", "/v1/sinks", `{"org_id":"`+org+`","name":"n",`+hook+`,"from":`+from+`}`)["sink"].(map[string]any)["after"].(map[string]any)
		if uint64(after["events"].(float64)) != want {
			t.Errorf("from %s begins after %v", from, after)
		}
	}
	for _, from := range []string{``, `,"from":"now"`} {
		after := s.must(s.root, "POST", "/v1/sinks", `{"org_id":"`+org+`","name":"n",`+hook+from+`}`)["sink"].(map[string]any)["after"].(map[string]any)
		if uint64(after["events"].(float64)) < uint64(end) {
			t.Errorf("%s begins after %v", from, after)
		}
	}
}

// A hanging receiver answers no test before it is released.
type hangingReceiver struct {
	api.Forwarders
	asked   chan struct{}
	release chan struct{}
}

func (h *hangingReceiver) TestSink(context.Context, domain.SinkID, eventstore.Position) (domain.SinkAttempt, error) {
	h.asked <- struct{}{}
	<-h.release
	return domain.SinkAttempt{}, nil
}

// TestTestsOfAnOrganizationAreBounded: an organization whose receiver lets tests hang takes few of
// the slots in flight, and no tests away from another one.
func TestTestsOfAnOrganizationAreBounded(t *testing.T) {
	receiver := &hangingReceiver{asked: make(chan struct{}), release: make(chan struct{})}
	s := startWith(t, nil, func(o *api.Options) { o.Forwarders = receiver })
	test := func(org string) (key, path string) {
		key = s.admin(s.org(org), "sinks:write")
		return key, "/v1/sinks/" + s.sink(key, `{"name":"n",`+hook+`}`) + "/test"
	}
	ours, path := test("ours")
	theirs, other := test("theirs")
	var tests sync.WaitGroup
	begin := func(key, path string) {
		tests.Go(func() {
			if status, _, text := s.do(key, "POST", path, ""); status != 200 {
				t.Errorf("%d %s", status, text)
			}
		})
		<-receiver.asked
	}
	for range 4 {
		begin(ours, path)
	}
	if status, _, text := s.do(ours, "POST", path, ""); status != 429 || !strings.Contains(text, "too_many_tests") {
		t.Errorf("the fifth: %d %s", status, text)
	}
	begin(theirs, other)
	close(receiver.release)
	tests.Wait()
}
