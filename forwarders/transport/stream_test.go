package transport

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// TestAStreamSurvivesItsDeletion: one that an operator deletes is made again.
func TestAStreamSurvivesItsDeletion(t *testing.T) {
	server := eventstoretest.Server(t)
	ledger, js := eventstoretest.Open(t, server), eventstoretest.JetStream(t, server)
	e := loopback
	e.Streams = func(ctx context.Context, org domain.OrgID, sink domain.SinkID, keep time.Duration) (Stream, error) {
		return ledger.SinkStream(ctx, org, sink, keep)
	}
	org, sink := domain.OrgID("org_0000000000000000000000000a"), domain.SinkID("snk_0000000000000000000000000a")
	s, err := New(Receiver{Org: org, Sink: sink, SinkDefinition: domain.SinkDefinition{Type: domain.SinkStream, Settings: domain.SinkSettings{MaxAgeHours: 24}}}, e)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("KEYTRAIL_STREAM_%s_%s", org, sink)
	all := someEvents(20, "key_a", "key_b")
	accepted(t, s.Send(t.Context(), all[:10]))
	if err := js.DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if r := s.Send(short, all[10:]); len(r.Failed) != 10 || r.Failed[0].Kind != Again {
		t.Fatalf("%+v", r)
	}
	accepted(t, s.Send(t.Context(), all[10:]))
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil || string(m.Data) != string(all[10].Body) || m.Header.Get("Nats-Msg-Id") != all[10].ID {
		t.Errorf("%+v, %v", m, err)
	}
	if info := stream.CachedInfo(); info.State.Msgs != 10 || info.Config.MaxAge != 24*time.Hour || info.Config.MaxBytes != 1<<30 {
		t.Errorf("%+v", info)
	}
	if _, err := stream.Consumer(t.Context(), eventstore.SinkConsumer); err != nil {
		t.Error(err)
	}
}
