package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A stream is an open event stream.
type stream struct {
	io.Closer
	lines chan string // closed at the end
	err   error       // how it ended, nil: cleanly
}

// follow opens an event stream, which has begun when it returns.
func (s *service) follow(key, query string, headers ...string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/events?"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil || a.StatusCode != 200 {
		s.t.Fatal(a, err)
	}
	f := &stream{Closer: a.Body, lines: make(chan string, 1000)}
	s.t.Cleanup(func() { a.Body.Close() })
	go func() {
		defer close(f.lines)
		lines := bufio.NewScanner(a.Body)
		for lines.Scan() {
			f.lines <- lines.Text()
		}
		f.err = lines.Err()
	}()
	return f
}

// next is the rest of the next line that begins with a prefix, and false at the end.
func (f *stream) next(prefix string) (string, bool) {
	for line := range f.lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest, true
		}
	}
	return "", false
}

// TestAFollowerLosesItsStreamWithItsKey opens a stream, takes the right to it away, and sees it
// end by itself, without an event that came after. A stream records one use of its key,
// however long it lasts.
func TestAFollowerLosesItsStreamWithItsKey(t *testing.T) {
	api.SetFollowing(t, 20*time.Millisecond, time.Hour)
	s := start(t)
	for name, take := range map[string]func(id string){
		"revoked":  func(id string) { s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "{}") },
		"disabled": func(id string) { s.must(s.root, "POST", "/v1/keys/"+id+"/disable", "") },
		"rotated":  func(id string) { s.must(s.root, "POST", "/v1/keys/"+id+"/rotate", `{"overlap":"0s"}`) },
		"narrowed": func(id string) { s.must(s.root, "PATCH", "/v1/keys/"+id, `{"scopes":["keys:read"]}`) },
		"moved":    func(id string) { s.must(s.root, "PATCH", "/v1/keys/"+id, `{"allowed_cidrs":["192.0.2.0/24"]}`) },
		"expired": func(id string) {
			s.must(s.root, "PATCH", "/v1/keys/"+id, `{"expires_at":"`+time.Now().Add(50*time.Millisecond).UTC().Format(time.RFC3339Nano)+`"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			id, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"],"rate_limits":[{"limit":1,"window":"720h"}]}`)
			cursor := s.must(s.root, "GET", "/v1/events?type=organization.created", "")["next_cursor"].(string)
			follower := s.follow(auditor, "type=organization.created&cursor="+cursor)
			s.org("before " + name)
			if _, ok := follower.next("data: "); !ok {
				t.Fatal("it does not follow: its rate limit was counted again?")
			}
			take(id)
			if _, ok := follower.next("data: "); ok || follower.err != nil {
				t.Errorf("it goes on, or is broken off: %v", follower.err)
			}
			uses := s.must(s.root, "GET", "/v1/events?type=key.used&key_id="+id, "")["items"].([]any)
			if len(uses) != 1 {
				t.Errorf("%d uses are recorded", len(uses))
			}
		})
	}
}

// TestNoEventIsSentToAKeyThatWasRevoked: the revocation itself is not.
func TestNoEventIsSentToAKeyThatWasRevoked(t *testing.T) {
	s := start(t)
	id, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	follower := s.follow(auditor, "type=key.revoked,organization.created")
	s.org("acme")
	if _, ok := follower.next("data: "); !ok {
		t.Fatal("it does not follow")
	}
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "{}")
	if event, ok := follower.next("data: "); ok {
		t.Errorf("it was sent %s", event)
	}
}

