package forwarders_test

import (
	"slices"
	"sync/atomic"
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
