package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A historyLatency is how long the first page of histories of one kind took, at one number of
// uses on the ledger.
type historyLatency struct {
	Uses  int    `json:"uses"`
	Of    string `json:"of"`
	Order string `json:"order"`
	Cache string `json:"cache"`
	Pages int    `json:"pages"`
	percentiles
}

const historyPage = 100 // events

// What is asked for: keys at random, the busiest key, organizations at random.
const (
	ofKey, ofBusiest, ofOrg = "a key", "the busiest key", "an organization"
	cold, warm              = "cold", "warm"
)

// history fills the ledger with n uses, and asks the service for first pages: of each history once
// when neither the service nor the operating system has read its rows since they started, then again.
func history(n int) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		if err := e.index(ctx, n); err != nil {
			return err
		}
		for _, order := range []string{"desc", "asc"} {
			asked := e.histories(order)
			for _, of := range []string{ofKey, ofBusiest, ofOrg} {
				for _, cache := range []string{cold, warm} {
					took, err := e.readHistories(ctx, asked[of], order, cache)
					if err != nil {
						return fmt.Errorf("%s of %s: %w", order, of, err)
					}
					h := historyLatency{n, of, order, cache, len(took), took.percentiles()}
					e.logf("  %8d uses, %-15s, %-4s, %s: p50 %6.0f µs, p99 %6.0f µs", n, of, order, cache, h.P50, h.P99)
					e.report.Histories = append(e.report.Histories, h)
				}
			}
		}
		return nil
	}
}

// index starts the service on n uses, waits until its read model has them, and starts it again
// with nothing of its files in the page cache.
func (e *env) index(ctx context.Context, n int) error {
	if err := e.fillUses(ctx, n); err != nil {
		return err
	}
	if err := e.startIdle(ctx); err != nil {
		return err
	}
	if err := e.stopService(); err != nil {
		return err
	}
	drop := exec.CommandContext(ctx, "find", e.data(), "-type", "f", "-exec", "dd", "of={}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none", ";")
	if out, err := drop.CombinedOutput(); err != nil {
		return fmt.Errorf("drop the page cache: %w: %s", err, out)
	}
	return e.startIdle(ctx)
}

// startIdle starts the service and waits until its read model has all that is on the ledger.
func (e *env) startIdle(ctx context.Context) error {
	if err := e.startService(ctx, durable); err != nil {
		return err
	}
	_, err := e.untilIdle(ctx, e.service.pid)
	return err
}

// A historyOf is one history: its question, and the first page of the answer, oldest first or newest.
type historyOf struct {
	query  url.Values
	events int   // of the key, or the organization and its keys, before all uses
	uses   []int // numbers of the uses that were filled, in the order of the ledger
}

// histories are different ones for each order.
func (e *env) histories(order string) map[string][]*historyOf {
	all, byKey, byOrg := map[string][]*historyOf{}, map[int]*historyOf{}, map[domain.OrgID]*historyOf{}
	ask := func(of, parameter, id string, events int) *historyOf {
		h := &historyOf{events: events, query: url.Values{parameter: {id}, "order": {order}, "limit": {strconv.Itoa(historyPage)}}}
		all[of] = append(all[of], h)
		return h
	}
	byKey[0] = ask(ofBusiest, "key_id", string(keyOf(0)), 1)
	for i := range e.pages {
		draw := drawUse(-1-i, e.keys)
		key := 1 + int(draw.request%uint64(e.keys-1))
		if order == "asc" {
			key = 1 + int(uint64(draw.address)%uint64(e.keys-1))
		}
		if byKey[key] == nil {
			byKey[key] = ask(ofKey, "key_id", string(keyOf(key)), 1)
		}
		org := e.population.orgOf(key)
		if byOrg[org] == nil {
			byOrg[org] = ask(ofOrg, "org_id", string(org), 1+e.keysOf(org))
		}
	}
	for _, m := range e.uses.order() {
		for j := m * usesPerMessage; j < (m+1)*usesPerMessage; j++ {
			key := drawUse(j, e.keys).key
			if h := byKey[key]; h != nil {
				h.uses = append(h.uses, j)
			}
			if h := byOrg[e.population.orgOf(key)]; h != nil {
				h.uses = append(h.uses, j)
			}
		}
	}
	return all
}

// keysOf is the number of keys of an organization, in turn.
func (e *env) keysOf(org domain.OrgID) int {
	i := slices.Index(e.population.Orgs, org)
	return (e.keys - i + e.orgs - 1) / e.orgs
}

// order is the numbers of the messages in the order of their positions.
func (log usesLog) order() []int {
	all := make([]int, len(log))
	for m := range all {
		all[m] = m
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(log[a], log[b]) })
	return all
}

// readHistories asks for all of them and, warm, again until there are as many pages as are wanted.
func (e *env) readHistories(ctx context.Context, all []*historyOf, order, cache string) (took latencies, err error) {
	n := len(all)
	if cache == warm {
		n = max(n, e.pages)
	}
	for i := range n {
		h := all[i%len(all)]
		begin := time.Now()
		answer, err := call(ctx, http.MethodGet, e.service.url("/v1/events?"+h.query.Encode()), e.rootKey, nil)
		took = append(took, time.Since(begin))
		if err == nil {
			err = h.check(answer, order, e.keys)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.query.Encode(), err)
		}
	}
	return took, nil
}

// check compares a page with the one that it must be, use by use.
func (h *historyOf) check(answer []byte, order string, keys int) error {
	var got struct {
		Items []struct{ Type, Subject, CorrelationID string }
		AtEnd bool `json:"at_end"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return err
	}
	var want, found []string
	for range h.events {
		want = append(want, "event")
	}
	for _, j := range h.uses {
		u := drawUse(j, keys)
		want = append(want, string(keyOf(u.key))+" "+u.requestID())
	}
	if order == "desc" {
		slices.Reverse(want)
	}
	for _, item := range got.Items {
		if item.Type == "key.used" {
			found = append(found, item.Subject+" "+item.CorrelationID)
		} else {
			found = append(found, "event")
		}
	}
	atEnd := len(want) <= historyPage
	if want = want[:min(len(want), historyPage)]; !slices.Equal(found, want) || got.AtEnd != atEnd {
		return fmt.Errorf("a page has %v (at its end: %t), want %v (%t)", found, got.AtEnd, want, atEnd)
	}
	return nil
}

func historyTargets(r *report) (all []target) {
	for _, h := range r.Histories {
		if h.Cache == warm && h.Uses == r.Histories[len(r.Histories)-1].Uses {
			all = append(all, target{fmt.Sprintf("first page of %s's history, %s, at %d uses: p50 and p99", h.Of, h.Order, h.Uses), "< 10 and 50 ms",
				fmt.Sprintf("%.1f and %.1f ms", h.P50/1e3, h.P99/1e3), h.P50 >= 10e3 || h.P99 >= 50e3})
		}
	}
	return all
}

func historyTable(r *report) string {
	t := table{
		before:  fmt.Sprintf("## Histories\n\nFirst pages of %d events, by a client alone; desc: the newest first. Cold: asked for the first time after a start with nothing in the page cache.\n", historyPage),
		columns: "uses> | of | order | cache | pages> | p50 µs> | p99 µs> | max µs>",
	}
	for _, h := range r.Histories {
		t.row("%d | %s | %s | %s | %d | %.0f | %.0f | %.0f", h.Uses, h.Of, h.Order, h.Cache, h.Pages, h.P50, h.P99, h.Max)
	}
	return t.String()
}
