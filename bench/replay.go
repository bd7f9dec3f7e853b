package main

import (
	"context"
	"errors"
	"fmt"
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

// replayRates are how fast a full ledger turns into an empty read model, in events per
// second: the promise is at least half of Raw.
type replayRates struct {
	Events  uint64  `json:"events"`
	Raw     float64 `json:"raw_per_second"`     // messages read through nats.go and thrown away
	Decoded float64 `json:"decoded_per_second"` // records read through eventstore and thrown away
	Applied float64 `json:"applied_per_second"` // records in the read model, with its indexes
}

// replay measures the ledger in a process of its own, whose heap no other work has shaped.
func replay(ctx context.Context, e *env) error {
	c, err := startChild(ctx, "replay", e.profile("replay"))
	if err != nil {
		return err
	}
	if err := c.ask(replayRequest{Ledger: e.ledger(), Scratch: e.dir}, &e.result.Replay); err != nil {
		return err
	}
	return c.stop()
}

// A replayRequest names the ledger's directory, and one for read models that are thrown away:
// on the file system that is being measured, which /tmp may not be on.
type replayRequest struct{ Ledger, Scratch string }

// replayLedger reads in each way twice and returns the better rate of each: the first
// time also pays for what the page cache did not hold.
func replayLedger(ctx context.Context, o replayRequest) (r replayRates, err error) {
	err = withLedger(ctx, o.Ledger, func(nc *nats.Conn, l *eventstore.Ledger) error {
		end, err := l.End(ctx, eventstore.Events)
		if err != nil {
			return err
		}
		r.Events = uint64(end)
		for range 2 {
			raw, err1 := timed(func() error { return readRaw(ctx, nc, "KEYTRAIL_EVENTS", uint64(end)) })
			decoded, err2 := timed(func() error {
				return l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Events}, func(eventstore.Batch) error { return nil })
			})
			applied, err3 := readApplied(ctx, o.Scratch, l, end)
			if err := errors.Join(err1, err2, err3); err != nil {
				return err
			}
			r.Raw, r.Decoded, r.Applied = max(r.Raw, r.rate(raw)), max(r.Decoded, r.rate(decoded)), max(r.Applied, r.rate(applied))
		}
		return nil
	})
	return r, err
}

func (r replayRates) rate(took time.Duration) float64 { return float64(r.Events) / took.Seconds() }

func timed(do func() error) (time.Duration, error) {
	begin := time.Now()
	err := do()
	return time.Since(begin), err
}

// readRaw reads the messages of a stream through nats.go and throws them away.
func readRaw(ctx context.Context, nc *nats.Conn, stream string, end uint64) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	reading, done := context.WithCancelCause(ctx)
	running, err := consumer.Consume(func(m jetstream.Msg) {
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream == end {
			done(err)
		}
	}, jetstream.PullMaxMessages(500))
	if err != nil {
		return err
	}
	defer running.Stop()
	<-reading.Done()
	if err := context.Cause(reading); !errors.Is(err, context.Canceled) { // Canceled is the cause of done(nil)
		return err
	}
	return ctx.Err()
}

// readApplied takes from the first event to the moment when a query would see the last.
// Opening and closing the read model, which a service does once, is not in it.
func readApplied(ctx context.Context, scratch string, l *eventstore.Ledger, end eventstore.Position) (took time.Duration, err error) {
	dir, err := os.MkdirTemp(scratch, "replay-")
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

// restart is one that finds its read model and keys that were not used yet.
func restart(_ context.Context, e *env) error {
	e.result.Ready = append(e.result.Ready, e.service.ready.Seconds())
	return nil
}

func replayTargets(r *report) []target {
	last := r.largest()
	if last == nil || last.Replay.Raw == 0 {
		return nil
	}
	share := last.Replay.Applied / last.Replay.Raw
	return []target{{"replay into an empty read model, as a share of reading, " + last.size(), "≥ 0.5", fmt.Sprintf("%.2f", share), share < 0.5}}
}

func startTable(r *report) string {
	t := table{
		before:  "## Start, replay, memory\n",
		columns: "keys> | filled at keys/s> | read raw, events/s> | decoded> | into the read model> | restart to ready> | ready with an empty read model> | peak memory of that, MB>",
	}
	for _, s := range r.Sizes {
		if s.Replay.Raw == 0 {
			continue
		}
		t.row("%d | %.0f | %.0f | %.0f | %.0f (%.2f of raw) | %.2f s | %.2f s | %.0f", s.Keys, float64(s.Fill.Keys)/s.Fill.Seconds,
			s.Replay.Raw, s.Replay.Decoded, s.Replay.Applied, s.Replay.Applied/s.Replay.Raw, median(s.Ready), s.Rebuild.Seconds, megabytes(s.Rebuild.Peak))
	}
	return t.String()
}
