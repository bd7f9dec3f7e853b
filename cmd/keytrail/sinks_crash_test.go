package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A capricious receiver takes some of what it is sent, answers all kinds of errors to the rest, and
// notes in what order it took things first.
type capricious struct {
	*httptest.Server
	mu    sync.Mutex
	kind  bool           // it takes everything
	order map[string]int // of events, without the ledger's origin
	taken int
}

func newCapricious(t *testing.T) *capricious {
	c := &capricious{order: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *capricious) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, id, _ := strings.Cut(r.Header.Get("webhook-id"), "-")
	take := func() {
		c.taken++
		if _, ok := c.order[id]; !ok {
			c.order[id] = len(c.order)
		}
	}
	caprice := rand.IntN(40)
	switch {
	case c.kind || caprice > 4:
		take()
	case caprice == 0: // it takes it, and says nothing
		take()
		panic(http.ErrAbortHandler)
	case caprice == 1:
		w.WriteHeader(http.StatusInternalServerError)
	case caprice == 2:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case caprice == 3:
		w.WriteHeader(http.StatusUnauthorized)
	default:
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
	}
}

func (c *capricious) beKind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kind = true
}

func (c *capricious) has(ids []trailEvent) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range ids {
		if _, ok := c.order[e.id]; ok {
			n++
		}
	}
	return n
}

// A trailEvent is an event as the trail has it.
type trailEvent struct {
	id, subject, org, kind string
	position, decided      int // of uses, position is that of the message
	use                    bool
}

// trailOf is all of an organization's events; "": of all.
func (r *running) trailOf(t *testing.T, org string) (all []trailEvent) {
	t.Helper()
	args := []string{"events", "replay", "--json"}
	if org != "" {
		args = append(args, "--org", org)
	}
	lines := bufio.NewScanner(strings.NewReader(r.command(t, "", args...).out))
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var e struct{ Type, Subject, Position, OrgID, Decided string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		position, _, use := strings.Cut(e.Position, ".")
		id := "events-" + position
		if use {
			id = "uses-" + strings.ReplaceAll(e.Position, ".", "-")
		}
		at, _ := strconv.Atoi(position)
		decided, _ := strconv.Atoi(e.Decided)
		all = append(all, trailEvent{id, e.Subject, e.OrgID, e.Type, at, decided, use})
	}
	return all
}

// newSink creates a webhook, and tells the position of its creation.
func (r *running) newSink(t *testing.T, org, url string, more map[string]any) string {
	t.Helper()
	in := map[string]any{"name": "siem", "type": "webhook", "url": url, "from": "beginning"}
	if org != "" {
		in["org_id"] = org
	}
	for k, v := range more {
		in[k] = v
	}
	var out struct{ Sink struct{ ID string } }
	r.call(t, "POST", "/v1/sinks", in, &out)
	return out.Sink.ID
}

// TestSinksLoseNothingInCrashes kills the service while clients work and three receivers fail at
// random. At the end each has everything that it is to have, in order for each key, and nothing
// else.
func TestSinksLoseNothingInCrashes(t *testing.T) {
	t.Parallel() // it waits more than it computes
	data := t.TempDir()
	serve := func() *running { return launch(t, data, "--sink-networks", "127.0.0.0/8") }
	r := serve()
	a, b := r.newOrg(t), r.newOrg(t)
	everything, ofA, changesOfB := newCapricious(t), newCapricious(t), newCapricious(t)
	r.newSink(t, "", everything.URL, nil)
	r.newSink(t, a, ofA.URL, nil)
	r.newSink(t, b, changesOfB.URL, map[string]any{"event_types": []string{"key.created", "key.revoked"}})
	for round := range *crashRounds {
		until(t, "it forwards, which is to be cut off", func() bool { return r.forwards(t) })
		var clients sync.WaitGroup
		for n, org := range []string{a, b, a, b} {
			url, key := r.url, r.rootKey(t)
			clients.Go(func() { useKeys(t, url, key, org, fmt.Sprintf("%d-%d", round, n)) })
		}
		timer := time.NewTimer(time.Second + rand.N(2*time.Second))
		<-timer.C
		r.end(t, syscall.SIGKILL)
		clients.Wait()
		r = serve()
	}
	for _, c := range []*capricious{everything, ofA, changesOfB} {
		c.beKind()
	}
	change := func(e trailEvent) bool { return e.kind == "key.created" || e.kind == "key.revoked" }
	whatever := func(trailEvent) bool { return true }
	checkReceiver(t, r, everything, "", whatever)
	checkReceiver(t, r, ofA, a, whatever)
	checkReceiver(t, r, changesOfB, b, change)
}

// useKeys creates, verifies and revokes keys until the service does not answer.
func useKeys(t *testing.T, url, root, org, name string) {
	post := func(path string, in, out any) bool {
		return send(context.Background(), "POST", url+path, root, "", in, out) == nil
	}
	for i := 0; ; i++ {
		var m made
		if !post("/v1/keys", map[string]any{"org_id": org, "name": fmt.Sprint(name, "-", i)}, &m) {
			return
		}
		for range 1 + rand.IntN(3) {
			if !post("/v1/verify", map[string]any{"key": m.Secret}, nil) {
				return
			}
		}
		if rand.IntN(2) == 0 && !post("/v1/keys/"+m.Key.ID+"/revoke", map[string]any{}, nil) {
			return
		}
		if rand.IntN(2) == 0 && !post("/v1/verify", map[string]any{"key": m.Secret}, nil) {
			return
		}
	}
}

// checkReceiver compares what a receiver took with the trail.
func checkReceiver(t *testing.T, r *running, c *capricious, org string, wanted func(trailEvent) bool) {
	t.Helper()
	var want []trailEvent
	for _, e := range r.trailOf(t, org) {
		if wanted(e) {
			want = append(want, e)
		}
	}
	if len(want) < 50 {
		t.Errorf("%d events prove little", len(want))
	}
	for have := c.has(want); have < len(want); have = c.has(want) {
		until(t, fmt.Sprintf("a receiver of %q has more than %d of %d events", org, have, len(want)), func() bool { return c.has(want) > have })
	}
	allowed := map[string]bool{}
	for _, e := range r.trailOf(t, org) { // what happened since, too
		allowed[e.id] = wanted(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.order {
		if !allowed[id] {
			t.Errorf("it was sent %s, which it was not to have", id)
		}
	}
	t.Logf("%d events, %d of them once more", len(c.order), c.taken-len(c.order))
	last := map[string]trailEvent{}
	seen := map[string][]trailEvent{} // by subject
	for _, e := range want {
		of := e.subject
		if e.use {
			of += " uses"
		}
		if before, ok := last[of]; ok && c.order[before.id] > c.order[e.id] {
			t.Errorf("%s came before %s, of one key", e.id, before.id)
		}
		last[of] = e
		if !e.use {
			seen[e.subject] = append(seen[e.subject], e)
		}
	}
	for _, e := range want {
		for _, event := range seen[e.subject] {
			if e.use && event.position <= e.decided && c.order[event.id] > c.order[e.id] {
				t.Errorf("%s, decided at %d, came before %s", e.id, e.decided, event.id)
			}
		}
	}
}
