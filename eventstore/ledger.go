package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
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
	nc       *nats.Conn
	js       jetstream.JetStream
	streams  [2]jetstream.Stream
	dataKeys jetstream.Stream

	sinks, attempts, deadLetters jetstream.Stream
	tiles, reactions, months     jetstream.Stream
	restored                     string // when a restored ledger was confirmed; "": it was not restored
	node                         string
	replicas                     int  // of streams that are made
	embedded                     bool // the server is in this process, which is its only client
	log                          *slog.Logger
	latency                      *prometheus.HistogramVec
	errors                       *prometheus.CounterVec
	commits                      groupCommit
	reads                        chan struct{} // the slots of get
	suspended                    atomic.Pointer[error]

	heartbeatSubject string // of this process
	acknowledged     atomic.Pointer[time.Time]
	health           [2]streamHealth // by stream
}

// Append writes e after the aggregate's event at position after, 0: as its first. It is
// repeated under one message id until it is answered; FailureOf classifies its error.
// Events that are appended at the same time may share an atomic batch.
func (l *Ledger) Append(ctx context.Context, ref Ref, after Position, c Command, e domain.Event) (p Position, err error) {
	ctx, finish := tracing.Start(ctx, "append to the ledger")
	defer func() { finish(err) }()
	if err := l.Suspended(); err != nil {
		return 0, err
	}
	if l.health[Events].mismatch.Load() {
		return 0, domain.ErrLedgerMismatch
	}
	m, err := Message(ref, after, c, e)
	if err != nil {
		return 0, &failed{Refused, err}
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(uint64(after), 10))
	p, err = l.record(ctx, Events, func(ctx context.Context) (*jetstream.PubAck, error) { return l.commit(ctx, m) })
	if err != nil {
		return 0, fmt.Errorf("append %s to %s after %d: %w", domain.TypeOf(e), ref, after, err)
	}
	return p, nil
}

// commit appends m, at first together with others that come at the same time, then by itself.
func (l *Ledger) commit(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	ack, err := l.commits.append(ctx, m)
	if err == nil || decided(err) || ctx.Err() != nil {
		return ack, err
	}
	return l.repeat(ctx, m, FailureOf(err) == Unknown)
}

// publish appends m, whose message id makes repeating it safe: the streams' duplicate
// window is longer than Deadline.
func (l *Ledger) publish(ctx context.Context, s Stream, m *nats.Msg) (Position, error) {
	return l.record(ctx, s, func(ctx context.Context) (*jetstream.PubAck, error) { return l.repeat(ctx, m, false) })
}

// repeat appends m by itself, until that is answered. sent tells that an earlier try may have
// written it.
func (l *Ledger) repeat(ctx context.Context, m *nats.Msg, sent bool) (ack *jetstream.PubAck, err error) {
	err = retry(ctx, func(ctx context.Context) (err error) {
		ack, err = l.publishOnce(ctx, m)
		sent = sent || FailureOf(classify(err)) == Unknown
		return err
	})
	if sent && FailureOf(err) == Conflict {
		err = &failed{Unknown, err} // with that try's own event, perhaps
	}
	return ack, err
}

func (l *Ledger) publishOnce(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	return l.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)) // retry repeats
}

// record makes an append, measures it, and notes its position.
func (l *Ledger) record(ctx context.Context, s Stream, append func(context.Context) (*jetstream.PubAck, error)) (Position, error) {
	start, h := time.Now(), &l.health[s]
	applied := Position(h.applied.Load()) // before it is sent
	ack, err := append(ctx)
	l.latency.WithLabelValues(s.String()).Observe(time.Since(start).Seconds())
	if err != nil {
		l.errors.WithLabelValues(s.String(), FailureOf(err).String()).Inc()
		return 0, err
	}
	l.acknowledge()
	p := Position(ack.Sequence)
	if p <= applied && !ack.Duplicate { // a duplicate was written by an earlier call
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

// Last is the position of an aggregate's last event, 0 if it has none.
func (l *Ledger) Last(ctx context.Context, ref Ref) (p Position, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		m, err := l.streams[Events].GetLastMsgForSubject(ctx, ref.subject())
		if err == nil {
			p = Position(m.Sequence)
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look for the last event of %s: %w", ref, err)
	}
	return p, nil
}

// Message is one message as the stream's leader has it; ErrNoSuchPosition if it has none there.
func (l *Ledger) Message(ctx context.Context, s Stream, p Position) (Raw, error) {
	return l.get(ctx, s, p)
}

// maxReads is how many messages are asked for at once. The server reads one after the other:
// more would only wait there, and be asked for again after tryTimeout.
const maxReads = 64

// get asks the stream's leader for one message; ErrNoSuchPosition if it has none there.
func (l *Ledger) get(ctx context.Context, s Stream, p Position, opts ...jetstream.GetMsgOpt) (Raw, error) {
	select {
	case l.reads <- struct{}{}:
		defer func() { <-l.reads }()
	case <-ctx.Done():
		return Raw{}, &failed{Unavailable, ctx.Err()}
	}
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
