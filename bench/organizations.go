package main

import (
	"context"
	"fmt"
	"slices"
)

// An orgsTrial is the service under one mix of load for one duration.
type orgsTrial struct {
	Round int   `json:"round"`
	Uses  state `json:"uses"`
	Mix   mix   `json:"mix"`
	measurement
}

// A mix is whose keys are presented. The first half of the keys belong to one organization,
// the other half to many.
type mix string

const (
	mixOne    mix = "one organization"
	mixMany   mix = "many organizations"
	mixUneven mix = "many, beside one that sends nine tenths" // percentiles are of the many
)

// sources of n connections. They are closed loops: as many of them are as much load.
func (m mix) sources(n, half int) []source {
	switch m {
	case mixOne:
		return []source{{Connections: n, Keys: half}}
	case mixMany:
		return []source{{Connections: n, From: half, Keys: half}}
	}
	others := max(1, n/10)
	return []source{{Connections: n - others, Keys: half}, {Connections: others, From: half, Keys: half}}
}

// organizations loads the service with each mix, in an order that changes with the round.
func organizations(ctx context.Context, e *env) error {
	mixes := []mix{mixOne, mixMany, mixUneven}
	for round := range e.rounds {
		for _, m := range mixes {
			t := orgsTrial{Round: round, Uses: e.service.uses, Mix: m}
			w := workload{Sources: m.sources(slices.Max(e.connections), e.first), WarmUp: e.warmUp, Duration: e.duration, CheckKeys: e.smoke}
			var err error
			if t.measurement, _, err = e.load(ctx, e.service.server, w); err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
			e.logf("  round %d, %-39s: %7.0f verifications/s, p50 %6.0f µs, p99 %6.0f µs", round+1, m, t.PerSecond, t.P50, t.P99)
			e.report.Organizations = append(e.report.Organizations, t)
			if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
				return err
			}
		}
		slices.Reverse(mixes)
	}
	return nil
}

// orgsFigures are one figure of each round.
func (r *report) orgsFigures(uses state, m mix, figure func(orgsTrial) float64) (all []float64) {
	for _, t := range r.Organizations {
		if t.Uses == uses && t.Mix == m {
			all = append(all, figure(t))
		}
	}
	return all
}

// orgsRatio is the median of the ratios of the rounds.
func (r *report) orgsRatio(uses state, m, to mix, figure func(orgsTrial) float64) float64 {
	all, base := r.orgsFigures(uses, m, figure), r.orgsFigures(uses, to, figure)
	for i := range all {
		all[i] /= base[i]
	}
	return median(all)
}

func orgsRate(t orgsTrial) float64 { return t.PerSecond }
func orgsTail(t orgsTrial) float64 { return t.P99 }

func organizationsTargets(r *report) (all []target) {
	if r.Organizations == nil {
		return nil
	}
	for _, uses := range []state{relaxed, durable} {
		rate, tail := r.orgsRatio(uses, mixMany, mixOne, orgsRate), r.orgsRatio(uses, mixUneven, mixMany, orgsTail)
		all = append(all,
			target{string(uses) + ": verifications/s of many organizations as a share of one's", "≥ 0.9", fmt.Sprintf("%.2f", rate), rate < 0.9},
			target{string(uses) + ": p99 beside an organization that sends nine tenths of the load, as a multiple of an even load's", "≤ 2", fmt.Sprintf("%.2f", tail), tail > 2})
	}
	return all
}

func organizationsTable(r *report) string {
	t := table{
		before: "## Many organizations\n\nHalf of the keys belong to one organization and half to many; keys at random, turn by turn at the largest number of connections. Medians of the rounds;\n" +
			"beside the one that sends nine tenths, the latencies are those of the others, whose even load is that of many organizations.\n",
		columns: "uses | load | verifications/s> | p50 µs> | p99 µs>",
	}
	for _, uses := range []state{relaxed, durable} {
		for _, m := range []mix{mixOne, mixMany, mixUneven} {
			if rates := r.orgsFigures(uses, m, orgsRate); rates != nil {
				t.row("%s | %s | %.0f | %.0f | %.0f", uses, m, median(rates), median(r.orgsFigures(uses, m, func(t orgsTrial) float64 { return t.P50 })),
					median(r.orgsFigures(uses, m, orgsTail)))
			}
		}
	}
	return t.String()
}
