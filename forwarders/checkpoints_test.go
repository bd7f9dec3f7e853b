package forwarders_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestCheckpointsComeInTurns: many sinks that get something at once leave the ledger, and the
// lease, to others.
func TestCheckpointsComeInTurns(t *testing.T) {
	const sinks, maxAtOnce = 300, 32
	i := install(t)
	var mu sync.Mutex
	waiting, most := map[string]bool{}, 0
	nc := eventstoretest.JetStream(t, i.server).Conn()
	if _, err := nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		delete(waiting, m.Subject)
		var id string
		if n, _ := fmt.Sscanf(m.Subject, "keytrail.sinks.%s", &id); n == 1 {
			waiting[m.Reply] = true
			most = max(most, len(waiting))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for n := range sinks {
		i.sink(fmt.Sprint(n), domain.Installation, nil)
	}
	_, stop := i.run("a")
	i.happen(acme, "k")
	until(t, "all sinks run", func() bool { return checkpoints(t, i) == sinks })
	i.happen(acme, "k")
	for _, r := range i.receivers {
		demand(t, r, "events-1", "events-2")
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	if most > maxAtOnce+1 { // the lease's
		t.Errorf("%d were put at once", most)
	}
}
