package evidence

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// large is a trail of n events, of n/4 keys, without a ledger.
func large(b *testing.B, n int) *trail {
	tr := &trail{origin: "keytrail/0a1b2c3d"}
	for i := range n {
		id := domain.NewKeyID(acme, fmt.Sprint(i%max(1, n/4)))
		var previous eventstore.Position
		if i >= n/4 {
			previous = eventstore.Position(i - n/4 + 1)
		}
		m, err := eventstore.Message(eventstore.KeyRef(acme, id), previous, eventstore.Command{ID: "c", Actor: "key_x", Correlation: "r"}, created(id))
		if err == nil {
			err = tr.add(eventstore.Events, &eventstore.Raw{Position: eventstore.Position(i + 1), Subject: m.Subject, Header: map[string][]string(m.Header), Data: m.Data})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range eventstore.Streams {
		tr.makeKeys(b, s)
	}
	return tr
}

func created(id domain.KeyID) domain.Event {
	return domain.KeyCreated{ID: id, Org: acme, Keyspace: "default", Prefix: "kt_live_abcd", Header: domain.Header{At: noon, By: "key_x"},
		Settings: domain.Settings{Name: "a key of the bench", Owner: "owner-1", Scopes: []string{"orders:read", "orders:write"}, Metadata: map[string]string{"team": "payments"}}}
}

// BenchmarkVerify reads a whole bundle.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	tr := large(b, n)
	bundle := tr.bundle(b, choice{})
	trust := tr.trust(b)
	b.SetBytes(int64(len(bundle)))
	b.ResetTimer()
	for b.Loop() {
		r, err := Verify(strings.NewReader(bundle), Options{Trust: trust})
		if err != nil || r.Counts.Events != n {
			b.Fatal(err, r.Counts)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkWrite writes one.
func BenchmarkWrite(b *testing.B) {
	const n = 100_000
	tr := large(b, n)
	source := Source{Log: Log{Stream: "events", First: 1, Last: n}, Size: n, Hashes: tr.reader(eventstore.Events)}
	source.Messages = tr.of(eventstore.Events, "", source.Log)
	b.ResetTimer()
	for b.Loop() {
		if err := Write(io.Discard, Manifest{}, source); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "events/s")
}
