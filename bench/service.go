package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A durability is the value of the service's --uses.
type durability string

const (
	relaxed durability = "relaxed"
	durable durability = "durable"
)

// A deployment is one data directory and the services that run on it one after the other.
type deployment struct {
	binary   string
	dir      string   // of the service's log and data
	debug    string   // the address for profiles
	flags    []string // of the service, beside those of every run
	orgs     []domain.OrgID
	root     string // the root key
	verifier madeKey
	answered tally
}

func (d *deployment) data() string   { return filepath.Join(d.dir, "data") }
func (d *deployment) ledger() string { return filepath.Join(d.data(), "ledger") }

// A service is the real thing: cmd/keytrail as a process of its own, with the embedded
// ledger, on a loopback port.
type service struct {
	*process
	address string
	ready   time.Duration // from the start of the process to the first 200 of /readyz
}

const readyTimeout = 10 * time.Minute

// start answers, beside an error, the process that must be stopped even so, if there is one.
func (d *deployment) start(ctx context.Context, uses durability) (*service, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "--data", d.data(), "--listen", address, "--uses", string(uses), "--pprof-listen", d.debug}
	args = append(args, d.flags...)
	begin := time.Now()
	p, err := start(ctx, filepath.Join(d.dir, "service.log"), nil, nil, d.binary, args...)
	if err != nil {
		return nil, err
	}
	s := &service{process: p, address: address}
	s.ready, err = p.untilAnswers(ctx, "http://"+address+"/readyz", begin, readyTimeout)
	return s, err
}

// found prepares an empty deployment: organizations, and the key that verifies for all
// of them, as a gateway would hold it.
func (d *deployment) found(ctx context.Context, s *service, orgs int) error {
	b, err := os.ReadFile(filepath.Join(d.data(), "root.key"))
	if err != nil {
		return err
	}
	d.root = strings.TrimSpace(string(b))
	root := newClient(s.address, d.root, 1)
	defer root.close()
	for i := range orgs {
		var org struct {
			ID domain.OrgID `json:"id"`
		}
		if err := root.call(ctx, http.MethodPost, "/v1/organizations", map[string]string{"name": fmt.Sprintf("bench %d", i)}, &org, http.StatusCreated); err != nil {
			return err
		}
		d.orgs = append(d.orgs, org.ID)
	}
	d.verifier, err = root.create(ctx, newKey{Keyspace: domain.ManagementKeyspace, Name: "bench", Scopes: []string{"keys:verify"}})
	return err
}

// verify asks about one secret and remembers what was answered, so that in the end the
// ledger can be compared with it.
func (d *deployment) verify(ctx context.Context, c *client, q question) (verdict, error) {
	var v verdict
	if err := c.call(ctx, http.MethodPost, "/v1/verify", q, &v, http.StatusOK); err != nil {
		return v, err
	}
	d.answered.add(v.Code, 1)
	return v, nil
}

// collectGarbage has the service behind the debug address do so, twice: what pools hold
// survives the first time.
func collectGarbage(ctx context.Context, debug string) error {
	c := newClient(debug, "", 1)
	defer c.close()
	for range 2 {
		if _, err := c.raw(ctx, http.MethodGet, "/debug/pprof/heap?gc=1", nil, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// footprint is the service's memory now.
func (s *service) footprint(ctx context.Context) (footprint, error) {
	f, err := s.process.footprint()
	if err != nil {
		return f, err
	}
	f.Heap, err = s.heap(ctx)
	return f, err
}

func (s *service) heap(ctx context.Context) (int64, error) {
	c := newClient(s.address, "", 1)
	defer c.close()
	b, err := c.raw(ctx, http.MethodGet, "/metrics", nil, http.StatusOK)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(f), err
		}
	}
	return 0, nil
}

// A tally counts answers, or uses, by outcome. It may be used by many goroutines.
type tally struct {
	mu     sync.Mutex
	counts map[string]int64
}

func (t *tally) add(code string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int64{}
	}
	t.counts[code] += n
}

// differs says where two tallies do, "" if nowhere.
func (t *tally) differs(other *tally) string {
	var b strings.Builder
	for _, code := range allOutcomes {
		if mine, theirs := t.counts[string(code)], other.counts[string(code)]; mine != theirs {
			fmt.Fprintf(&b, "%s: %d answered, %d recorded; ", code, mine, theirs)
		}
	}
	return b.String()
}

var allOutcomes = []domain.Outcome{
	domain.UseValid, domain.UseNotFound, domain.UseRevoked, domain.UseExpired, domain.UseDisabled,
	domain.UseInsufficientScope, domain.UseIPNotAllowed, domain.UseRateLimited,
}
