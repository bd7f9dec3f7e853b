package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A rate is how fast the API took one kind of write. Latencies are in microseconds.
type rate struct {
	Connections int     `json:"connections"`
	Count       int     `json:"count"`
	PerSecond   float64 `json:"per_second"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
}

// A refusing is how soon a revoked key is refused: from the moment that the revocation's
// acknowledgement arrives to the moment that the first refusal does. Late counts the
// valid answers to questions asked after the acknowledgement; there must be none.
type refusing struct {
	Keys  int     `json:"keys"`
	Asked int64   `json:"asked"` // verifications of these keys, before and after
	Late  int64   `json:"valid_after_acknowledgement"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	Max   float64 `json:"max_us"`
}

// createAndRevoke measures both through the API, count of each at every number of
// connections.
func (d *deployment) createAndRevoke(ctx context.Context, s *service, count int, connections ...int) (created, revoked []rate, err error) {
	for _, n := range connections {
		c := newClient(s.address, d.root, n)
		ids := make([]string, count)
		r, err := inParallel(n, count, func(i int) error {
			made, err := c.create(ctx, newKey{
				OrgID: string(d.orgs[i%len(d.orgs)]), Name: fmt.Sprintf("created %d/%d", n, i), Owner: ownerOf(i),
				Scopes: []string{askedScope}, Metadata: map[string]string{"environment": "production", "team": "team-1"},
			})
			ids[i] = made.Key.ID
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		created = append(created, r)
		r, err = inParallel(n, count, func(i int) error {
			return c.act(ctx, ids[i], "revoke", map[string]string{"reason": "superseded"})
		})
		if err != nil {
			return nil, nil, err
		}
		revoked = append(revoked, r)
		c.close()
	}
	return created, revoked, nil
}

// inParallel does work 0 to count-1 on as many goroutines as there are connections.
func inParallel(connections, count int, work func(i int) error) (rate, error) {
	var next atomic.Int64
	var mu sync.Mutex
	var latencies histogram
	var g errgroup.Group
	begin := time.Now()
	for range connections {
		g.Go(func() error {
			var mine histogram
			defer func() { mu.Lock(); latencies.add(&mine); mu.Unlock() }()
			for {
				i := int(next.Add(1) - 1)
				if i >= count {
					return nil
				}
				asked := time.Now()
				if err := work(i); err != nil {
					return err
				}
				mine.record(time.Since(asked))
			}
		})
	}
	err := g.Wait()
	return rate{
		Connections: connections, Count: count, PerSecond: float64(count) / time.Since(begin).Seconds(),
		P50: micros(latencies.quantile(.5)), P99: micros(latencies.quantile(.99)),
	}, err
}

// revokeWhileVerifying revokes keys, one after the other, while several connections ask
// about each without pause.
func (d *deployment) revokeWhileVerifying(ctx context.Context, s *service, keys int) (refusing, error) {
	const askers = 3
	root, verifier := newClient(s.address, d.root, 1), newClient(s.address, d.verifier.Secret, askers)
	defer root.close()
	defer verifier.close()
	r := refusing{Keys: keys}
	var delays histogram
	for i := range keys {
		made, err := root.create(ctx, newKey{OrgID: string(d.orgs[0]), Name: fmt.Sprintf("revoked %d", i), Scopes: []string{askedScope}})
		if err != nil {
			return r, err
		}
		w := &witness{answered: make(chan struct{})}
		g, gctx := errgroup.WithContext(ctx)
		for range askers {
			g.Go(func() error { return w.watch(gctx, d, verifier, made) })
		}
		select {
		case <-w.answered: // the key is in use when it is revoked
		case <-gctx.Done():
		}
		err = root.act(ctx, made.Key.ID, "revoke", map[string]string{"reason": "key_compromise"})
		w.acknowledge(err)
		if err := g.Wait(); err != nil {
			return r, err
		}
		if err != nil {
			return r, err
		}
		delays.record(w.refused.Sub(w.acknowledged))
		r.Late += w.late
		r.Asked += w.asked
	}
	r.P50, r.P99, r.Max = micros(delays.quantile(.5)), micros(delays.quantile(.99)), micros(delays.max)
	return r, nil
}

// A witness is what several askers saw of one key while it was revoked.
type witness struct {
	mu           sync.Mutex
	answered     chan struct{} // closed at the first answer
	acknowledged time.Time
	failed       bool
	refused      time.Time // the first refusal of a question asked after the acknowledgement
	asked, late  int64
}

func (w *witness) acknowledge(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acknowledged, w.failed = time.Now(), err != nil
}

// watch asks about the key until it is refused after its revocation was acknowledged.
func (w *witness) watch(ctx context.Context, d *deployment, c *client, k madeKey) error {
	for {
		asked := time.Now()
		v, err := d.verify(ctx, c, question{Key: k.Secret, Scopes: []string{askedScope}})
		if err != nil {
			return err
		}
		if v.KeyID != k.Key.ID || v.Code != "VALID" && v.Code != "REVOKED" {
			return fmt.Errorf("%s was answered %+v", k.Key.ID, v)
		}
		if w.see(asked, v) {
			return nil
		}
	}
}

func (w *witness) see(asked time.Time, v verdict) (done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked++; w.asked == 1 {
		close(w.answered)
	}
	after := !w.acknowledged.IsZero() && asked.After(w.acknowledged)
	switch {
	case !after:
		return false
	case v.Valid:
		w.late++
		return w.late > 1000 || w.failed // enough is known
	case w.refused.IsZero():
		w.refused = time.Now()
	}
	return true
}
