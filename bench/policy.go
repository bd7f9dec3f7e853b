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
	definition := fields{"format": policyFormat, "requirements": []fields{{"attribute": "discord_id"}},
		"gateway": fields{"record_resource": true, "rate_limit_headers": []string{"x-ratelimit"}}}
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

// A policyTrial is the service under one of the loads.
type policyTrial struct {
	Round int    `json:"round"`
	Uses  state  `json:"uses"`
	Load  string `json:"load"` // the name of a policyLoad
	measurement
}

// A policyLoad is questions about keys with or without the policy, by services or by gateways.
type policyLoad struct {
	name     string
	policy   bool
	keyspace string // that gateways ask for; "": services ask
}

// policyLoads are all of them. The first one is what the others are compared with.
var policyLoads = []policyLoad{
	{name: "verify, plain keys"},
	{name: "verify, policy", policy: true},
	{name: "authorize, plain keys", keyspace: domain.DefaultKeyspace},
	{name: "authorize, policy", policy: true, keyspace: policyKeyspace},
}

func (l policyLoad) source(e *env) source {
	half := e.population.Policy
	from := source{Connections: slices.Max(e.connections), Keys: half, Keyspace: l.keyspace}
	if l.policy {
		from.From, from.Keys = half, e.keys-half
	}
	if l.policy || l.keyspace != "" {
		from.IP = policyAddress
	}
	return from
}

// policy puts the service under each load, in an order that changes with the round.
func policy(ctx context.Context, e *env) error {
	loads := slices.Clone(policyLoads)
	for round := range e.rounds {
		for _, l := range loads {
			t := policyTrial{Round: round, Uses: e.service.uses, Load: l.name}
			var err error
			if t.measurement, _, err = e.load(ctx, e.service.server, workload{Sources: []source{l.source(e)}, WarmUp: e.warmUp, Duration: e.duration, CheckKeys: e.smoke}); err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			e.logf("  round %d, %-21s: %7.0f answers/s, p50 %6.0f µs, p99 %6.0f µs", round+1, l.name, t.PerSecond, t.P50, t.P99)
			e.report.Policy = append(e.report.Policy, t)
			if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
				return err
			}
		}
		slices.Reverse(loads)
	}
	return nil
}

// policyFigures are one figure of each round.
func (r *report) policyFigures(uses state, load string, figure func(policyTrial) float64) (all []float64) {
	for _, t := range r.Policy {
		if t.Uses == uses && t.Load == load {
			all = append(all, figure(t))
		}
	}
	return all
}

// policyRatio is the median of the ratios of the rounds of a load to those of plain keys.
func (r *report) policyRatio(uses state, load string) float64 {
	all, plain := r.policyFigures(uses, load, policyRate), r.policyFigures(uses, policyLoads[0].name, policyRate)
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
		for _, l := range policyLoads[1:] {
			ratio := r.policyRatio(uses, l.name)
			all = append(all, target{string(uses) + ": " + l.name + ", as a share of the rate of verifications of plain keys", "≥ 0.85", fmt.Sprintf("%.2f", ratio), ratio < 0.85})
		}
	}
	return all
}

func policyTable(r *report) string {
	t := table{
		before:  "## Keyspaces with a policy, and gateways\n\nHalf of the keys are plain, and the use of the others depends on scopes, networks, two rate limits and a requirement of their owner. Services verify\nthem, and gateways ask by forward authentication; turn by turn at the largest number of connections. Medians of the rounds.\n",
		columns: "uses | load | answers/s> | p50 µs> | p99 µs>",
	}
	for _, uses := range []state{relaxed, durable} {
		for _, l := range policyLoads {
			if rates := r.policyFigures(uses, l.name, policyRate); rates != nil {
				t.row("%s | %s | %.0f | %.0f | %.0f", uses, l.name, median(rates), median(r.policyFigures(uses, l.name, func(t policyTrial) float64 { return t.P50 })),
					median(r.policyFigures(uses, l.name, func(t policyTrial) float64 { return t.P99 })))
			}
		}
	}
	return t.String()
}
