package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
)

// A sessionsTrial is the service under one of the loads.
type sessionsTrial struct {
	Round    int    `json:"round"`
	Uses     state  `json:"uses"`
	Load     string `json:"load"` // the name of a sessionsLoad
	Sessions bool   `json:"sessions"`
	measurement
}

// A sessionsLoad is questions about keys, and as many about sessions.
type sessionsLoad struct {
	name    string
	one     bool // the same credential each time, instead of one after the other
	product bool // at a keyspace that gives roles scopes; of keys: at their own
	beside  bool // writes to the ledger that have nothing to do with them
}

var sessionsLoads = []sessionsLoad{
	{name: "one", one: true},
	{name: "many"},
	{name: "many, at a product", product: true},
	{name: "many, beside 50 new keys a second", beside: true},
}

// createdASecond is how many keys are created beside a load. Each moves the read model on.
const createdASecond = 50

func (l sessionsLoad) source(e *env, sessions bool) source {
	from := source{Connections: slices.Max(e.connections), Keys: e.keys, Tokens: sessions}
	if l.one {
		from.Keys = 1
	}
	switch {
	case l.product && sessions:
		from.Named = productSpace
	case l.product:
		from.Named = domain.DefaultKeyspace
	}
	return from
}

// sessions puts the service under each load, keys and sessions turn by turn, in an order that changes
// with the round.
func sessions(ctx context.Context, e *env) error {
	turns := []bool{false, true}
	for round := range e.rounds {
		for _, l := range sessionsLoads {
			for _, ofSessions := range turns {
				t := sessionsTrial{Round: round, Uses: e.service.uses, Load: l.name, Sessions: ofSessions}
				if err := e.sessionsTrial(ctx, l, &t); err != nil {
					return fmt.Errorf("%s, sessions %t: %w", l.name, ofSessions, err)
				}
				e.logf("  round %d, %-35s, sessions: %-5t: %7.0f verifications/s, p50 %6.0f µs, p99 %6.0f µs", round+1, l.name, ofSessions, t.PerSecond, t.P50, t.P99)
				e.report.Sessions = append(e.report.Sessions, t)
			}
		}
		slices.Reverse(turns)
	}
	return nil
}

func (e *env) sessionsTrial(ctx context.Context, l sessionsLoad, t *sessionsTrial) error {
	busy, stop := context.WithCancel(ctx)
	defer stop()
	var beside errgroup.Group
	if l.beside {
		beside.Go(func() error { return e.createKeys(busy) })
	}
	if file := e.profile(fmt.Sprintf("sessions-%s-%s-%t", e.service.uses, l.name, t.Sessions)); file != "" && t.Round == 0 {
		beside.Go(func() error { return e.service.saveProfile(ctx, file, e.warmUp+e.duration) })
	}
	w := workload{Sources: []source{l.source(e, t.Sessions)}, Tokens: e.population.Tokens, WarmUp: e.warmUp, Duration: e.duration, CheckKeys: e.smoke}
	var err error
	t.measurement, _, err = e.load(ctx, e.service.server, w)
	stop()
	if err := errors.Join(err, beside.Wait()); err != nil {
		return err
	}
	_, err = e.untilIdle(ctx, e.service.pid)
	return err
}

// createKeys creates keys until ctx ends.
func (e *env) createKeys(ctx context.Context) error {
	return e.every(ctx, createdASecond, func(ctx context.Context, i int) error {
		body := fields{"org_id": e.population.Orgs[0], "name": fmt.Sprintf("beside %d", i)}
		return e.root(ctx, http.MethodPost, "/v1/keys", body, nil)
	})
}

// every does something so many times a second until ctx ends, however long each takes, and waits for
// all of them.
func (e *env) every(ctx context.Context, perSecond int, do func(ctx context.Context, i int) error) error {
	g, failed := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; failed.Err() == nil; i++ {
		select {
		case <-failed.Done():
		case <-tick.C:
			g.Go(func() error { return do(context.WithoutCancel(ctx), i) })
		}
	}
	return g.Wait()
}

// sessionsFigures are one figure of each round.
func (r *report) sessionsFigures(uses state, load string, sessions bool, figure func(sessionsTrial) float64) (all []float64) {
	for _, t := range r.Sessions {
		if t.Uses == uses && t.Load == load && t.Sessions == sessions {
			all = append(all, figure(t))
		}
	}
	return all
}

func sessionsRate(t sessionsTrial) float64 { return t.PerSecond }
func sessionsTail(t sessionsTrial) float64 { return t.P99 }

// wantSession is the share of the rate of keys that sessions are to have.
const wantSession = 0.9

func sessionsTargets(r *report) (all []target) {
	for _, uses := range []state{relaxed, durable} {
		for _, l := range sessionsLoads {
			keys, rates := r.sessionsFigures(uses, l.name, false, sessionsRate), r.sessionsFigures(uses, l.name, true, sessionsRate)
			if rates == nil {
				continue
			}
			for i := range rates {
				rates[i] /= keys[i]
			}
			ratio := median(rates)
			all = append(all, target{fmt.Sprintf("%s: verification of sessions (%s), as a share of the rate of keys", uses, l.name), fmt.Sprintf("≥ %.1f", wantSession),
				fmt.Sprintf("%.2f (%.2f to %.2f)", ratio, slices.Min(rates), slices.Max(rates)), ratio < wantSession})
		}
	}
	return all
}

func sessionsTable(r *report) string {
	t := table{
		before: "## Sessions\n\nVerification of keys and of sessions, turn by turn at the largest number of connections. There are as many of the one as of the other. A session's scopes are those of a role that its organization defined; at a\n" +
			"product the keyspace says which ones its role has. Medians of the rounds.\n",
		columns: "uses | credentials | keys/s> | sessions/s> | keys p99 µs> | sessions p99 µs>",
	}
	for _, uses := range []state{relaxed, durable} {
		for _, l := range sessionsLoads {
			if keys := r.sessionsFigures(uses, l.name, false, sessionsRate); keys != nil {
				t.row("%s | %s | %.0f | %.0f | %.0f | %.0f", uses, l.name, median(keys), median(r.sessionsFigures(uses, l.name, true, sessionsRate)),
					median(r.sessionsFigures(uses, l.name, false, sessionsTail)), median(r.sessionsFigures(uses, l.name, true, sessionsTail)))
			}
		}
	}
	return t.String()
}
