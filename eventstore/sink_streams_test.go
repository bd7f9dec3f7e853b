package eventstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

const sink = "snk_0000000000000000000000000a"

func streamMessages(from, to int) (all []eventstore.StreamMessage) {
	for i := from; i < to; i++ {
		all = append(all, eventstore.StreamMessage{ID: fmt.Sprintf("0a1b2c3d-events-%d", i), Body: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return all
}

// TestASinkStreamHasEachMessageOnce publishes ranges that overlap, as a sink that begins again from
// its checkpoint does.
func TestASinkStreamHasEachMessageOnce(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	for _, r := range [][2]int{{0, 100}, {50, 150}, {0, 150}, {149, 1149}, {1149, 1150}, {1149, 3300}} {
		s, err := l.SinkStream(t.Context(), org, sink, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.Publish(t.Context(), streamMessages(r[0], r[1])); err != nil || n != r[1]-r[0] {
			t.Fatalf("%v: %d, %v", r, n, err)
		}
	}
	js := eventstoretest.JetStream(t, server)
	stream, err := js.Stream(t.Context(), fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", org, sink))
	if err != nil {
		t.Fatal(err)
	}
	c, err := stream.Consumer(t.Context(), eventstore.SinkConsumer)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for n < 3300 {
		batch, err := c.Fetch(min(500, 3300-n), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if want := streamMessages(n, n+1)[0]; string(m.Data()) != string(want.Body) || m.Headers().Get("Nats-Msg-Id") != want.ID || m.Headers().Get("Keytrail-Private") != "" {
				t.Fatalf("%s %v instead of %+v", m.Data(), m.Headers(), want)
			}
			n++
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		if batch.Error() != nil {
			t.Fatal(batch.Error())
		}
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 3300 {
		t.Errorf("%+v, %v", info.State, err)
	}
	for range 2 { // deleted, and not there
		if err := l.DeleteSinkStream(t.Context(), org, sink); err != nil {
			t.Fatal(err)
		}
	}
}
