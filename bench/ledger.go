package main

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
)

// withLedger opens the ledger in a directory, which no service may be using, in this process.
func withLedger(ctx context.Context, dir string, do func(*nats.Conn, *eventstore.Ledger) error) error {
	log := slog.New(slog.DiscardHandler)
	server, err := eventstore.StartUnsyncedServer(dir, log)
	if err != nil {
		return err
	}
	defer server.Close()
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	l, err := eventstore.Open(ctx, nc, eventstore.Options{Logger: log})
	if err != nil {
		return err
	}
	return do(nc, l)
}
