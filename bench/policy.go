package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// policyKeyspace is the keyspace of keys whose use depends on all that it can: scopes, networks, two
// rate limits and a requirement. Its secrets are as long as those of the others.
const policyKeyspace = "policy"

var policyFormat = domain.Format{Prefix: "kt_plcy_", Alphabet: domain.Base62, Length: 32, Checksum: domain.CRC32, Shown: 4}

func policySecretOf(i int) domain.Secret {
	random := derive("policy secret", i)
	shape := policyFormat.Shapes()[0]
	return shape.Mint(random[:])
}

// policyAddress is where those keys are presented from.
const policyAddress = "192.0.2.7"

// underPolicy makes e the event of such a key.
func underPolicy(i int, e *domain.KeyCreated) {
	secret, shape := policySecretOf(i), policyFormat.Shapes()[0]
	e.Keyspace, e.Digest, e.Prefix = policyKeyspace, secret.Digest(), shape.DisplayPrefix(secret)
	e.AllowedCIDRs = []string{"198.51.100.0/24", "192.0.2.0/24"}
	e.RateLimits = []domain.RateLimit{{Limit: 1e9, Window: domain.Duration(time.Minute)}, {Limit: 1e9, Window: domain.Duration(time.Hour)}}
}

// definePolicy defines the keyspace, and gives the owners of its keys what it requires.
func definePolicy(ctx context.Context, e *env) error {
	definition := fields{"format": policyFormat, "requirements": []fields{{"attribute": "discord_id"}}}
	if err := e.root(ctx, http.MethodPut, "/v1/keyspaces/"+policyKeyspace, definition, nil); err != nil {
		return err
	}
	known := map[string]bool{}
	for i := e.population.Policy; i < e.keys; i++ {
		known[ownerOf(i)] = true
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	_, err := inParallel(ctx, writers, len(names), func(i int) error {
		path := "/v1/owners/" + url.PathEscape(names[i]) + "/attributes?org_id=" + string(e.population.Orgs[0])
		return e.root(ctx, http.MethodPut, path, fields{"discord_id": "80351110224678912"}, nil)
	})
	return err
}

// A policyTrial is the service under load of keys with or without a policy.
type policyTrial struct {
	Round  int   `json:"round"`
	Uses   state `json:"uses"`
	Policy bool  `json:"policy"`
	measurement
}

// policy loads the service with plain keys and with those of a policy, in an order that changes with
// the round.
func policy(ctx context.Context, e *env) error {
	order, n, half := []bool{false, true}, slices.Max(e.connections), e.population.Policy
	for round := range e.rounds {
		for _, with := range order {
			from := source{Connections: n, Keys: half}
			if with {
				from = source{Connections: n, From: half, Keys: e.keys - half, IP: policyAddress}
			}
			t := policyTrial{Round: round, Uses: e.service.uses, Policy: with}
			var err error
			if t.measurement, _, err = e.load(ctx, e.service.server, workload{Sources: []source{from}, WarmUp: e.warmUp, Duration: e.duration, CheckKeys: e.smoke}); err != nil {
				return fmt.Errorf("with a policy %t: %w", with, err)
			}
			e.logf("  round %d, policy %-5t: %7.0f verifications/s, p50 %6.0f µs, p99 %6.0f µs", round+1, with, t.PerSecond, t.P50, t.P99)
			e.report.Policy = append(e.report.Policy, t)
			if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
				return err
			}
		}
		slices.Reverse(order)
	}
	return nil
}

// policyFigures are one figure of each round.
func (r *report) policyFigures(uses state, with bool, figure func(policyTrial) float64) (all []float64) {
	for _, t := range r.Policy {
		if t.Uses == uses && t.Policy == with {
			all = append(all, figure(t))
		}
	}
	return all
}

// policyRatio is the median of the ratios of the rounds.
func (r *report) policyRatio(uses state) float64 {
	all, plain := r.policyFigures(uses, true, policyRate), r.policyFigures(uses, false, policyRate)
	for i := range all {
		all[i] /= plain[i]
	}
	return median(all)
}

func policyRate(t policyTrial) float64 { return t.PerSecond }

func policyTargets(r *report) (all []target) {
	if r.Policy == nil {
		return nil
	}
	for _, uses := range []state{relaxed, durable} {
		ratio := r.policyRatio(uses)
		all = append(all, target{string(uses) + ": verifications/s of keys with scopes, networks, two limits and a requirement as a share of plain ones'", "≥ 0.85", fmt.Sprintf("%.2f", ratio), ratio < 0.85})
	}
	return all
}

func policyTable(r *report) string {
	t := table{
		before:  "## A keyspace with a policy\n\nHalf of the keys are plain, and the use of the others depends on scopes, networks, two rate limits and a requirement of their owner; turn by turn\nat the largest number of connections. Medians of the rounds.\n",
		columns: "uses | keys | verifications/s> | p50 µs> | p99 µs>",
	}
	for _, uses := range []state{relaxed, durable} {
		for i, name := range []string{"plain", "with a policy"} {
			with := i == 1
			if rates := r.policyFigures(uses, with, policyRate); rates != nil {
				t.row("%s | %s | %.0f | %.0f | %.0f", uses, name, median(rates), median(r.policyFigures(uses, with, func(t policyTrial) float64 { return t.P50 })),
					median(r.policyFigures(uses, with, func(t policyTrial) float64 { return t.P99 })))
			}
		}
	}
	return t.String()
}
