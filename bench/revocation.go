package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// A refusalDelay is how soon a revoked key is refused: from the moment that the revocation's
// acknowledgement arrives to the moment that the first refusal does. Late counts the
// valid answers to questions asked after the acknowledgement; there must be none.
type refusalDelay struct {
	Keys  int   `json:"keys"`
	Asked int64 `json:"asked"` // verifications of these keys, before and after
	Late  int64 `json:"valid_after_acknowledgement"`
	percentiles
}

func revocation(ctx context.Context, e *env) (err error) {
	e.report.Refusal, err = e.revokeInUse(ctx)
	return err
}

// revocationUnderLoad is the same while the generator keeps the service busy.
func revocationUnderLoad(ctx context.Context, e *env) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, _, err := e.load(ctx, e.service.server, e.evenly(32, e.duration))
		return err
	})
	g.Go(func() (err error) {
		e.report.RefusalBusy, err = e.revokeInUse(ctx)
		return err
	})
	return g.Wait()
}

// revokeInUse revokes keys, one after the other, each while it is being verified.
func (e *env) revokeInUse(ctx context.Context) (*refusalDelay, error) {
	r := &refusalDelay{Keys: e.revocations}
	var delays latencies
	for range e.revocations {
		o, err := e.observeRevocation(ctx)
		if err != nil {
			return nil, err
		}
		delays = append(delays, o.refused.Sub(o.acknowledged))
		r.Late += o.late
		r.Asked += o.asked
	}
	r.percentiles = delays.percentiles()
	if r.Late > 0 {
		return r, fmt.Errorf("%d verifications of revoked keys were answered VALID after the revocation was acknowledged", r.Late)
	}
	return r, nil
}

// observeRevocation revokes a new key while several connections ask about it without pause.
func (e *env) observeRevocation(ctx context.Context) (*observation, error) {
	const askers = 3
	made, err := e.createKey(ctx, fields{"org_id": e.population.Orgs[0], "name": "revoked", "scopes": []string{askedScope}})
	if err != nil {
		return nil, err
	}
	o := &observation{answered: make(chan struct{})}
	g, ctx := errgroup.WithContext(ctx)
	for range askers {
		g.Go(func() error { return o.verifyUntilRefused(ctx, e, made) })
	}
	g.Go(func() error {
		select {
		case <-o.answered: // the key is in use when it is revoked
		case <-ctx.Done():
		}
		err := e.act(ctx, made.Key.ID, "revoke")
		o.acknowledge(time.Now())
		return err
	})
	return o, g.Wait()
}

// An observation is what several askers saw of one key while it was revoked.
type observation struct {
	mu           sync.Mutex
	answered     chan struct{} // closed at the first answer
	acknowledged time.Time
	refused      time.Time // the first refusal of a question asked after the acknowledgement
	asked, late  int64
}

func (o *observation) acknowledge(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acknowledged = at
}

// verifyUntilRefused asks about the key until it is refused after its revocation was acknowledged.
func (o *observation) verifyUntilRefused(ctx context.Context, e *env, k madeKey) error {
	for {
		asked := time.Now()
		v, _, err := e.verify(ctx, question{Key: k.Secret, Scopes: []string{askedScope}})
		if err != nil {
			return err
		}
		if v.KeyID != k.Key.ID || v.Code != domain.UseValid && v.Code != domain.UseRevoked {
			return fmt.Errorf("%s was answered %+v", k.Key.ID, v)
		}
		if o.record(asked, v) {
			return nil
		}
	}
}

// record takes note of an answer and says whether its asker is done.
func (o *observation) record(asked time.Time, v verdict) (done bool) {
	const enough = 1000
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if o.asked == 1 {
		close(o.answered)
	}
	after := !o.acknowledged.IsZero() && asked.After(o.acknowledged)
	switch {
	case !after:
		return false
	case v.Valid:
		o.late++
		return o.late > enough
	case o.refused.IsZero():
		o.refused = time.Now()
	}
	return true
}

func revocationTargets(r *report) []target {
	if r.RefusalBusy == nil {
		return nil
	}
	late, asked := r.Refusal.Late+r.RefusalBusy.Late, r.Refusal.Asked+r.RefusalBusy.Asked
	return []target{{"valid answers after a revocation was acknowledged", "0", fmt.Sprintf("%d of %d asked", late, asked), late > 0}}
}

func revocationTable(r *report) string {
	t := table{
		before:  "From a revocation's acknowledgement to the first refusal, each key under three askers:\n",
		columns: "| keys> | asked> | valid after> | p50 µs> | p99 µs> | max µs>",
	}
	add := func(name string, x *refusalDelay) {
		t.row("%s | %d | %d | %d | %.0f | %.0f | %.0f", name, x.Keys, x.Asked, x.Late, x.P50, x.P99, x.Max)
	}
	if r.RefusalBusy != nil {
		add("otherwise quiet", r.Refusal)
		add("32 other connections verifying", r.RefusalBusy)
	}
	return t.String()
}
