package eventstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

const sink = "snk_0000000000000000000000000a"

func streamMessages(from, to int) (ids []string, bodies [][]byte) {
	for i := from; i < to; i++ {
		ids, bodies = append(ids, fmt.Sprintf("0a1b2c3d-events-%d", i)), append(bodies, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	return ids, bodies
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
		ids, bodies := streamMessages(r[0], r[1])
		if n, err := s.Publish(t.Context(), ids, bodies); err != nil || n != r[1]-r[0] {
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
			if ids, bodies := streamMessages(n, n+1); string(m.Data()) != string(bodies[0]) || m.Headers().Get("Nats-Msg-Id") != ids[0] || m.Headers().Get("Keytrail-Private") != "" {
				t.Fatalf("%s %v instead of message %d", m.Data(), m.Headers(), n)
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
		if err := l.DeleteSink(t.Context(), sink); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Stream(t.Context(), stream.CachedInfo().Config.Name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Error(err)
	}
}
