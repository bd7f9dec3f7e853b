package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A plan is the scenarios that share one installation: a data directory with a population.
// To add a scenario, write a file of its name that holds its run function, the type of its
// figures (a field of result if every size has them, else of report) and their table; then
// name the function in a plan, and the table in sections.
type plan struct {
	name      string
	keys      int
	orgs      int
	first     int      // population.First
	policy    int      // population.Policy
	last      bool     // no size after it
	flags     []string // of the service, beside those of every run
	scenarios []scenario
}

// A scenario measures or checks one thing.
type scenario struct {
	name    string // as -only has it
	service state  // what it needs of the service
	fresh   bool   // newly started
	always  bool   // run it whatever -only names: others build on it
	last    bool   // run it only at the largest number of keys
	run     func(context.Context, *env) error
}

// A state is what the service must be before a scenario runs.
type state string

const (
	stopped state = "stopped" // the scenario may open the ledger itself
	relaxed state = "relaxed" // running with this value of --uses
	durable state = "durable"
)

// Scenarios that every plan begins and ends with.
var (
	setup   = scenario{name: "setup", service: relaxed, always: true, run: setUp}
	filling = scenario{name: "fill", service: stopped, always: true, run: fill}
	account = scenario{name: "accounting", service: stopped, always: true, run: accounting}
)

// sizePlan is the name of the plans of -sizes.
const sizePlan = "size"

// sizeScenarios are measured at each number of keys, in this order.
var sizeScenarios = []scenario{
	setup,
	{name: "memory", service: relaxed, run: memory(func(r *result) *footprint { return &r.Empty })},
	filling,
	{name: "replay", service: stopped, run: replay},
	{name: "rebuild", service: relaxed, fresh: true, run: rebuild},
	{name: "restart", service: relaxed, fresh: true, run: restart},
	{name: "memory", service: relaxed, run: memory(func(r *result) *footprint { return &r.Full })},
	{name: "correctness", service: relaxed, always: true, run: correctness},
	{name: "verification", service: relaxed, run: verification},
	{name: "restart", service: durable, fresh: true, run: restart},
	{name: "correctness", service: durable, always: true, run: correctness},
	{name: "verification", service: durable, run: verification},
	{name: "memory", service: durable, run: memory(func(r *result) *footprint { return &r.Loaded })},
	{name: "listing", service: durable, last: true, run: listing},
	{name: "writes", service: durable, last: true, run: writes},
	{name: "bulk", service: durable, last: true, run: bulk},
	{name: "revocation", service: durable, last: true, run: revocation},
	{name: "revocation", service: durable, last: true, run: revocationUnderLoad},
	account,
}

// maxOrgs is how many organizations an installation with very many of them has.
const maxOrgs = 10_000

// plans are those of a run.
func (o *options) plans() (all []plan) {
	largest := o.sizes[len(o.sizes)-1]
	for i, keys := range o.sizes {
		all = append(all, plan{name: sizePlan, keys: keys, orgs: o.sizeOrgs, last: i == len(o.sizes)-1, scenarios: sizeScenarios})
	}
	spread := func(keys int) int { return min(maxOrgs, max(keys/10, 2)) }
	all = append(all,
		plan{name: "organizations", keys: 2 * largest, orgs: spread(largest) + 1, first: largest, scenarios: []scenario{
			setup, filling,
			{name: "organizations", service: relaxed, run: organizations},
			{name: "organizations", service: durable, run: organizations},
			account,
		}},
	)
	all = append(all, plan{name: "policy", keys: 2 * largest, orgs: 1, policy: largest, flags: []string{"--trusted-proxies", "127.0.0.1/32"}, scenarios: []scenario{
		setup, {name: "define the policy", service: relaxed, always: true, run: definePolicy}, filling,
		{name: "policy", service: relaxed, run: policy},
		{name: "policy", service: durable, run: policy},
		account,
	}})
	trailKeys := min(100_000, largest)
	trail := plan{name: "trail", keys: trailKeys, orgs: spread(trailKeys), scenarios: []scenario{
		setup, filling,
		{name: "bytes", service: stopped, run: useSizes},
		{name: "ndjson", service: stopped, run: ndjson},
	}}
	for _, n := range o.usesFilled {
		trail.scenarios = append(trail.scenarios, scenario{name: "history", service: stopped, run: history(n)})
	}
	all = append(all, trail)
	all = append(all, plan{name: "evidence", keys: largest, orgs: spread(largest), scenarios: []scenario{
		setup, filling, {name: "evidence", service: stopped, run: evidence},
	}})
	// Few keys: what is compared is verification and signing, and not the size of the read model.
	signingKeys := min(10_000, largest)
	all = append(all, plan{name: "signing", keys: signingKeys, orgs: spread(signingKeys), scenarios: []scenario{
		setup, filling, {name: "signing", service: stopped, run: signing}, account,
	}})
	peopleKeys := min(maxPeople, largest) // and as many people
	all = append(all, plan{name: "people", keys: peopleKeys, orgs: spread(peopleKeys), flags: []string{"--trusted-proxies", "127.0.0.1/32"}, scenarios: []scenario{
		setup, {name: "define the product", service: relaxed, always: true, run: defineProduct}, {name: "people", service: stopped, always: true, run: settle}, filling,
		{name: "sessions", service: relaxed, run: sessions},
		{name: "sessions", service: durable, run: sessions},
		{name: "log-ins", service: relaxed, run: logIns},
		{name: "log-ins", service: durable, run: logIns},
		account,
	}})
	sinkFlags := []string{"--sink-networks", "127.0.0.0/8", "--sink-files", o.sinkFiles}
	all = append(all, plan{name: "sinks", keys: min(100_000, largest), orgs: busySinkCount, flags: sinkFlags, scenarios: []scenario{
		setup, filling,
		{name: "forwarding", service: stopped, run: forwarding},
		{name: "sinks", service: relaxed, run: busySinks},
		{name: "sinks", service: durable, run: busySinks},
	}})
	all = append(all, plan{name: "idle sinks", keys: 1000, orgs: 100, flags: sinkFlags, scenarios: []scenario{
		setup, filling, {name: "idle sinks", service: durable, fresh: true, run: idleSinks},
	}})
	if o.soak > 0 {
		all = append(all, plan{name: "soak", keys: largest, orgs: spread(largest), scenarios: []scenario{
			setup, filling, {name: "soak", service: durable, run: soak}, account,
		}})
	}
	if o.followers != nil {
		all = append(all, plan{name: "followers", keys: o.sizes[0], orgs: 1, flags: []string{"--max-streams", "5000", "--max-streams-per-key", "5000"}, scenarios: []scenario{
			setup, filling, {name: "followers", service: durable, run: followers}, account,
		}})
	}
	return all
}

