package audit_test

import (
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/keytrail/keytrail/audit/evidence"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// BenchmarkScatteredBundle writes the bundle of an organization whose events lie scattered among
// those of others: one in ten.
func BenchmarkScatteredBundle(b *testing.B) {
	const events, ofOthers = 200_000, 10
	n := newNode(b, eventstoretest.Server(b))
	js := eventstoretest.JetStream(b, n.server)
	for i := range events {
		org := domain.OrgID("org_a")
		if i%ofOthers > 0 {
			org = "org_b"
		}
		id := domain.NewKeyID(org, fmt.Sprint(i))
		m, err := eventstore.Message(eventstore.KeyRef(org, id), 0, eventstore.Command{ID: fmt.Sprint(i)},
			domain.KeyCreated{ID: id, Org: org, Keyspace: "default", Header: domain.Header{At: time.Now(), By: "key_x"}, Settings: domain.Settings{Name: "a key"}})
		if err == nil {
			_, err = js.PublishMsgAsync(m)
		}
		if err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			<-js.PublishAsyncComplete()
		}
	}
	n.sign()
	c := n.signedUpTo(eventstore.Events)
	n.stop()
	trail := eventstore.NewTrail(n.ledger, nil)
	for b.Loop() {
		source := evidence.Source{Log: evidence.Log{Stream: "events", First: 1, Last: eventstore.Position(c.Size)}, Size: uint64(c.Size), Hashes: n.log.Hashes(b.Context(), c), Messages: messages(b, trail, "org_a", c.Size)}
		if err := evidence.Write(io.Discard, evidence.Manifest{Organization: "org_a"}, source); err != nil {
			b.Fatal(err)
		}
	}
}

// messages are the events of an organization.
func messages(b *testing.B, trail *eventstore.Trail, org domain.OrgID, size int64) iter.Seq2[*eventstore.Raw, error] {
	return func(yield func(*eventstore.Raw, error) bool) {
		err := trail.Messages(b.Context(), eventstore.Events, org, 0, eventstore.Position(size), func(m *eventstore.Raw) error {
			yield(m, nil)
			return nil
		})
		if err != nil {
			b.Error(err)
		}
	}
}
