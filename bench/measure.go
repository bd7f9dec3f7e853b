package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// A run is one invocation of the bench.
type run struct {
	options

	say func(format string, args ...any)
}

// A sizeResult is everything measured at one number of keys.
type sizeResult struct {
	Keys        int              `json:"keys"`
	Fill        filling          `json:"fill"`
	Replay      replaying        `json:"replay"`
	FirstReady  float64          `json:"ready_with_empty_read_model_seconds"`
	Ready       []float64        `json:"restart_to_ready_seconds"`
	Empty       footprint        `json:"memory_at_0_keys"`
	Full        footprint        `json:"memory_at_rest"`
	Loaded      footprint        `json:"memory_after_load"`
	Rounds      []turn           `json:"rounds"`
	Created     []rate           `json:"create,omitempty"`
	Revoked     []rate           `json:"revoke,omitempty"`
	Refusal     *refusing        `json:"revoke_to_refusal,omitempty"`
	RefusalBusy *refusing        `json:"revoke_to_refusal_under_load,omitempty"`
	Listing     []listed         `json:"listing,omitempty"`
	Answered    map[string]int64 `json:"answered"` // every one of them found on the ledger
}

// A turn is one server under load for one duration.
type turn struct {
	Round       int     `json:"round"`
	Server      string  `json:"server"` // bare, relaxed or durable
	Connections int     `json:"connections"`
	Rival       string  `json:"rival"` // whose service the bare handler is compared with
	Processor   float64 `json:"server_cpu_seconds"`
	After       float64 `json:"server_cpu_seconds_after"` // of work left behind when the load ended
	measurement
}

const idleTimeout = 2 * time.Minute

// size measures at one number of keys, in a data directory of its own.
func (r *run) size(ctx context.Context, keys int, last bool) (*sizeResult, error) {
	dir, err := os.MkdirTemp(r.dir, fmt.Sprintf("size-%d-", keys))
	if err != nil {
		return nil, err
	}
	if !r.keep {
		defer os.RemoveAll(dir)
	}
	d := &deployment{binary: r.binary, dir: dir}
	if d.debug, err = freeAddress(); err != nil {
		return nil, err
	}
	res := &sizeResult{Keys: keys}
	if err := r.empty(ctx, d, res); err != nil {
		return nil, err
	}
	p := population{Orgs: d.orgs, Begin: time.Now().UTC().Truncate(time.Millisecond).Add(-time.Duration(keys) * time.Millisecond)}
	r.say("%d keys: filling the ledger", keys)
	if res.Fill, err = fill(ctx, d.ledger(), p, keys); err != nil {
		return nil, err
	}
	r.say("%d keys: replaying it", keys)
	if res.Replay, err = r.replay(ctx, d); err != nil {
		return nil, err
	}
	if err := r.firstStart(ctx, d, res); err != nil {
		return nil, err
	}
	for _, uses := range []durability{relaxed, durable} {
		if err := r.service(ctx, d, p, uses, last && uses == durable, res); err != nil {
			return nil, err
		}
	}
	return res, r.compare(ctx, d, res)
}

// empty starts the service on nothing, founds what the run needs, and looks at what a
// service that was started again occupies without keys.
func (r *run) empty(ctx context.Context, d *deployment, res *sizeResult) error {
	if err := d.serve(ctx, relaxed, func(s *service) error { return d.found(ctx, s, r.orgs) }); err != nil {
		return err
	}
	return d.serve(ctx, relaxed, func(s *service) (err error) {
		res.Empty, err = r.rest(ctx, d, s)
		return err
	})
}

// firstStart is the one that finds no read model and builds it from the ledger.
func (r *run) firstStart(ctx context.Context, d *deployment, res *sizeResult) error {
	return d.serve(ctx, relaxed, func(s *service) error {
		res.FirstReady = s.ready.Seconds()
		_, err := s.untilIdle(ctx, idleTimeout)
		return err
	})
}

// serve starts the service, has do done and stops it, whatever came of it.
func (d *deployment) serve(ctx context.Context, uses durability, do func(*service) error) error {
	s, err := d.start(ctx, uses)
	if s == nil {
		return err
	}
	if err == nil {
		err = do(s)
	}
	return errors.Join(err, s.stop())
}

