package verify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// refusals count presented secrets that belong to no key within the asker's reach, and
// write one summary for each asker every few seconds: a flood of them stays a trickle.
type refusals struct {
	ledger *eventstore.Ledger
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex
	counts map[string]*refusal
}

type refusal struct {
	org   domain.OrgID
	event domain.CredentialsRefused
}

const (
	summaryEvery = 10 * time.Second
	maxAskers    = 1000 // askers with a summary of their own; the rest share one
)

func newRefusals(l *eventstore.Ledger, now func() time.Time, log *slog.Logger) *refusals {
	return &refusals{ledger: l, now: now, log: log, counts: map[string]*refusal{}}
}

func (r *refusals) count(by domain.Principal, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[by.ID]
	if c == nil {
		if len(r.counts) >= maxAskers {
			by = domain.Principal{ID: "others", Org: domain.Installation}
		}
		if c = r.counts[by.ID]; c == nil {
			c = &refusal{by.Org, domain.CredentialsRefused{Principal: by.ID, From: at}}
			r.counts[by.ID] = c
		}
	}
	c.event.Count++
	c.event.To = at
}

// write puts the summaries on the ledger. One that fails is counted on.
func (r *refusals) write(ctx context.Context) {
	r.mu.Lock()
	counts := r.counts
	r.counts = map[string]*refusal{}
	r.mu.Unlock()
	for id, c := range counts {
		if _, err := r.ledger.AppendRefused(ctx, c.org, c.event); err != nil {
			r.log.ErrorContext(ctx, "summary of refused credentials not recorded", "principal", id, "err", err)
			r.putBack(id, c)
		}
	}
}

func (r *refusals) putBack(id string, c *refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.counts[id]; now != nil {
		c.event.Count += now.event.Count
		c.event.To = now.event.To
	}
	r.counts[id] = c
}