// TestAReplayEndsWithItsKey, of which less is left than is written at once.
func TestAReplayEndsWithItsKey(t *testing.T) {
	api.SetFollowing(t, 0, time.Hour)
	var o api.Options
	s := startWith(t, nil, func(made *api.Options) { o = *made })
	handler := api.New(o)
	id, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	const uses = 100 // of 500 bytes, where 32 KiB are written at once
	var b eventstore.UseBatch
	for range uses {
		b.Add(domain.Installation, &domain.KeyUsed{Key: domain.KeyID(id), Code: domain.UseValid, Resource: strings.Repeat("r", 100)}, 0)
	}
	if _, err := s.ledger.AppendUses(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	w := &watched{httptest.NewRecorder(), func() { s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "{}") }}
	defer func() {
		if cause, sent := recover(), strings.Count(w.Body.String(), "\n"); cause != http.ErrAbortHandler || sent == 0 || sent > uses {
			t.Errorf("it ends with %v, after %d events", cause, sent)
		}
	}()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/events?type=key.used", nil)
	r.Header = http.Header{"X-Api-Key": {auditor}, "Accept": {"application/x-ndjson"}}
	handler.ServeHTTP(w, r)
}

func TestALongPollEndsWithItsKey(t *testing.T) {
	api.SetFollowing(t, 20*time.Millisecond, time.Hour)
	s := start(t)
	id, auditor := s.create(s.root, `{"keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	status := make(chan int)
	go func() {
		code, _, _ := s.do(auditor, "GET", "/v1/events?type=organization.updated&wait=60s", "")
		status <- code
	}()
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "{}")
	if code := <-status; code != 401 {
		t.Errorf("the poll is answered %d", code)
	}
}

// TestAQuietFollowerIsToldHowFarItIs: with the cursor of a stream in which nothing matched, a
// reader who comes back begins at its end, and goes on with what comes.
func TestAQuietFollowerIsToldHowFarItIs(t *testing.T) {
	api.SetFollowing(t, 10*time.Millisecond, 20*time.Millisecond)
	s := start(t)
	s.org("acme")
	follower := s.follow(s.root, "type=key.revoked")
	var cursor eventstore.Cursor
	for cursor.At[eventstore.Events] == 0 {
		id, ok := follower.next("id: ")
		var err error
		if cursor, err = eventstore.ParseCursor(id); !ok || err != nil {
			t.Fatal(id, ok, err)
		}
	}
	end, err := s.ledger.End(t.Context(), eventstore.Events)
	if err != nil || cursor.At[eventstore.Events] != end {
		t.Errorf("the cursor is at %d, the ledger ends at %d, %v", cursor.At[eventstore.Events], end, err)
	}
	follower.Close()
	again := s.follow(s.root, "type=organization.created", "Last-Event-ID", cursor.String())
	s.org("late")
	if event, _ := again.next("data: "); !strings.Contains(event, `"late"`) {
		t.Errorf("it goes on with %s", event)
	}
}

// TestStreamsEndWithTheService: cleanly, so that no reader takes it for an error.
func TestStreamsEndWithTheService(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	s := startWith(t, nil, func(o *api.Options) { o.Stopping = stopping })
	follower := s.follow(s.root, "type=organization.created")
	s.org("acme")
	if _, ok := follower.next("data: "); !ok {
		t.Fatal("it does not follow")
	}
	poll := make(chan string)
	go func() {
		_, _, text := s.do(s.root, "GET", "/v1/events?type=key.revoked&wait=60s", "")
		poll <- text
	}()
	stop()
	if _, ok := follower.next("data: "); ok || follower.err != nil {
		t.Errorf("the stream ends with %v", follower.err)
	}
	if page := <-poll; !strings.Contains(page, `"items":[]`) || !strings.Contains(page, `"next_cursor":"`) {
		t.Errorf("the poll ends with %s", page)
	}
}

// TestAStreamBreaksAtAnEventThatIsNotUnderstood, so that its reader knows that it is not whole.
func TestAStreamBreaksAtAnEventThatIsNotUnderstood(t *testing.T) {
	s := start(t)
	follower := s.follow(s.root, "type=organization.created")
	s.org("acme")
	if _, ok := follower.next("data: "); !ok {
		t.Fatal("it does not follow")
	}
	nc, err := s.nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m := &natsgo.Msg{Subject: "keytrail.events." + string(domain.Installation) + ".key.x", Header: natsgo.Header{"Event-Type": {"key.teleported"}}, Data: []byte(`{"data":{}}`)}
	if _, err := nc.RequestMsg(m, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, ok := follower.next("data: "); ok || !errors.Is(follower.err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ends with %v", follower.err)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/events", nil)
	r.Header.Set("Authorization", "Bearer "+s.root)
	r.Header.Set("Accept", "application/x-ndjson")
	a, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.ReadAll(a.Body)
		a.Body.Close()
	}
	if err == nil {
		t.Error("the replay ends as if it were whole")
	}
}

