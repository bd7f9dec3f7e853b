package projections_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/eventstore/eventstoretest"
	"github.com/keytrail/keytrail/projections"
)

// found are the messages that the index gives of a key.
func found(t *testing.T, s *projections.Store, key domain.KeyID) (all []string) {
	t.Helper()
	q := eventstore.UseQuery{Key: key, Upto: s.Indexed(eventstore.Uses)}
	if err := s.Uses(t.Context(), q, func(m *eventstore.Raw) (bool, error) {
		all = append(all, fmt.Sprint(m.Position, m.Subject, m.Header, m.Stored.UTC(), m.Data))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// A copy that cannot be read is read from the ledger, and left out if it is gone from there.
func TestTheLedgerStandsInForLostCopies(t *testing.T) {
	server := eventstoretest.Server(t)
	l := eventstoretest.Open(t, server)
	m := newMeter(t, l)
	const messages = 20
	for range messages {
		m.use(1, noon)
		m.send()
	}
	s, _ := run(t, t.TempDir(), l)
	copies := found(t, s, meteredKey(1))
	if err := s.LoseCopies(); err != nil {
		t.Fatal(err)
	}
	if lost := found(t, s, meteredKey(1)); len(lost) != messages || !slices.Equal(lost, copies) {
		t.Errorf("%q, want %q", lost, copies)
	}
	const gone = 5
	uses, err := eventstoretest.JetStream(t, server).Stream(t.Context(), "KEYTRAIL_USES")
	if err == nil {
		err = uses.Purge(t.Context(), jetstream.WithPurgeSequence(gone+1))
	}
	if err != nil {
		t.Fatal(err)
	}
	if left := found(t, s, meteredKey(1)); !slices.Equal(left, copies[gone:]) {
		t.Errorf("%q, want %q", left, copies[gone:])
	}
}
