package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/internal/backoff"
)

// A forwardingRate is how fast a ledger full of uses went to one receiver: the best average from the
// beginning to a moment at which half or more had come, since the last batch, which is not full,
// waits for more.
type forwardingRate struct {
	Type      string  `json:"type"`
	Events    int64   `json:"events"`
	PerSecond float64 `json:"per_second"`
}

// sinkTypes are those that are measured, in this order, and what is wanted of each.
var sinkTypes = []struct {
	name string
	want float64 // events a second; 0: no target
}{{"file", 100_000}, {"s3", 100_000}, {"elasticsearch", 100_000}, {"splunk_hec", 100_000}, {"otlp", 100_000}, {"webhook", 0}}

// forwarding sends all that the ledger has to one receiver after the other.
func forwarding(ctx context.Context, e *env) error {
	if err := e.fillUses(ctx, e.forwarded); err != nil {
		return err
	}
	if err := e.startIdle(ctx); err != nil {
		return err
	}
	for _, t := range sinkTypes {
		rate, err := e.forward(ctx, t.name)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		e.logf("  %-13s: %7.0f events/s", t.name, rate.PerSecond)
		e.report.Forwarding = append(e.report.Forwarding, rate)
	}
	return nil
}

// forwardTimeout is how long a receiver may take for all.
const forwardTimeout = 5 * time.Minute

// forward sends the uses of the whole ledger to a receiver of a type.
func (e *env) forward(ctx context.Context, kind string) (rate forwardingRate, err error) {
	r, err := receivers[kind](e)
	if err != nil {
		return rate, err
	}
	defer r.close()
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	begin := time.Now()
	s, err := e.createSink(ctx, r.sink, fields{"name": kind, "from": "beginning", "event_types": []string{"key.used"}})
	if err != nil {
		return rate, err
	}
	all := int64(e.uses.len())
	for rate = (forwardingRate{Type: kind}); rate.Events < all; {
		if err := backoff.Sleep(ctx, 10*time.Millisecond); err != nil {
			return rate, fmt.Errorf("%d of %d events came", rate.Events, all)
		}
		if rate.Events = r.events.Load(); rate.Events >= all/2 {
			rate.PerSecond = max(rate.PerSecond, float64(rate.Events)/time.Since(begin).Seconds())
		}
	}
	return rate, e.deleteSink(ctx, s)
}

// A madeSink is one of the service's.
type madeSink struct {
	ID string `json:"id"`
}

func (e *env) createSink(ctx context.Context, parts ...fields) (madeSink, error) {
	body := fields{}
	for _, p := range parts {
		for name, value := range p {
			body[name] = value
		}
	}
	var made struct {
		Sink madeSink `json:"sink"`
	}
	err := e.root(ctx, http.MethodPost, "/v1/sinks", body, &made)
	return made.Sink, err
}

func (e *env) deleteSink(ctx context.Context, s madeSink) error {
	return e.root(ctx, http.MethodDelete, "/v1/sinks/"+s.ID, nil, nil)
}

// A sinksTrial is verification beside busy sinks.
type sinksTrial struct {
	Round int    `json:"round"`
	Uses  state  `json:"uses"`
	Sinks string `json:"sinks"` // the name of a sinkLoad
	Sent  int64  `json:"events_received"`
	measurement
}

// busySinkCount is the number of busy sinks, and of the organizations of the plan.
const busySinkCount = 10

// A sinkLoad is ten sinks that take some of the uses.
type sinkLoad struct {
	name  string
	sinks int
	uses  fields
	each  bool // each sink takes the uses of one organization, and not of all
}

// profile names the profile of a service beside the sinks.
func (l sinkLoad) profile(uses state) string {
	return "sinks-" + string(uses) + "-" + strings.ReplaceAll(strings.ReplaceAll(l.name, ",", ""), " ", "-")
}

// sinkLoads are all of them. The first one is what the others are compared with.
var sinkLoads = []sinkLoad{
	{name: "none"},
	{name: "ten, each of a tenth of the uses", sinks: busySinkCount, uses: fields{"mode": "each"}, each: true},
	{name: "ten, each of one in 100 of all uses", sinks: busySinkCount, uses: fields{"mode": "sampled", "one_in": 100}},
	{name: "ten, each of all uses, summed", sinks: busySinkCount, uses: fields{"mode": "summed"}},
	{name: "ten, each of all uses", sinks: busySinkCount, uses: fields{"mode": "each"}},
}

// busySinks runs verification beside each set of sinks, in an order that changes with the round.
func busySinks(ctx context.Context, e *env) error {
	loads := slices.Clone(sinkLoads)
	for round := range e.rounds {
		for _, l := range loads {
			t, err := e.sinksTrial(ctx, l)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			t.Round = round
			e.logf("  round %d, %-49s: %7.0f verifications/s, p99 %6.0f µs, %d events sent", round+1, l.name, t.PerSecond, t.P99, t.Sent)
			e.report.BusySinks = append(e.report.BusySinks, t)
			if _, err := e.untilIdle(ctx, e.service.pid); err != nil {
				return err
			}
		}
		slices.Reverse(loads)
	}
	return nil
}