func TestACursorBeyondTheEndIsRefused(t *testing.T) {
	s := start(t)
	beyond := eventstore.Cursor{At: [2]eventstore.Position{1000, 0}}.String()
	for _, accept := range []string{"application/json", "application/x-ndjson", "text/event-stream"} {
		status, _, text := s.do(s.root, "GET", "/v1/events?cursor="+beyond, "", "Accept", accept)
		if status != 400 || !strings.Contains(text, `"field":"cursor"`) {
			t.Errorf("%s: %d %s", accept, status, text)
		}
	}
}

// TestAFollowerSeesItsOrganizationAlone while other tenants' keys are used.
func TestAFollowerSeesItsOrganizationAlone(t *testing.T) {
	s := start(t)
	ours, theirs := s.org("ours"), s.org("theirs")
	_, auditor := s.create(s.root, `{"org_id":"`+ours+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	follower := s.follow(auditor, "")
	for i := range 10 {
		for _, org := range []string{theirs, ours} {
			_, secret := s.create(s.root, fmt.Sprintf(`{"org_id":"%s","name":"n%d"}`, org, i))
			s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`"}`)
		}
	}
	for seen := 0; seen < 20; {
		event, ok := follower.next("data: ")
		if !ok || !strings.Contains(event, `"orgid":"`+ours+`"`) {
			t.Fatalf("it was sent %s", event)
		}
		if strings.Contains(event, `"n`) || strings.Contains(event, `"VALID"`) {
			seen++
		}
	}
}

// TestTheNewestEventsComeFirst by pages, whose cursor keeps its place while the trail grows.
func TestTheNewestEventsComeFirst(t *testing.T) {
	s := start(t)
	var want []string
	for i := range 5 {
		want = append(want, s.org(fmt.Sprint("o", i)))
	}
	slices.Reverse(want)
	var got []string
	cursor := ""
	for {
		page := s.must(s.root, "GET", "/v1/events?order=desc&type=organization.created&limit=2&cursor="+cursor, "")
		for _, e := range page["items"].([]any) {
			got = append(got, e.(map[string]any)["subject"].(string))
		}
		s.org("late")
		if cursor = page["next_cursor"].(string); page["at_end"].(bool) {
			break
		}
	}
	if got = got[:min(len(got), len(want))]; !slices.Equal(got, want) {
		t.Errorf("they are %v, not %v", got, want)
	}
	status, _, text := s.do(s.root, "GET", "/v1/events?order=desc&type=organization.created", "", "Accept", "application/x-ndjson")
	if first, _, _ := strings.Cut(text, "\n"); status != 200 || !strings.Contains(first, `"late"`) {
		t.Errorf("the replay begins with %s", first)
	}
}

