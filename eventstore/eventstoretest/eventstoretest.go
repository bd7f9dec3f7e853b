// Package eventstoretest gives tests a real ledger: an embedded NATS server on a
// directory of the test's own.
package eventstoretest

import (
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/eventstore"
)

// New is an empty ledger that lives as long as the test.
func New(t testing.TB) *eventstore.Ledger {
	t.Helper()
	return Open(t, Server(t))
}

// Open opens the ledger that s holds.
func Open(t testing.TB, s *eventstore.Server) *eventstore.Ledger {
	t.Helper()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l, err := eventstore.Open(t.Context(), nc, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// JetStream is a connection to the server that goes past package eventstore, as another client's does.
func JetStream(t testing.TB, s *eventstore.Server) jetstream.JetStream {
	t.Helper()
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Server is a server on a temporary directory that lives as long as the test.
func Server(t testing.TB) *eventstore.Server {
	t.Helper()
	s, err := eventstore.StartUnsyncedServer(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
