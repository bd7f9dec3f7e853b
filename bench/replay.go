package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/projections"
)

// A replaying is how fast a full ledger turns into an empty read model, in events per
// second: the promise is at least half of Raw.
type replaying struct {
	Events  uint64  `json:"events"`
	Raw     float64 `json:"raw_per_second"`     // messages read through nats.go and thrown away
	Decoded float64 `json:"decoded_per_second"` // records read through eventstore and thrown away
	Applied float64 `json:"applied_per_second"` // records in the read model, with its indexes
}

// replay measures a ledger in a process of its own, whose heap no other work has shaped.
// Its argument is the ledger's directory; it answers with a replaying as JSON.
func replay(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("replay: name the ledger's directory")
	}
	stop, err := profileCPU(os.Getenv(profileVariable))
	if err != nil {
		return err
	}
	defer stop()
	log := slog.New(slog.DiscardHandler)
	server, err := eventstore.StartUnsyncedServer(args[0], log)
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
	r, err := replayAll(ctx, nc, l)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

// replayAll takes each way in turn, twice, and answers the better time of each: the first
// turn also pays for what the page cache did not hold.
func replayAll(ctx context.Context, nc *nats.Conn, l *eventstore.Ledger) (replaying, error) {
	end, err := l.End(ctx, eventstore.Events)
	if err != nil {
		return replaying{}, err
	}
	r := replaying{Events: uint64(end)}
	for range 2 {
		for _, way := range []struct {
			rate *float64
			read func() (time.Duration, error)
		}{
			{&r.Raw, func() (time.Duration, error) { return timed(func() error { return readRaw(ctx, nc, uint64(end)) }) }},
			{&r.Decoded, func() (time.Duration, error) { return timed(func() error { return readDecoded(ctx, l) }) }},
			{&r.Applied, func() (time.Duration, error) { return readApplied(ctx, l, end) }},
		} {
			took, err := way.read()
			if err != nil {
				return r, err
			}
			*way.rate = max(*way.rate, float64(end)/took.Seconds())
		}
	}
	return r, nil
}

func timed(do func() error) (time.Duration, error) {
	begin := time.Now()
	err := do()
	return time.Since(begin), err
}

func readRaw(ctx context.Context, nc *nats.Conn, end uint64) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, "KEYTRAIL_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	running, err := consumer.Consume(func(m jetstream.Msg) {
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Stream == end {
			select {
			case done <- err:
			default:
			}
		}
	}, jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	defer running.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func readDecoded(ctx context.Context, l *eventstore.Ledger) error {
	return l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(eventstore.Batch) error { return nil })
}

// readApplied takes from the first event to the moment when a query would see the last.
// Opening and closing the read model, which a service does once, is not in it.
func readApplied(ctx context.Context, l *eventstore.Ledger, end eventstore.Position) (took time.Duration, err error) {
	dir, err := os.MkdirTemp(os.Getenv(scratchVariable), "replay-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	store, err := projections.Open(filepath.Join(dir, "badger"), projections.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	halted := make(chan error, 1)
	go func() { halted <- store.Run(ctx, l); cancel() }()
	took, err = timed(func() error { return store.WaitFor(ctx, end) })
	cancel()
	return took, errors.Join(err, <-halted, store.Close())
}

// scratchVariable names the directory that read models which are thrown away are built
// in: on the file system that is being measured, which /tmp may not be on.
const scratchVariable = "BENCH_SCRATCH"
