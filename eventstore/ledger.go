package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/tracing"
)

// A Ledger appends to and reads the two streams. It is safe for concurrent use, without locks:
// what changes is atomic.
type Ledger struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	streams   [2]jetstream.Stream
	node      string
	embedded  bool // the server is in this process, which is its only client
	log       *slog.Logger
	latency   *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	suspended atomic.Pointer[error]

	heartbeatSubject string // of this process
	acknowledged     atomic.Pointer[time.Time]
	health           [2]streamHealth // by stream
}

// Append writes e after the aggregate's event at position after, 0: as its first. It is
// repeated under one message id until it is answered; FailureOf classifies its error. An
// earlier try that was written although its answer was lost makes the next one a conflict
// on one replica, and a success on three.
func (l *Ledger) Append(ctx context.Context, ref Ref, after Position, c Command, e domain.Event) (p Position, err error) {
	ctx, finish := tracing.Start(ctx, "append to the ledger")
	defer func() { finish(err) }()
	if err := l.Suspended(); err != nil {
		return 0, err
	}
	if l.health[Events].mismatch.Load() {
		return 0, domain.ErrLedgerMismatch
	}
	m, err := Message(ref, c, e)
	if err != nil {
		return 0, &failed{Refused, err}
	}
	p, err = l.publish(ctx, Events, m, jetstream.WithExpectLastSequencePerSubject(uint64(after)))
	if err != nil {
		return 0, fmt.Errorf("append %s to %s after %d: %w", domain.TypeOf(e), ref, after, err)
	}
	return p, nil
}

// publish appends m, whose message id makes repeating it safe: the streams' duplicate
// window is longer than Deadline.
func (l *Ledger) publish(ctx context.Context, s Stream, m *nats.Msg, opts ...jetstream.PublishOpt) (p Position, err error) {
	opts = append(opts, jetstream.WithRetryAttempts(0)) // retry repeats
	start, h := time.Now(), &l.health[s]
	applied := Position(h.applied.Load()) // before it is sent
	duplicate := false                    // an earlier call had written it
	err = retry(ctx, func(ctx context.Context) error {
		ack, err := l.js.PublishMsg(ctx, m, opts...)
		if err == nil {
			p, duplicate = Position(ack.Sequence), ack.Duplicate
		}
		return err
	})
	l.latency.WithLabelValues(s.String()).Observe(time.Since(start).Seconds())
	if err != nil {
		l.errors.WithLabelValues(s.String(), FailureOf(err).String()).Inc()
		return 0, err
	}
	l.acknowledge()
	if p <= applied && !duplicate {
		l.log.ErrorContext(ctx, "the ledger gave a position away for the second time", "stream", s.String(), "position", p, "applied", applied)
		h.mismatch.Store(true)
		h.suspectLoss()
		return 0, domain.ErrLedgerMismatch
	}
	h.advanceEnd(p)
	return p, nil
}

// maxSingleReads is how many events of a history are read one by one, at 50 µs each in
// process, before a consumer is made for the rest: that costs a millisecond or more, and
// then a few microseconds an event.
var maxSingleReads = 32

// Load calls each with the events of one aggregate after a position, oldest first. end is the
// position of the last one, or after if there is none; on an error too, so that a load can
// go on where another one stopped. The stream's leader is asked for the end.
func (l *Ledger) Load(ctx context.Context, ref Ref, after Position, each func(Record)) (end Position, err error) {
	ctx, finish := tracing.Start(ctx, "load from the ledger")
	defer func() { finish(err) }()
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	end = after
	for {
		for range maxSingleReads {
			next, err := l.next(ctx, ref, end)
			if errors.Is(err, ErrNoSuchPosition) {
				return end, nil
			}
			if err != nil {
				return end, fmt.Errorf("load %s: %w", ref, err)
			}
			each(next)
			end = next.Position
		}
		// What the consumer leaves out, because its server lags or cannot be reached or an
		// event is not understood, is read singly again, which finds the error too.
		_ = l.Read(ctx, Query{Ref: &ref, After: end}, func(b Batch) error {
			for _, r := range b.Records {
				each(r)
			}
			end = b.Checkpoint.Position
			return nil
		})
	}
}

// next is the aggregate's first event after a position, as the stream's leader has it.
func (l *Ledger) next(ctx context.Context, ref Ref, after Position) (Record, error) {
	m, err := l.get(ctx, Events, after+1, jetstream.WithGetMsgSubject(ref.subject()))
	if err != nil {
		return Record{}, err
	}
	r, err := readEvent(&m)
	if err != nil {
		return Record{}, &failed{Refused, err}
	}
	return r, nil
}

// get asks the stream's leader for one message; ErrNoSuchPosition if it has none there.
func (l *Ledger) get(ctx context.Context, s Stream, p Position, opts ...jetstream.GetMsgOpt) (Raw, error) {
	var m *jetstream.RawStreamMsg
	err := retry(ctx, func(ctx context.Context) (err error) {
		m, err = l.streams[s].GetMsg(ctx, uint64(p), opts...)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Raw{}, ErrNoSuchPosition
	case err != nil:
		return Raw{}, err
	}
	return Raw{Position: Position(m.Sequence), Subject: m.Subject, Header: m.Header, Data: m.Data, Stored: m.Time}, nil
}
