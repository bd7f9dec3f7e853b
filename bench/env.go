package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/keytrail/keytrail/api"
	"github.com/keytrail/keytrail/domain"
)

// An env is what scenarios share: one data directory with its population, the service that
// runs on it, the load generator, and what was found so far.
type env struct {
	options
	plan
	population population
	service    *service // nil while it is stopped
	generator  *child
	rootKey    string
	uses       usesLog    // written straight to the ledger
	verifier   madeKey    // verifies for all organizations, as a gateway's key does
	mu         sync.Mutex // of result.Answered
	result     *result    // of this plan
	report     *report
}

func (e *env) data() string      { return filepath.Join(e.dir, "data") }
func (e *env) ledger() string    { return filepath.Join(e.data(), "ledger") }
func (e *env) readModel() string { return filepath.Join(e.data(), "readmodel") }

func (e *env) logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// setUp prepares an empty installation: organizations, and the verifier's key.
func setUp(ctx context.Context, e *env) error {
	b, err := os.ReadFile(filepath.Join(e.data(), "root.key"))
	if err != nil {
		return err
	}
	e.rootKey = strings.TrimSpace(string(b))
	e.population.Orgs = make([]domain.OrgID, e.orgs)
	_, err = inParallel(ctx, writers, e.orgs, func(i int) error {
		var org api.Organization
		err := e.root(ctx, http.MethodPost, "/v1/organizations", fields{"name": fmt.Sprintf("bench %d", i)}, &org)
		e.population.Orgs[i] = org.ID
		return err
	})
	if err != nil {
		return err
	}
	e.verifier, err = e.createKey(ctx, fields{"keyspace": domain.ManagementKeyspace, "name": "bench", "scopes": []string{"keys:verify"}})
	return err
}

// load drives a server and returns also the processor time that the server used, in seconds.
// The service's answers are counted.
func (e *env) load(ctx context.Context, s server, w workload) (m measurement, processor float64, err error) {
	w.Population, w.Policy, w.Address, w.Authorization = e.keys, e.population.Policy, s.address, "Bearer "+e.verifier.Secret
	processor, err = processorTimeOf(s.pid, func() error { return e.generator.ask(w, &m) })
	if s == e.service.server {
		e.count(domain.UseValid, m.Answers)
	}
	return m, processor, err
}

// evenly is a workload of connections that draw from all keys.
func (e *env) evenly(connections int, d time.Duration) workload {
	return workload{Sources: []source{{Connections: connections, Keys: e.keys}}, Duration: d}
}

// outcomeCounts are how often each outcome was answered or recorded.
type outcomeCounts map[domain.Outcome]int64

// count takes note of answers. Many goroutines may call it.
func (e *env) count(code domain.Outcome, n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.result.Answered[code] += n
}
