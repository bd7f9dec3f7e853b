package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// A writeRate is how fast one kind of write was taken.
type writeRate struct {
	Connections int     `json:"connections"`
	Count       int     `json:"count"`
	PerSecond   float64 `json:"per_second"`
	percentiles
}

// writes measures keys created and revoked through the API, as many of each at every number
// of connections.
func writes(ctx context.Context, e *env) error {
	for _, n := range []int{1, 32} {
		ids := make([]domain.KeyID, e.writes)
		created, err := inParallel(ctx, n, e.writes, func(i int) error {
			made, err := e.createKey(ctx, fields{
				"org_id": e.population.Orgs[i%e.orgs], "name": fmt.Sprintf("created %d/%d", n, i), "owner": ownerOf(i),
				"scopes": []string{askedScope}, "metadata": fields{"environment": "production", "team": "team-1"},
			})
			ids[i] = made.Key.ID
			return err
		})
		if err != nil {
			return err
		}
		revoked, err := inParallel(ctx, n, e.writes, func(i int) error { return e.act(ctx, ids[i], "revoke") })
		if err != nil {
			return err
		}
		e.report.Created, e.report.Revoked = append(e.report.Created, created), append(e.report.Revoked, revoked)
	}
	return nil
}

// inParallel does work 0 to count-1 on as many goroutines as there are connections.
func inParallel(ctx context.Context, connections, count int, work func(i int) error) (writeRate, error) {
	var next atomic.Int64
	each := make([]latencies, connections)
	g, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for c := range connections {
		g.Go(func() error {
			for i := int(next.Add(1) - 1); i < count; i = int(next.Add(1) - 1) {
				took, err := timed(func() error { return work(i) })
				if err := cmp.Or(err, ctx.Err()); err != nil {
					return err
				}
				each[c] = append(each[c], took)
			}
			return nil
		})
	}
	err := g.Wait()
	perSecond := float64(count) / time.Since(begin).Seconds()
	return writeRate{connections, count, perSecond, slices.Concat(each...).percentiles()}, err
}

func writesTargets(r *report) []target {
	i := slices.IndexFunc(r.Created, func(w writeRate) bool { return w.Connections == 32 })
	if i < 0 {
		return nil
	}
	rate := r.Created[i].PerSecond
	return []target{{"creates by 32 connections", "≥ 5000/s", fmt.Sprintf("%.0f", rate), rate < 5000}}
}

func writesTable(r *report) string {
	t := table{
		before:  "## The rest of the API, at the largest number of keys, durable\n",
		columns: "| connections> | per second> | p50 µs> | p99 µs>",
	}
	for _, w := range r.Created {
		t.row("create | %d | %.0f | %.0f | %.0f", w.Connections, w.PerSecond, w.P50, w.P99)
	}
	for _, w := range r.Revoked {
		t.row("revoke | %d | %.0f | %.0f | %.0f", w.Connections, w.PerSecond, w.P50, w.P99)
	}
	return t.String()
}
