package forwarders_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/forwarders"
)

// checkpoints is how many sinks have put one down.
func checkpoints(t testing.TB, i *installation) int {
	t.Helper()
	s, err := eventstoretest.JetStream(t, i.server).Stream(t.Context(), "KEYTRAIL_SINKS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("keytrail.sinks.*.checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return len(info.State.Subjects)
}

// TestIdleSinksWriteNothing, and take little memory.
func TestIdleSinksWriteNothing(t *testing.T) {
	const sinks = 1000
	i := install(t)
	i.happen(other, "k")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	for n := range sinks {
		i.sink(fmt.Sprint("idle ", n), domain.NewOrgID(fmt.Sprint(n)), func(s *forwarders.Sink) { s.Start = eventstore.CursorAfter(1, 0) })
	}
	busy := i.sink("busy", other, nil)
	i.run("a")
	want := []string{"events-1"}
	demand(t, busy, want...)
	for n := range 20 {
		i.happen(other, fmt.Sprint(n))
		want = append(want, fmt.Sprint("events-", n+2))
	}
	demand(t, busy, want...)
	last := domain.NewSinkID(domain.NewOrgID("7"), "idle 7")
	i.happen(domain.NewOrgID("7"), "k")
	demand(t, i.receivers[last], "events-22")
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)
	t.Logf("%d idle sinks: %d goroutines, %d bytes each", sinks, runtime.NumGoroutine()-goroutines, grown/sinks)
	if grown/sinks > 100<<10 {
		t.Errorf("an idle sink takes %d bytes", grown/sinks)
	}
	until(t, "those that got something have checkpoints", func() bool { return checkpoints(t, i) == 2 })
	for id, r := range i.receivers {
		if got := r.sequences(); !slices.Contains([]domain.SinkID{busy.id, last}, id) && len(got) > 0 {
			t.Errorf("%s got %v", id, got)
		}
	}
}
