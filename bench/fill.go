package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
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

// append writes the event that began key i.
func (p population) append(ctx context.Context, l *eventstore.Ledger, i int) error {
	e := p.created(i)
	_, err := write(ctx, l, eventstore.KeyRef(e.Org, e.ID), 0, commandOf(i), e)
	return err
}

// write appends an event after the one at a position. Where the acknowledgement was lost, as on a disk
// that others keep busy, the event is looked for: no other process writes.
func write(ctx context.Context, l *eventstore.Ledger, ref eventstore.Ref, after eventstore.Position, command string, e domain.Event) (eventstore.Position, error) {
	at, err := l.Append(ctx, ref, after, eventstore.Command{ID: command, Actor: "bench"}, e)
	if err == nil || eventstore.FailureOf(err) != eventstore.Unknown {
		return at, err
	}
	end, missing := l.Load(ctx, ref, after, func(eventstore.Record) {})
	if missing != nil || end == after {
		return 0, errors.Join(err, missing)
	}
	return end, nil
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