// rest waits until the service idles and Badger has let go of what its last compaction
// needed, collects the garbage and gives the Go runtime time to return the pages: an idle
// process does all of it by itself, in some minutes, and without it one measures the work
// before.
func (r *run) rest(ctx context.Context, d *deployment, s *service) (footprint, error) {
	if _, err := s.untilIdle(ctx, idleTimeout); err != nil {
		return footprint{}, err
	}
	if err := pause(ctx, r.settle); err != nil {
		return footprint{}, err
	}
	if err := collectGarbage(ctx, d.debug); err != nil {
		return footprint{}, err
	}
	if err := pause(ctx, r.settle); err != nil {
		return footprint{}, err
	}
	return s.footprint(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// service measures one durability; rest and restart come first, when nothing was used yet.
func (r *run) service(ctx context.Context, d *deployment, p population, uses durability, manage bool, res *sizeResult) error {
	r.say("%d keys: %s", res.Keys, uses)
	return d.serve(ctx, uses, func(s *service) error {
		res.Ready = append(res.Ready, s.ready.Seconds())
		if uses == relaxed {
			var err error
			if res.Full, err = r.rest(ctx, d, s); err != nil {
				return err
			}
		}
		if err := r.correct(ctx, d, s, p, res.Keys); err != nil {
			return err
		}
		if err := r.takeTurns(ctx, d, s, uses, res); err != nil {
			return err
		}
		var err error
		if res.Loaded, err = r.rest(ctx, d, s); err != nil || !manage {
			return err
		}
		return r.manage(ctx, d, s, p, res)
	})
}

// takeTurns drives the service and the bare handler by turns, in changing order. Before each
// turn the service rests: what one load leaves behind must not burden the next turn.
func (r *run) takeTurns(ctx context.Context, d *deployment, s *service, uses durability, res *sizeResult) error {
	g, err := startGenerator(ctx, res.Keys, r.profileOf("generator-"+string(uses)))
	if err != nil {
		return err
	}
	bare, address, err := r.startBaseline(ctx, d, s, uses)
	if err != nil {
		return errors.Join(err, g.stop())
	}
	err = func() error {
		for round := range r.rounds {
			for _, n := range r.connections {
				turns := []turn{
					{Round: round, Server: "bare", Rival: string(uses), Connections: n},
					{Round: round, Server: string(uses), Rival: string(uses), Connections: n},
				}
				if round%2 == 1 {
					slices.Reverse(turns)
				}
				for _, t := range turns {
					server, at := s.process, s.address
					if t.Server == "bare" {
						server, at = bare, address
					}
					if err := r.turn(ctx, d, g, server, at, &t); err != nil {
						return err
					}
					res.Rounds = append(res.Rounds, t)
				}
			}
		}
		return nil
	}()
	return errors.Join(err, bare.stop(), g.stop())
}

func (r *run) turn(ctx context.Context, d *deployment, g *generator, server *process, address string, t *turn) error {
	before, err := server.processorTime()
	if err != nil {
		return err
	}
	profiled := make(chan error, 1)
	if t.Server == "bare" || t.Round > 0 || r.profiles == "" {
		profiled <- nil
	} else {
		go func() {
			profiled <- saveProfile(ctx, d.debug, r.profiles, fmt.Sprintf("%s-%d", t.Server, t.Connections), r.warmUp+r.duration)
		}()
	}
	t.measurement, err = g.measure(order{
		Address: address, Authorization: "Bearer " + d.verifier.Secret, Connections: t.Connections,
		WarmUp: r.warmUp, Duration: r.duration, CheckKeys: r.smoke && t.Server != "bare",
	})
	if err := errors.Join(err, <-profiled); err != nil {
		return fmt.Errorf("%s at %d connections: %w", t.Server, t.Connections, err)
	}
	after, err := server.processorTime()
	if err != nil {
		return err
	}
	t.Processor = (after - before).Seconds()
	if t.Server != "bare" {
		d.answered.add(string(domain.UseValid), t.Answers)
	}
	left, err := server.untilIdle(ctx, idleTimeout)
	t.After = left.Seconds()
	r.say("  round %d, %3d connections, %-7s: %7.0f requests/s, p50 %6.0f µs, p99 %6.0f µs", t.Round+1, t.Connections, t.Server, t.PerSecond, t.P50, t.P99)
	return err
}

// startBaseline starts the bare handler with the bytes that the service answers.
func (r *run) startBaseline(ctx context.Context, d *deployment, s *service, uses durability) (*process, string, error) {
	c := newClient(s.address, d.verifier.Secret, 1)
	defer c.close()
	answer, err := c.raw(ctx, http.MethodPost, "/v1/verify", question{Key: secretOf(0).Reveal(), Scopes: []string{askedScope}}, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	d.answered.add(string(domain.UseValid), 1)
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	begin := time.Now()
	p, err := start(ctx, filepath.Join(d.dir, "baseline.log"), bytes.NewReader(answer), r.profileOf("bare-"+string(uses)), self, "baseline", address)
	if err != nil {
		return nil, "", err
	}
	if _, err = p.untilAnswers(ctx, "http://"+address+"/", begin, time.Minute); err != nil {
		return nil, "", errors.Join(err, p.stop())
	}
	return p, address, nil
}

// manage measures the rest of the API, at the largest size.
func (r *run) manage(ctx context.Context, d *deployment, s *service, p population, res *sizeResult) (err error) {
	r.say("%d keys: listing, creating and revoking", res.Keys)
	if res.Listing, err = d.list(ctx, s, p, res.Keys, r.pages); err != nil {
		return err
	}
	if res.Created, res.Revoked, err = d.createAndRevoke(ctx, s, r.writes, 1, 32); err != nil {
		return err
	}
	quiet, err := d.revokeWhileVerifying(ctx, s, r.revocations)
	if err != nil {
		return err
	}
	res.Refusal = &quiet
	busy, err := r.revokeUnderLoad(ctx, d, s, res.Keys)
	if err != nil {
		return err
	}
	res.RefusalBusy = &busy
	if late := quiet.Late + busy.Late; late > 0 {
		return fmt.Errorf("%d verifications of revoked keys were answered VALID after the revocation was acknowledged", late)
	}
	return nil
}

// revokeUnderLoad is revokeWhileVerifying while the generator keeps the service busy.
func (r *run) revokeUnderLoad(ctx context.Context, d *deployment, s *service, keys int) (refusing, error) {
	g, err := startGenerator(ctx, keys, nil)
	if err != nil {
		return refusing{}, err
	}
	type loaded struct {
		measurement
		err error
	}
	done := make(chan loaded, 1)
	go func() {
		m, err := g.measure(order{Address: s.address, Authorization: "Bearer " + d.verifier.Secret, Connections: 32, Duration: r.duration})
		done <- loaded{m, err}
	}()
	busy, err := d.revokeWhileVerifying(ctx, s, r.revocations)
	load := <-done
	d.answered.add(string(domain.UseValid), load.Answers)
	return busy, errors.Join(err, load.err, g.stop())
}

// replay measures the ledger in a process of its own.
func (r *run) replay(ctx context.Context, d *deployment) (replaying, error) {
	var res replaying
	self, err := os.Executable()
	if err != nil {
		return res, err
	}
	cmd := exec.CommandContext(ctx, self, "replay", d.ledger())
	cmd.Env = append(append(os.Environ(), r.profileOf("replay")...), scratchVariable+"="+d.dir)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	b, err := cmd.Output()
	if err != nil {
		return res, fmt.Errorf("replay: %w: %s", err, complaint.String())
	}
	return res, json.Unmarshal(b, &res)
}

// profileOf makes a process of the bench write a CPU profile, if profiles are asked for.
func (r *run) profileOf(name string) []string {
	if r.profiles == "" {
		return nil
	}
	return []string{profileVariable + "=" + filepath.Join(r.profiles, name+".pprof")}
}

// compare holds the answers that were given against the uses on the ledger.
func (r *run) compare(ctx context.Context, d *deployment, res *sizeResult) error {
	r.say("%d keys: comparing the answers with the ledger", res.Keys)
	res.Answered = d.answered.counts
	onLedger, err := recorded(ctx, d.ledger(), d.verifier.Key.ID)
	if err != nil {
		return err
	}
	if difference := d.answered.differs(onLedger); difference != "" {
		return fmt.Errorf("uses recorded differ from answers given: %s", difference)
	}
	return nil
}