// chosen are the scenarios of p that are to be run: none if all of them are only what others build on.
func (o *options) chosen(p plan) (all []scenario) {
	asked := false
	for _, s := range p.scenarios {
		wanted := !s.always && (o.only == nil || slices.Contains(o.only, s.name)) && (p.last || !s.last)
		if asked = asked || wanted; wanted || s.always {
			all = append(all, s)
		}
	}
	if !asked {
		return nil
	}
	return all
}

// known reports whether -only can have a name.
func (o *options) known(name string) bool {
	return slices.ContainsFunc(o.plans(), func(p plan) bool {
		return slices.ContainsFunc(p.scenarios, func(s scenario) bool { return s.name == name && !s.always })
	})
}

// A result is what the scenarios found at one number of keys.
type result struct {
	Plan     string        `json:"plan"`
	Keys     int           `json:"keys"`
	Orgs     int           `json:"organizations"`
	Fill     fillTime      `json:"fill"`
	Replay   replayRates   `json:"replay"`
	Rebuild  rebuilt       `json:"rebuild"`
	Ready    []float64     `json:"restart_to_ready_seconds,omitempty"`
	Empty    footprint     `json:"memory_at_0_keys"`
	Full     footprint     `json:"memory_at_rest"`
	Loaded   footprint     `json:"memory_after_load"`
	Rounds   []trial       `json:"rounds,omitempty"`
	Answered outcomeCounts `json:"answered"` // every one of them found on the ledger
}

// run runs the chosen scenarios of a plan.
func (r *report) run(ctx context.Context, o options, p plan) error {
	scenarios := o.chosen(p)
	if scenarios == nil {
		return nil
	}
	e := &env{options: o, plan: p, report: r, result: &result{Plan: p.name, Keys: p.keys, Orgs: p.orgs, Answered: outcomeCounts{}}}
	if p.name == sizePlan {
		r.Sizes = append(r.Sizes, e.result)
	} else {
		r.Others = append(r.Others, e.result)
	}
	return e.run(ctx, scenarios)
}

// run runs scenarios in a directory of their own.
func (e *env) run(ctx context.Context, scenarios []scenario) (err error) {
	if e.dir, err = os.MkdirTemp(e.dir, e.plan.name+"-"); err != nil {
		return err
	}
	e.population.First, e.population.Policy = e.first, e.policy
	e.population.Begin = time.Now().UTC().Truncate(time.Millisecond).Add(-time.Duration(e.keys) * time.Millisecond)
	if e.generator, err = startChild(ctx, "load", e.profile("generator")); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, e.stopService(), e.generator.stop())
		if !e.keep {
			err = errors.Join(err, os.RemoveAll(e.dir))
		}
	}()
	for _, s := range scenarios {
		e.logf("%s, %d keys: %s, service %s", e.plan.name, e.keys, s.name, s.service)
		err := e.provide(ctx, s)
		if err == nil {
			err = s.run(ctx, e)
		}
		if err != nil {
			return fmt.Errorf("%s, %d keys: %s: %w", e.plan.name, e.keys, s.name, err)
		}
	}
	return nil
}

// provide brings the service into the state that s needs.
func (e *env) provide(ctx context.Context, s scenario) error {
	if e.service != nil && e.service.uses == s.service && !s.fresh {
		return nil
	}
	if err := e.stopService(); err != nil || s.service == stopped {
		return err
	}
	return e.startService(ctx, s.service)
}

// profile names the file for a CPU profile of a child process, "" if none is asked for.
func (e *env) profile(name string) string {
	if e.profiles == "" {
		return ""
	}
	return filepath.Join(e.profiles, name+".pprof")
}
