package eventstore

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestARestorationWaitsForALeader: where no JetStream answers for a moment, as in a cluster that is
// electing a leader, it asks again.
func TestARestorationWaitsForALeader(t *testing.T) {
	ns, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer ns.Shutdown()
	connect := func() *nats.Conn {
		nc, err := nats.Connect("", nats.InProcessServer(ns))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	transfer, leader := transfer{nc: connect()}, connect()
	begun := make(chan error, 1)
	go func() {
		begun <- transfer.begin(t.Context(), jetstream.StreamConfig{Name: Events.name()})
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for transfer.nc.Stats().InMsgs == 0 { // that there is nobody
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it asked nobody")
		}
	}
	if _, err := leader.Subscribe("$JS.API.STREAM.RESTORE."+Events.name(), func(m *nats.Msg) { _ = m.Respond([]byte(`{"deliver_subject":"chunks"}`)) }); err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil || transfer.to != "chunks" {
		t.Errorf("it goes on to %q: %v", transfer.to, err)
	}
}
