package eventstore_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
)

// longHistory appends n events of each of some keys: of one of them or, if there are several, in turn.
func longHistory(t testing.TB, js jetstream.JetStream, n int, keys ...string) {
	t.Helper()
	for i := range n * len(keys) {
		m, err := eventstore.Message(eventstore.KeyRef(org, domain.NewKeyID(org, keys[i%len(keys)])), 0, eventstore.Command{ID: fmt.Sprint(i)}, domain.KeyDisabled{Header: domain.Header{At: noon}})
		if err == nil {
			_, err = js.PublishMsgAsync(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

// TestPagesOfALongHistoryAreFlat: a page of one key's events takes few messages off the ledger,
// however many there are, dense or scattered among others'.
func TestPagesOfALongHistoryAreFlat(t *testing.T) {
	server := eventstoretest.Server(t)
	l, js := eventstoretest.Open(t, server), eventstoretest.JetStream(t, server)
	longHistory(t, js, 5000, "k")
	longHistory(t, js, 5000, "another")
	longHistory(t, js, 500, "k", "a", "b", "c", "d", "e", "f", "g")
	longHistory(t, js, 5000, "k")
	trail := eventstore.NewTrail(l, nil)
	f := eventstore.Filter{Reach: domain.Only(org), Key: domain.NewKeyID(org, "k")}
	var both [2][]eventstore.Position
	for i, c := range []eventstore.Cursor{{}, {Descending: true}} {
		for end := false; !end; {
			before := l.Received()
			page, err := trail.Page(t.Context(), f, c, 100)
			if err != nil || len(page.Entries) == 0 {
				t.Fatal(len(page.Entries), err)
			}
			if n := l.Received() - before; n > 5000 {
				t.Errorf("after %d events in order %d a page takes %d messages", len(both[i]), i, n)
			}
			for _, e := range page.Entries {
				both[i] = append(both[i], e.Position)
			}
			c, end = page.Next, page.AtEnd
		}
	}
	slices.Reverse(both[1])
	if len(both[0]) != 10_500 || !slices.Equal(both[0], both[1]) {
		t.Errorf("ascending there are %d, descending %d", len(both[0]), len(both[1]))
	}
}

// BenchmarkHistory is what a page of a hundred events of a key costs that has a hundred thousand, of
// which half are dense and half scattered.
func BenchmarkHistory(b *testing.B) {
	server := eventstoretest.Server(b)
	l, js := eventstoretest.Open(b, server), eventstoretest.JetStream(b, server)
	longHistory(b, js, 50_000, "k")
	longHistory(b, js, 50_000, "k", "a", "b", "c")
	trail := eventstore.NewTrail(l, nil)
	f := eventstore.Filter{Reach: domain.Only(org), Key: domain.NewKeyID(org, "k")}
	for _, c := range []eventstore.Cursor{{}, {Descending: true}, {At: [2]eventstore.Position{25_000}}, {At: [2]eventstore.Position{25_000}, Descending: true},
		{At: [2]eventstore.Position{150_000}}, {At: [2]eventstore.Position{150_000}, Descending: true}} {
		b.Run(fmt.Sprintf("from %d descending %t", c.At[eventstore.Events], c.Descending), func(b *testing.B) {
			before := l.Received()
			for b.Loop() {
				page, err := trail.Page(b.Context(), f, c, 100)
				if err != nil || len(page.Entries) != 100 {
					b.Fatal(len(page.Entries), err)
				}
			}
			b.ReportMetric(float64(l.Received()-before)/float64(b.N), "messages/op")
		})
	}
}