// TestUsesAreFoundByOutcomeAndAddress, and by nothing that could be misread.
func TestUsesAreFoundByOutcomeAndAddress(t *testing.T) {
	s := start(t)
	id, secret := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"ci"}`)
	for _, ip := range []string{"192.0.2.7", "::ffff:198.51.100.1", "2001:db8::1"} {
		s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`","ip":"`+ip+`"}`)
	}
	s.must(s.root, "POST", "/v1/keys/"+id+"/revoke", "")
	s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`","resource":"GET /v1/orders/`+secret+`?key=`+secret+`"}`)
	for query, want := range map[string]int{"resource=*": 1, "resource=/v1/orders/*&code=REVOKED": 1, "resource=GET%20/v1/orders/[secret]": 1, "resource=/v1/orders/": 0, "resource=*&code=VALID": 0,
		"resource=*&type=key.created": 0, "code=REVOKED": 1, "code=VALID": 3, "code=VALID,REVOKED": 4, "code=VALID&code=REVOKED": 4, "code=EXPIRED": 0, "ip=192.0.2.7": 1,
		"ip=192.0.2.99/24": 1, "ip=198.51.100.1": 1, "ip=::ffff:198.51.100.0/120": 1, "ip=::/0": 1, "ip=0.0.0.0/0": 2, "ip=2001:db8::/32&code=REVOKED": 0, "ip=0.0.0.0/0&type=key.created": 0} {
		for _, order := range []string{"asc", "desc"} {
			page := s.must(s.root, "GET", "/v1/events?key_id="+id+"&order="+order+"&"+query, "")
			if items := page["items"].([]any); len(items) != want || page["at_end"] != true {
				t.Errorf("%s finds %v", query, page)
			}
		}
	}
	ascending := s.must(s.root, "GET", "/v1/events?limit=1", "")["next_cursor"].(string)
	descending := s.must(s.root, "GET", "/v1/events?limit=1&order=desc", "")["next_cursor"].(string)
	for query, field := range map[string]string{"resource=": "resource", "resource=%00": "resource", "resource=" + strings.Repeat("r", 513): "resource",
		"code=REVOKE": "code", "code=": "code", "code=VALID,": "code", "ip=": "ip", "ip=1.2.3": "ip", "ip=10.0.0.0/33": "ip", "ip=fe80::1%25eth0": "ip",
		"ip=::ffff:0.0.0.0/90": "ip", "ip=10.0.0.1&ip=10.0.0.2": "ip", "order=down": "order", "order=": "order", "order=desc&wait=1s": "order",
		"order=desc&cursor=" + ascending: "cursor", "cursor=" + descending: "cursor"} {
		status, _, text := s.do(s.root, "GET", "/v1/events?"+query, "")
		if status != 400 || !strings.Contains(text, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	if status, _, text := s.do(s.root, "GET", "/v1/events?order=desc", "", "Accept", "text/event-stream"); status != 400 || !strings.Contains(text, `"order"`) {
		t.Errorf("followed backwards: %d %s", status, text)
	}
}

// TestAnAuditorReadsItsOrganizationAlone by pages and by replay, in both orders, with each filter
// and by the id of a foreign key.
func TestAnAuditorReadsItsOrganizationAlone(t *testing.T) {
	s := start(t)
	ours, theirs := s.org("ours"), s.org("theirs")
	_, auditor := s.create(s.root, `{"org_id":"`+ours+`","keyspace":"keytrail","name":"auditor","scopes":["audit:read"]}`)
	ids := map[string]string{}
	for range 3 {
		for _, org := range []string{ours, theirs} {
			id, secret := s.create(s.root, `{"org_id":"`+org+`","name":"n"}`)
			s.must(s.root, "POST", "/v1/verify", `{"key":"`+secret+`","ip":"192.0.2.7"}`)
			ids[org] = id
		}
	}
	for query, some := range map[string]bool{"": true, "code=VALID": true, "ip=192.0.2.7": true, "type=key.created": true, "org_id=" + ours: true, "key_id=" + ids[ours]: true, "key_id=" + ids[theirs]: false,
		"from=2020-01-01T00:00:00Z": true} {
		for _, order := range []string{"asc", "desc"} {
			for _, accept := range []string{"application/json", "application/x-ndjson"} {
				status, _, text := s.do(auditor, "GET", "/v1/events?limit=1000&order="+order+"&"+query, "", "Accept", accept)
				if events := strings.Count(text, `"orgid":"`); status != 200 || events != strings.Count(text, `"orgid":"`+ours+`"`) || events > 0 != some || strings.Contains(text, theirs) || strings.Contains(text, `"subject":"`+ids[theirs]) {
					t.Errorf("%s %s %s: %d %s", accept, order, query, status, text)
				}
			}
		}
	}
	if status, _, text := s.do(auditor, "GET", "/v1/events?order=desc&org_id="+theirs, ""); status != 404 {
		t.Errorf("another organization: %d %s", status, text)
	}
}
