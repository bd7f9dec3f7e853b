package forwarders_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/forwarders"
	"github.com/keytrail/keytrail/forwarders/transport"
)

// TestSinksWhoseReceiversHangShareMemory: the more there are, the smaller are the batches of each.
func TestSinksWhoseReceiversHangShareMemory(t *testing.T) {
	const sinks = 128
	const share = 512 << 20 / 4 / sinks
	i := install(t)
	for range 60 {
		i.use(acme, "k", 0, slices.Repeat([]domain.Outcome{domain.UseValid}, 100)...)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	hang := make(chan struct{})
	var sent, largest atomic.Int64
	for n := range sinks {
		r := i.sink(fmt.Sprint(n), domain.Installation, func(s *forwarders.Sink) { s.URL = fmt.Sprintf("https://%d.example", n) })
		r.limits = transport.Limits{Events: 5000, Bytes: 4 << 20}
		r.answers(func(events []transport.Event) transport.Result {
			bytes := 0
			for _, e := range events {
				bytes += len(e.Body)
			}
			largest.Store(max(largest.Load(), int64(bytes)))
			sent.Add(1)
			<-hang
			return transport.Result{}
		})
	}
	i.run("a")
	t.Cleanup(func() { close(hang) }) // before the engine stops, which waits for it
	until(t, "all hang", func() bool { return sent.Load() == sinks })
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d sinks hang: %d KiB each, batches of up to %d KiB", sinks, (int64(after.HeapAlloc)-int64(before.HeapAlloc))/sinks>>10, largest.Load()>>10)
	if largest.Load() > share {
		t.Errorf("a batch has %d bytes, want at most %d", largest.Load(), share)
	}
}
