package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// interrupted is a log where something happens ahead of each append of a revocation or an
// imported key.
type interrupted struct {
	commands.EventLog
	before func(ctx context.Context, key, request string) error
}

func (l interrupted) Append(ctx context.Context, ref eventstore.Ref, after eventstore.Position, c eventstore.Command, e domain.Event) (eventstore.Position, error) {
	_, revoked := e.(domain.KeyRevoked)
	if created, ok := e.(domain.KeyCreated); revoked || ok && created.Imported {
		if err := l.before(ctx, ref.ID, c.Correlation); err != nil {
			return 0, err
		}
	}
	return l.EventLog.Append(ctx, ref, after, c, e)
}

func before(f func(ctx context.Context, key, request string) error) func(commands.EventLog) commands.EventLog {
	return func(l commands.EventLog) commands.EventLog { return interrupted{l, f} }
}

// A request that takes longer than any read deadline is answered in full, and its
// connection serves the next one.
func TestALongRequestIsNotCutOff(t *testing.T) {
	t.Parallel()
	s := startWith(t, before(func(ctx context.Context, _, _ string) error {
		select {
		case <-time.After(6 * time.Second): // the time itself is what is tested
		case <-ctx.Done():
		}
		return ctx.Err()
	}), func(*api.Options) {})
	id, _ := s.create(s.root, `{"org_id":"`+s.org("acme")+`","name":"n"}`)

	var dialled atomic.Int32
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, DialContext: counting(&dialled)}}
	defer client.CloseIdleConnections()
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/v1/keys/revoke", `{"ids":["` + id + `"]}`, `"revoked":1`},
		{"GET", "/v1/keys/" + id, "", `"status":"revoked"`},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), c.method, s.url+c.path, bytes.NewReader([]byte(c.body)))
		r.Header = http.Header{"Authorization": {"Bearer " + s.root}, "Content-Type": {"application/json"}}
		a, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode != 200 || !bytes.Contains(text, []byte(c.want)) {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, text)
		}
	}
	if n := dialled.Load(); n != 1 {
		t.Errorf("%d connections were used", n)
	}
}

// Whatever fails in the middle of a bulk revocation, following next_cursor to its end
// revokes every key.
func TestABulkCursorNeverPassesWhatWasNotDone(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	first := map[string]string{} // each key's first request, which fails for every third
	s := startWith(t, before(func(_ context.Context, key, request string) error {
		mu.Lock()
		defer mu.Unlock()
		if _, known := first[key]; !known {
			first[key] = request
			if len(first)%3 != 2 {
				first[key] = "none"
			}
		}
		if first[key] == request {
			return &domain.Error{Kind: domain.Unavailable, Code: "ledger_unavailable", Text: "lost on purpose"}
		}
		return nil
	}), func(*api.Options) {})
	org := s.org("acme")
	const keys = 12
	for i := range keys {
		s.create(s.root, fmt.Sprintf(`{"org_id":"%s","name":"n%d","owner":"leaver"}`, org, i))
	}
	for _, status := range []string{"", `,"status":"active"`} {
		body := func(cursor any) string {
			b, _ := json.Marshal(cursor)
			return `{"filter":{"owner":"leaver"` + status + `},"limit":5,"cursor":` + string(b) + `}`
		}
		cursor, failed, requests := any(""), 0, 0
		for ; cursor != nil && requests < 50; requests++ {
			a := s.must(s.root, "POST", "/v1/keys/revoke", body(cursor))
			failed += len(a["failed"].([]any))
			cursor = a["next_cursor"]
		}
		if left := s.must(s.root, "GET", "/v1/keys?owner=leaver&status=active", "")["items"].([]any); len(left) > 0 || cursor != nil {
			t.Errorf("%d requests with %d failures left %d keys", requests, failed, len(left))
		}
		if status == "" && failed == 0 {
			t.Error("nothing failed")
		}
	}
}

// A client that goes away in the middle gets no cursor at all; its repeat does the rest.
// TestAKeyNamedTwiceIsCountedOnce also when the request can be repeated.
func TestAKeyNamedTwiceIsCountedOnce(t *testing.T) {
	s := start(t)
	for _, headers := range [][]string{nil, {"Idempotency-Key", "k"}} {
		id, _ := s.create(s.root, `{"name":"n","keyspace":"keytrail"}`)
		a := s.must(s.root, "POST", "/v1/keys/revoke", `{"ids":["`+id+`","`+id+`"]}`, headers...)
		if a["revoked"] != 1.0 || a["already_revoked"] != 0.0 {
			t.Errorf("%v: %v", headers, a)
		}
	}
}

func TestABulkRevocationThatIsAbandonedIsRepeated(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	var appends atomic.Int32
	s := startWith(t, before(func(ctx context.Context, _, _ string) error {
		if appends.Add(1) == 4 {
			leave()
			<-ctx.Done()
		}
		return ctx.Err()
	}), func(*api.Options) {})
	org := s.org("acme")
	for i := range 12 {
		s.create(s.root, fmt.Sprintf(`{"org_id":"%s","name":"n%d","owner":"leaver"}`, org, i))
	}
	const body = `{"filter":{"owner":"leaver"}}`
	r, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/keys/revoke", bytes.NewReader([]byte(body)))
	r.Header = http.Header{"Authorization": {"Bearer " + s.root}, "Content-Type": {"application/json"}}
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("the abandoned request: %v", err)
	}
	if a := s.must(s.root, "POST", "/v1/keys/revoke", body); a["next_cursor"] != nil || len(a["failed"].([]any)) != 0 {
		t.Errorf("repeated: %v", a)
	}
	if left := s.must(s.root, "GET", "/v1/keys?owner=leaver&status=active", "")["items"].([]any); len(left) > 0 {
		t.Errorf("%d keys are left", len(left))
	}
}

// While the ledger is away, a request of many parts does not wait for it once for each.
func TestABulkWaitsOnceForALedgerThatIsAway(t *testing.T) {
	api.SetBulkSlots(t, 8)
	var tries atomic.Int32
	s := startWith(t, before(func(context.Context, string, string) error {
		tries.Add(1)
		return fmt.Errorf("away on purpose: %w", domain.ErrLedgerUnavailable)
	}), func(*api.Options) {})
	org := s.org("acme")
	const keys = 40
	for i := range keys {
		s.create(s.root, fmt.Sprintf(`{"org_id":"%s","name":"n%d","owner":"leaver"}`, org, i))
	}
	a := s.must(s.root, "POST", "/v1/keys/revoke", `{"filter":{"owner":"leaver"}}`)
	failed := a["failed"].([]any)
	if n := tries.Load(); len(failed) != keys || n > keys/2 || a["next_cursor"] != "start" {
		t.Errorf("%d tries, %d failures, next_cursor %v", n, len(failed), a["next_cursor"])
	}
	for _, f := range failed {
		if f.(map[string]any)["code"] != "ledger_unavailable" {
			t.Errorf("%v", f)
		}
	}

	tries.Store(0)
	var lines strings.Builder
	for i := range keys {
		fmt.Fprintf(&lines, `{"org_id":%q,"name":"n","digest":"%064x"}`+"\n", org, i)
	}
	a = s.must(s.root, "POST", "/v1/keys/import", lines.String(), "Content-Type", "application/x-ndjson")
	if n := tries.Load(); a["failed"] != float64(keys) || n > keys/2 {
		t.Errorf("%d tries, an import answers %v", n, a["failed"])
	}
}
