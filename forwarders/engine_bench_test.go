package forwarders_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// BenchmarkCatchUp is what the engine makes of uses that wait on the ledger for a receiver which
// takes them at once, in batches and one by one.
func BenchmarkCatchUp(b *testing.B) {
	for name, limits := range map[string]transport.Limits{"batches of 5000": {Events: 5000, Bytes: 8 << 20}, "batches of 256": {Events: 256}} {
		b.Run(name, func(b *testing.B) {
			i := install(b)
			const messages, each = 500, 300
			for range messages {
				i.use(acme, "k", 0, slices.Repeat([]domain.Outcome{domain.UseValid}, each)...)
			}
			for b.Loop() {
				r := i.sink("r", acme, func(s *forwarders.Sink) { s.Name = time.Now().String() })
				r.limits = limits
				var n atomic.Int64
				r.answers(func(events []transport.Event) transport.Result {
					n.Add(int64(len(events)))
					return transport.Result{}
				})
				_, stop := i.run("a")
				until(b, "all has come", func() bool { return n.Load() >= messages*each })
				stop()
				_ = i.ledger.DeleteSink(b.Context(), r.id)
			}
			b.ReportMetric(float64(messages*each*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLive is the processor time for each use that comes while ten sinks are up to date, that of
// the ledger included: the one without sinks is what is taken off.
func BenchmarkLive(b *testing.B) {
	const orgs, messages, each = 10, 30, 300 // less than the ring has
	for _, load := range []struct {
		name  string
		sinks int
		own   bool // each sink has the uses of one organization
		uses  domain.SinkUses
		as    domain.SinkFormat
	}{
		{name: "no sinks"},
		{name: "a tenth each", sinks: 10, own: true, as: domain.FormatCloudEvents},
		{name: "1 in 100", sinks: 10, uses: domain.SinkUses{Mode: "sampled", OneIn: 100}, as: domain.FormatCloudEvents},
		{name: "summed", sinks: 10, uses: domain.SinkUses{Mode: "summed"}, as: domain.FormatCloudEvents},
		{name: "all", sinks: 10, as: domain.FormatCloudEvents},
		{name: "all as OCSF", sinks: 10, as: domain.FormatOCSF},
	} {
		b.Run(load.name, func(b *testing.B) {
			i := install(b)
			var ended atomic.Int64
			for n := range load.sinks {
				org := domain.Installation
				if load.own {
					org = domain.NewOrgID(fmt.Sprint(n))
				}
				r := i.sink(fmt.Sprint(n), org, func(s *forwarders.Sink) { s.Uses, s.Format = load.uses, load.as })
				r.limits = transport.Limits{Events: 500, Bytes: 5 << 20, Linger: 10 * time.Millisecond}
				r.discards(func(events []transport.Event) {
					for _, e := range events {
						if e.Type != "key.used" {
							ended.Add(1)
						}
					}
				})
			}
			i.run("a")
			expected := int64(0)
			end := func() {
				for n := range orgs {
					i.happen(domain.NewOrgID(fmt.Sprint(n)), "k")
				}
				if expected += int64(load.sinks * orgs); load.own {
					expected -= int64(load.sinks * (orgs - 1))
				}
				until(b, "all has come", func() bool { return ended.Load() == expected })
			}
			end()
			before := processorTime(b)
			for b.Loop() {
				for m := range messages {
					i.use(domain.NewOrgID(fmt.Sprint(m%orgs)), "k", 0, slices.Repeat([]domain.Outcome{domain.UseValid}, each)...)
				}
				end()
			}
			b.ReportMetric(float64(processorTime(b)-before)/float64(messages*each*b.N), "cpu-ns/use")
		})
	}
}

// processorTime is that of this process.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
