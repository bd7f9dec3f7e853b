package main

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
)

// writers append or ask at the same time where only the sum counts.
const writers = 64

// A fillTime is how fast the keys were written, straight to the ledger.
type fillTime struct {
	Keys    int     `json:"keys"`
	Seconds float64 `json:"seconds"`
}

// fill appends the events that begin the population's keys, as the service would. It goes
// without an fsync for each: what counts is what is in the ledger, not that it survives a
// power cut while it gets there.
func fill(ctx context.Context, e *env) error {
	took, err := timed(func() error {
		return withLedger(ctx, e.ledger(), func(_ *nats.Conn, l *eventstore.Ledger) error {
			_, err := inParallel(ctx, writers, e.keys, func(i int) error { return e.population.append(ctx, l, i) })
			return err
		})
	})
	e.result.Fill = fillTime{Keys: e.keys, Seconds: took.Seconds()}
	return err
}

// append writes the event that began key i.
func (p population) append(ctx context.Context, l *eventstore.Ledger, i int) error {
	e := p.created(i)
	_, err := l.Append(ctx, eventstore.KeyRef(e.Org, e.ID), 0, eventstore.Command{ID: commandOf(i), Actor: e.By}, e)
	return err
}

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
