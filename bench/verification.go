package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
)

// A trial is one server under load for one duration.
type trial struct {
	Round       int     `json:"round"`
	Server      state   `json:"server"` // bare, relaxed or durable
	Connections int     `json:"connections"`
	Rival       state   `json:"rival"` // whose service the bare handler is compared with
	Processor   float64 `json:"server_cpu_seconds"`
	After       float64 `json:"server_cpu_seconds_after"` // of work left behind when the load ended
	measurement
}

const bare state = "bare" // the bare handler, not the service

// verification loads the service and the bare handler alternately.
func verification(ctx context.Context, e *env) error {
	_, answer, err := e.verify(ctx, question{Key: secretOf(0).Reveal(), Scopes: []string{askedScope}})
	if err != nil {
		return err
	}
	handler, err := startChild(ctx, "baseline", e.profile("bare-"+string(e.service.uses)))
	if err != nil {
		return err
	}
	baseline := server{pid: handler.cmd.Process.Pid}
	if err := handler.ask(answer, &baseline.address); err != nil {
		return err
	}
	return errors.Join(e.trials(ctx, baseline), handler.stop())
}

// trials loads both servers at each number of connections, in an order that changes with the round.
func (e *env) trials(ctx context.Context, baseline server) error {
	servers := []state{bare, e.service.uses}
	for round := range e.rounds {
		for _, n := range e.connections {
			for _, name := range servers {
				t := trial{Round: round, Server: name, Connections: n, Rival: e.service.uses}
				if err := e.trial(ctx, baseline, &t); err != nil {
					return fmt.Errorf("%s at %d connections: %w", name, n, err)
				}
				e.logf("  round %d, %3d connections, %-7s: %7.0f requests/s, p50 %6.0f µs, p99 %6.0f µs", t.Round+1, n, name, t.PerSecond, t.P50, t.P99)
				e.result.Rounds = append(e.result.Rounds, t)
			}
		}
		slices.Reverse(servers)
	}
	return nil
}

// trial waits in the end until the server rests: what one load leaves behind must not
// burden the next trial.
func (e *env) trial(ctx context.Context, baseline server, t *trial) error {
	target := baseline
	var profiled errgroup.Group
	if t.Server != bare {
		target = e.service.server
		if file := e.profile(fmt.Sprintf("%s-%d", t.Server, t.Connections)); file != "" && t.Round == 0 {
			profiled.Go(func() error { return e.service.saveProfile(ctx, file, e.warmUp+e.duration) })
		}
	}
	o := e.evenly(t.Connections, e.duration)
	o.WarmUp, o.CheckKeys = e.warmUp, e.smoke && t.Server != bare
	var err error
	t.measurement, t.Processor, err = e.load(ctx, target, o)
	if err := errors.Join(err, profiled.Wait()); err != nil {
		return err
	}
	t.After, err = e.untilIdle(ctx, target.pid)
	return err
}

// A configuration is a durability of the service and the number of connections to it.
type configuration struct {
	uses        state
	connections int
}

func (r *report) configurations() (all []configuration) {
	for _, uses := range []state{relaxed, durable} {
		for _, n := range r.Connections {
			all = append(all, configuration{uses, n})
		}
	}
	return all
}

// A comparison is a configuration against the bare handler: medians over the rounds. A ratio is the
// median of the ratios of the rounds.
type comparison struct {
	bare, service             summary
	ratio, ratioMin, ratioMax float64
	p99Ratio                  float64
}

type summary struct{ perSecond, p50, p99, cpu, after float64 }

func (r *result) compare(p configuration) comparison {
	var bares, services []trial
	for _, t := range r.Rounds {
		switch {
		case t.Connections != p.connections || t.Rival != p.uses:
		case t.Server == bare:
			bares = append(bares, t)
		default:
			services = append(services, t)
		}
	}
	var ratios, tails []float64
	for i := range services {
		ratios = append(ratios, services[i].PerSecond/bares[i].PerSecond)
		tails = append(tails, services[i].P99/bares[i].P99)
	}
	return comparison{summarize(bares), summarize(services), median(ratios), slices.Min(ratios), slices.Max(ratios), median(tails)}
}

func summarize(trials []trial) summary {
	of := func(figure func(trial) float64) float64 {
		var all []float64
		for _, t := range trials {
			all = append(all, figure(t))
		}
		return median(all)
	}
	return summary{
		perSecond: of(func(t trial) float64 { return t.PerSecond }),
		p50:       of(func(t trial) float64 { return t.P50 }),
		p99:       of(func(t trial) float64 { return t.P99 }),
		cpu:       of(func(t trial) float64 { return t.Processor / float64(t.Answers) * 1e6 }),
		after:     of(func(t trial) float64 { return t.After / float64(t.Answers) * 1e6 }),
	}
}

// verificationTargets are of the largest size. Below 128 connections a durable service has
// none for its rate: they are too few to share the cost of an fsync.
func verificationTargets(r *report) (all []target) {
	last := r.largest()
	if last == nil || last.Rounds == nil {
		return nil
	}
	first := r.Sizes[0]
	least := map[state]float64{relaxed: 0.8, durable: 0.6}
	for _, p := range r.configurations() {
		c, where := last.compare(p), fmt.Sprintf("%s, %d connections, %s: ", p.uses, p.connections, last.size())
		share := target{where + "share of the bare handler's requests/s", fmt.Sprintf("≥ %.1f", least[p.uses]),
			fmt.Sprintf("%.2f (%.2f to %.2f)", c.ratio, c.ratioMin, c.ratioMax), c.ratio < least[p.uses]}
		if p.uses == durable && p.connections < 128 {
			share.want, share.missed = noTarget, false
		}
		all = append(all, share, target{where + "p99 as a multiple of the bare handler's", "< 3", fmt.Sprintf("%.2f", c.p99Ratio), c.p99Ratio >= 3})
	}
	if first == last {
		return all
	}
	for _, p := range r.configurations() {
		share := last.compare(p).ratio / first.compare(p).ratio
		what := fmt.Sprintf("%s, %d connections: ratio at %s as a share of that at %d", p.uses, p.connections, last.size(), first.Keys)
		all = append(all, target{what, "about 1 (flat)", fmt.Sprintf("%.2f", share), share < 0.9})
	}
	return all
}

func verificationTable(r *report) string {
	t := table{
		before: "## Verification\n\nMedians of the rounds; ratio with its range. CPU is the server's processor time for each answer, and what it went on to\n" +
			"use after the load had ended (usage counts, compaction), while the rival's turn waited.\n",
		columns: "keys> | uses | connections> | bare req/s> | service req/s> | ratio> | bare p50 / p99 µs> | service p50 / p99 µs> | p99 ratio> | bare CPU µs> | service CPU µs> | after µs>",
	}
	for _, s := range r.Sizes {
		for _, p := range r.configurations() {
			if s.Rounds == nil {
				continue
			}
			c := s.compare(p)
			t.row("%d | %s | %d | %.0f | %.0f | **%.2f** (%.2f–%.2f) | %.0f / %.0f | %.0f / %.0f | %.2f | %.1f | %.1f | %.1f",
				s.Keys, p.uses, p.connections, c.bare.perSecond, c.service.perSecond, c.ratio, c.ratioMin, c.ratioMax, c.bare.p50, c.bare.p99,
				c.service.p50, c.service.p99, c.p99Ratio, c.bare.cpu, c.service.cpu, c.service.after)
		}
	}
	return t.String()
}
