package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/eventstore"
)

// writers append or ask at the same time where only the sum counts.
const writers = 64

// fillers share an atomic batch, whose cost does not depend on its size.
const fillers = 1000

// A fillTime is how fast the keys were written, straight to the ledger.
type fillTime struct {
	Keys    int     `json:"keys"`
	Seconds float64 `json:"seconds"`
}

// fill appends the events that begin the population's keys, as the service would. It goes
// without an fsync for each: what counts is what is in the ledger, not that it survives a
// power cut while it gets there. The next start finds no read model.
func fill(ctx context.Context, e *env) error {
	took, err := timed(func() error {
		return withLedger(ctx, e.ledger(), func(_ *nats.Conn, l *eventstore.Ledger) error {
			_, err := inParallel(ctx, fillers, e.keys, func(i int) error { return e.population.append(ctx, l, i) })
			return err
		})
	})
	e.result.Fill = fillTime{Keys: e.keys, Seconds: took.Seconds()}
	return errors.Join(err, os.RemoveAll(e.readModel()))
}

// append writes the event that began key i. Where the acknowledgement was lost, as on a disk that
// others keep busy, the key is looked for: no other process writes.
func (p population) append(ctx context.Context, l *eventstore.Ledger, i int) error {
	e := p.created(i)
	ref := eventstore.KeyRef(e.Org, e.ID)
	_, err := l.Append(ctx, ref, 0, eventstore.Command{ID: commandOf(i), Actor: e.By}, e)
	if err == nil || eventstore.FailureOf(err) != eventstore.Unknown {
		return err
	}
	end, missing := l.Load(ctx, ref, 0, func(eventstore.Record) {})
	if missing != nil || end == 0 {
		return errors.Join(err, missing)
	}
	return nil
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
