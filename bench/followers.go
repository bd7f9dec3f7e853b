package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keytrail/keytrail/internal/backoff"
)

// A followersTrial is verification under load while a number of followers are connected.
type followersTrial struct {
	Round int `json:"round"`
	followerSet
	Processor float64 `json:"service_cpu_seconds"`
	Before    int64   `json:"anonymous_before"` // bytes, without and with the followers at rest
	With      int64   `json:"anonymous_with"`
	Events    int64   `json:"events_received"` // by all of them, under load
	measurement
}

// A followerSet is a number of followers with one query.
type followerSet struct {
	Followers int    `json:"followers"`
	Query     string `json:"query"`
}

// idleQuery is that of followers that wait for events which do not happen under load.
const idleQuery = "type=key.revoked"

// followers runs verification with each set of followers, in an order that changes with the round.
func followers(ctx context.Context, e *env) error {
	connections := e.connections[len(e.connections)-1]
	sets := []followerSet{{0, ""}}
	for _, n := range e.followers {
		sets = append(sets, followerSet{n, idleQuery})
	}
	sets = append(sets, followerSet{4, ""})
	for round := range e.rounds {
		for _, c := range sets {
			t, err := e.followersTrial(ctx, c, connections)
			if err != nil {
				return fmt.Errorf("%d followers: %w", c.Followers, err)
			}
			e.logf("  round %d, %4d followers of %q: %7.0f verifications/s, p99 %6.0f µs, %d events", round+1, c.Followers, c.Query, t.PerSecond, t.P99, t.Events)
			t.Round = round
			e.report.Followers = append(e.report.Followers, t)
		}
		slices.Reverse(sets)
	}
	return nil
}

// followersTrial ends with a revocation, which each idle follower must be sent.
func (e *env) followersTrial(ctx context.Context, c followerSet, connections int) (t followersTrial, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.followerSet = c
	if t.Before, err = e.idleMemory(ctx); err != nil {
		return t, err
	}
	var all streams
	if err := all.open(ctx, e, c); err != nil {
		return t, err
	}
	if t.With, err = e.idleMemory(ctx); err != nil {
		return t, err
	}
	w := e.evenly(connections, e.duration)
	w.WarmUp = e.warmUp
	t.measurement, t.Processor, err = e.load(ctx, e.service.server, w)
	t.Events = all.events.Load()
	if n := all.ended.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d streams ended by themselves", n))
	}
	if err == nil && c.Query == idleQuery {
		err = all.expectRevocation(ctx, e, c.Followers)
	}
	return t, err
}

// idleMemory is the service's own memory when it is idle and its garbage collected, in bytes.
func (e *env) idleMemory(ctx context.Context) (int64, error) {
	if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
		return 0, err
	}
	if err := e.service.collectGarbage(ctx); err != nil {
		return 0, err
	}
	f, err := e.service.memory()
	return f.Anonymous, err
}

// streams count what followers receive.
type streams struct{ events, ended atomic.Int64 }

// open opens the streams of a set, from the ledger's end on, and returns when all have begun.
func (s *streams) open(ctx context.Context, e *env, c followerSet) error {
	var page struct {
		Next  string `json:"next_cursor"`
		AtEnd bool   `json:"at_end"`
	}
	for !page.AtEnd {
		if err := e.root(ctx, http.MethodGet, "/v1/events?"+idleQuery+"&cursor="+page.Next, nil, &page); err != nil {
			return err
		}
	}
	for range c.Followers {
		req, err := newRequest(ctx, http.MethodGet, e.service.url("/v1/events?"+c.Query+"&cursor="+page.Next), e.rootKey, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := do(req)
		if err != nil {
			return err
		}
		go s.read(ctx, res.Body)
	}
	return nil
}

// read counts the events of one stream until ctx ends.
func (s *streams) read(ctx context.Context, body io.ReadCloser) {
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 16<<10), 1<<20)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte("data: ")) {
			s.events.Add(1)
		}
	}
	if ctx.Err() == nil {
		s.ended.Add(1)
	}
}

// expectRevocation revokes a key and waits until every follower was sent that.
func (s *streams) expectRevocation(ctx context.Context, e *env, followers int) error {
	const timeout, pause = 30 * time.Second, 5 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	made, err := e.createKey(ctx, fields{"org_id": e.population.Orgs[0], "name": "revoked"})
	if err != nil {
		return err
	}
	before := s.events.Load()
	if err := e.act(ctx, made.Key.ID, "revoke"); err != nil {
		return err
	}
	for s.events.Load() < before+int64(followers) {
		if err := backoff.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("%d of %d followers were sent a revocation: %w", s.events.Load()-before, followers, err)
		}
	}
	return nil
}

func followersTable(r *report) string {
	t := table{
		before: "## Followers\n\nVerification with followers of the event stream, durable, at the largest number of connections. Medians of the rounds; shares are of the turn without followers in the same round, with their range. The readers of the streams\n" +
			"are in the bench's process, on the same processors. Each follower of `type=key.revoked` was sent the revocation that ended its turn.\n",
		columns: "followers> | of | verifications/s> | share> | p99 µs> | p99 share> | service CPU µs per answer> | memory per follower> | events received/s>",
	}
	seen := map[followerSet]bool{}
	for _, x := range r.Followers {
		if !seen[x.followerSet] {
			seen[x.followerSet] = true
			r.followersRow(&t, x.followerSet)
		}
	}
	return t.String()
}

func (r *report) followersRow(b *table, c followerSet) {
	var rate, share, p99, tail, cpu, memory, events []float64
	for _, t := range r.Followers {
		if t.followerSet != c {
			continue
		}
		none := r.Followers[slices.IndexFunc(r.Followers, func(n followersTrial) bool { return n.Round == t.Round && n.Followers == 0 })]
		rate, share = append(rate, t.PerSecond), append(share, t.PerSecond/none.PerSecond)
		p99, tail = append(p99, t.P99), append(tail, t.P99/none.P99)
		cpu, events = append(cpu, t.Processor/float64(t.Answers)*1e6), append(events, float64(t.Events)/r.Duration)
		memory = append(memory, float64(t.With-t.Before)/float64(max(1, t.Followers))/1000)
	}
	query, each := "everything", ""
	switch {
	case c.Query != "":
		query = "`" + c.Query + "`"
	case c.Followers == 0:
		query = ""
	}
	if c.Followers >= 100 { // the memory of fewer is within what the rest of the process varies by
		each = fmt.Sprintf("%.0f kB", median(memory))
	}
	b.row("%d | %s | %.0f | **%.2f** (%.2f–%.2f) | %.0f | %.2f | %.1f | %s | %.0f", c.Followers, query, median(rate), median(share),
		slices.Min(share), slices.Max(share), median(p99), median(tail), median(cpu), each, median(events))
}
