package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A scenario measures or checks one thing. To add one, write a file of its name that holds
// its run function, the type of its figures (a field of result) and their table; then name
// the function in scenarios and the table in sections.
type scenario struct {
	name    string
	service state // what it needs of the service
	run     func(context.Context, *env) error
	largest bool // run it only at the largest number of keys
}

// A state is what the service must be, or be started with, before a scenario runs.
type state string

const (
	stopped state = "stopped" // the scenario may open the ledger itself
	running state = "running" // as the scenario before left it
	relaxed state = "relaxed" // newly started, with this value of --uses
	durable state = "durable"
)

// scenarios are in the order in which they run at each number of keys.
var scenarios = []scenario{
	{name: "organizations and a verifier's key", service: relaxed, run: setUp},
	{name: "memory without keys", service: relaxed, run: memory(func(r *result) *footprint { return &r.Empty })},
	{name: "filling the ledger", service: stopped, run: fill},
	{name: "replay", service: stopped, run: replay},
	{name: "start without a read model", service: relaxed, run: firstStart},
	{name: "restart, relaxed", service: relaxed, run: restart},
	{name: "memory at rest", service: running, run: memory(func(r *result) *footprint { return &r.Full })},
	{name: "correctness", service: running, run: correctness},
	{name: "verification, relaxed", service: running, run: verification},
	{name: "restart, durable", service: durable, run: restart},
	{name: "correctness", service: running, run: correctness},
	{name: "verification, durable", service: running, run: verification},
	{name: "memory after load", service: running, run: memory(func(r *result) *footprint { return &r.Loaded })},
	{name: "listing", service: running, run: listing, largest: true},
	{name: "writes", service: running, run: writes, largest: true},
	{name: "revocation", service: running, run: revocation, largest: true},
	{name: "revocation under load", service: running, run: revocationUnderLoad, largest: true},
	{name: "comparing the answers with the ledger", service: stopped, run: accounting},
}

// A result is what the scenarios found at one number of keys.
type result struct {
	Keys        int           `json:"keys"`
	Fill        fillTime      `json:"fill"`
	Replay      replayRates   `json:"replay"`
	FirstReady  float64       `json:"ready_with_empty_read_model_seconds"`
	Ready       []float64     `json:"restart_to_ready_seconds"`
	Empty       footprint     `json:"memory_at_0_keys"`
	Full        footprint     `json:"memory_at_rest"`
	Loaded      footprint     `json:"memory_after_load"`
	Rounds      []trial       `json:"rounds"`
	Created     []writeRate   `json:"create,omitempty"`
	Revoked     []writeRate   `json:"revoke,omitempty"`
	Refusal     *refusalDelay `json:"revoke_to_refusal,omitempty"`
	RefusalBusy *refusalDelay `json:"revoke_to_refusal_under_load,omitempty"`
	Listing     []listLatency `json:"listing,omitempty"`
	Answered    outcomeCounts `json:"answered"` // every one of them found on the ledger
}

// runAll runs scenarios in a directory of their own.
func (e *env) runAll(ctx context.Context, scenarios []scenario) (err error) {
	if e.dir, err = os.MkdirTemp(e.dir, fmt.Sprintf("%d-keys-", e.keys)); err != nil {
		return err
	}
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
		if s.largest && !e.largest {
			continue
		}
		e.logf("%d keys: %s", e.keys, s.name)
		err := e.provide(ctx, s.service)
		if err == nil {
			err = s.run(ctx, e)
		}
		if err != nil {
			return fmt.Errorf("%d keys: %s: %w", e.keys, s.name, err)
		}
	}
	return nil
}

// provide brings the service into a state.
func (e *env) provide(ctx context.Context, s state) error {
	if s == running {
		return nil
	}
	if err := e.stopService(); err != nil || s == stopped {
		return err
	}
	return e.startService(ctx, s)
}

// profile names the file for a CPU profile of a child process, "" if none is asked for.
func (e *env) profile(name string) string {
	if e.profiles == "" {
		return ""
	}
	return filepath.Join(e.profiles, name+".pprof")
}