func (e *env) sinksTrial(ctx context.Context, l sinkLoad) (t sinksTrial, err error) {
	t.Uses, t.Sinks = e.service.uses, l.name
	var made []madeSink
	var all []*receiver
	for i := range l.sinks {
		r, err := receivers["elasticsearch"](e)
		if err != nil {
			return t, err
		}
		defer r.close()
		sink := fields{"name": fmt.Sprintf("busy %d", i), "from": "now", "uses": l.uses}
		if l.each {
			sink["org_id"] = e.population.Orgs[i]
		}
		s, err := e.createSink(ctx, r.sink, sink)
		if err != nil {
			return t, err
		}
		made, all = append(made, s), append(all, r)
	}
	w := e.evenly(slices.Max(e.connections), e.duration)
	w.WarmUp = e.warmUp
	var profiled errgroup.Group
	if file := e.profile(l.profile(e.service.uses)); file != "" {
		profiled.Go(func() error { return e.service.saveProfile(ctx, file, e.warmUp+e.duration) })
	}
	t.measurement, _, err = e.load(ctx, e.service.server, w)
	err = errors.Join(err, profiled.Wait())
	for _, r := range all {
		t.Sent += r.events.Load()
	}
	for _, s := range made {
		if err == nil {
			err = e.deleteSink(ctx, s)
		}
	}
	return t, err
}

// idleSinkCount is the number of sinks whose memory is measured.
const idleSinkCount = 1000

// An idleSinksCost is what sinks take that have nothing to send.
type idleSinksCost struct {
	Sinks     int     `json:"sinks"`
	Bytes     int64   `json:"bytes_each"`
	Processor float64 `json:"cpu_share"` // of one core, beyond what the service takes without them
}

// idleSinks measures many sinks with nothing to send.
func idleSinks(ctx context.Context, e *env) error {
	before, err := e.idleMemory(ctx)
	if err != nil {
		return err
	}
	without, err := e.idleProcessor(ctx)
	if err != nil {
		return err
	}
	n := idleSinkCount
	if e.smoke {
		n = 5
	}
	r, err := receivers["webhook"](e)
	if err != nil {
		return err
	}
	defer r.close()
	_, err = inParallel(ctx, writers, n, func(i int) error {
		_, err := e.createSink(ctx, r.sink, fields{"org_id": e.population.Orgs[i%len(e.population.Orgs)], "name": fmt.Sprintf("idle %d", i), "from": "now", "event_types": []string{"key.revoked"}})
		return err
	})
	if err != nil {
		return err
	}
	after, err := e.idleMemory(ctx)
	if err != nil {
		return err
	}
	with, err := e.idleProcessor(ctx)
	c := idleSinksCost{n, (after - before) / int64(n), with - without}
	e.logf("  %d idle sinks: %d bytes each, %.4f of a core", n, c.Bytes, c.Processor)
	e.report.IdleSinks = &c
	return err
}

// idleProcessor is the share of one core that the idle service takes.
func (e *env) idleProcessor(ctx context.Context) (float64, error) {
	seconds, err := processorTimeOf(e.service.pid, func() error { return backoff.Sleep(ctx, 10*e.idle) })
	return seconds / (10 * e.idle).Seconds(), err
}

func (r *report) busyRates(uses state, name string) (all []float64) {
	for _, t := range r.BusySinks {
		if t.Uses == uses && t.Sinks == name {
			all = append(all, t.PerSecond)
		}
	}
	return all
}

// busyRatio is the median of the ratios of the rounds beside sinks to those without.
func (r *report) busyRatio(uses state, name string) float64 {
	all, without := r.busyRates(uses, name), r.busyRates(uses, sinkLoads[0].name)
	for i := range all {
		all[i] /= without[i]
	}
	return median(all)
}

func sinksTargets(r *report) (all []target) {
	for _, f := range r.Forwarding {
		i := slices.IndexFunc(sinkTypes, func(t struct {
			name string
			want float64
		}) bool {
			return t.name == f.Type
		})
		want := noTarget
		if sinkTypes[i].want > 0 {
			want = fmt.Sprintf("≥ %.0f", sinkTypes[i].want)
		}
		all = append(all, target{"events/s to " + strings.ReplaceAll(f.Type, "_", " "), want, fmt.Sprintf("%.0f", f.PerSecond), f.PerSecond < sinkTypes[i].want})
	}
	for _, uses := range []state{relaxed, durable} {
		for _, l := range sinkLoads[1:] {
			if r.busyRates(uses, l.name) != nil {
				ratio := r.busyRatio(uses, l.name)
				all = append(all, target{string(uses) + ": verification beside sinks (" + l.name + "), as a share of the rate without", "≥ 0.85", fmt.Sprintf("%.2f", ratio), ratio < 0.85})
			}
		}
	}
	if c := r.IdleSinks; c != nil {
		all = append(all, target{fmt.Sprintf("memory of each of %d idle sinks", c.Sinks), noTarget, fmt.Sprintf("%d bytes", c.Bytes), false},
			target{fmt.Sprintf("processor time of %d idle sinks, of one core", c.Sinks), noTarget, fmt.Sprintf("%.3f", c.Processor), false})
	}
	return all
}

func sinksTable(r *report) string {
	t := table{
		before:  "## Sinks\n\nVerification at the largest number of connections, beside ten sinks to an Elasticsearch stand-in in the bench's own process, which counts events. Medians of the rounds.\n",
		columns: "uses | sinks | verifications/s> | events sent>",
	}
	for _, uses := range []state{relaxed, durable} {
		for _, l := range sinkLoads {
			if rates := r.busyRates(uses, l.name); rates != nil {
				var sent []float64
				for _, trial := range r.BusySinks {
					if trial.Uses == uses && trial.Sinks == l.name {
						sent = append(sent, float64(trial.Sent))
					}
				}
				t.row("%s | %s | %.0f | %.0f", uses, l.name, median(rates), median(sent))
			}
		}
	}
	return t.String()
}
