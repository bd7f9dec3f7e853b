package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A Batch is some messages that were there to be read at once. The memory of its slices is used
// again for the next one.
type Batch struct {
	Messages   []Raw
	Records    []Record   // what the messages hold
	Checkpoint Checkpoint // of the last message
	Pending    uint64     // messages that match and come after, as the server knew
	Bytes      int        // of the messages' bodies
}

// After is b without what it has up to p.
func (b Batch) After(p Position) Batch {
	for len(b.Messages) > 0 && b.Messages[0].Position <= p {
		b.Messages = b.Messages[1:]
	}
	for len(b.Records) > 0 && b.Records[0].Position <= p {
		b.Records = b.Records[1:]
	}
	return b
}

// Halves cuts b between two messages: only at the end of one is a checkpoint.
func (b Batch) Halves() (first, second Batch) {
	first = b
	first.Messages = b.Messages[:len(b.Messages)/2]
	last := &first.Messages[len(first.Messages)-1]
	second = b.After(last.Position)
	first.Records = b.Records[:len(b.Records)-len(second.Records)]
	first.Checkpoint = Checkpoint{Created: b.Checkpoint.Created, Position: last.Position, Hash: hash(last)}
	return first, second
}

const (
	defaultBatch = 500
	restartPause = 100 * time.Millisecond // before another consumer is made for one that was lost
)

// Read calls handle with every record that matches q, in order, in batches of what has come:
// it never waits to fill one. When the connection or its consumer is lost it starts again after
// the last batch that was handled. It ends with handle's error, with ctx, at an event that it
// cannot decode or, unless Live, at the end.
func (l *Ledger) Read(ctx context.Context, q Query, handle func(Batch) error) error {
	if q.Ref == nil && q.Reach == (domain.Reach{}) {
		return nil // nothing is within no reach
	}
	info, err := l.info(ctx, q.Stream)
	if err != nil {
		return err
	}
	r := reader{ledger: l, query: q, handle: handle, created: info.Created, end: Position(info.State.LastSeq), heartbeats: pageHeartbeats}
	if q.Upto != 0 {
		r.end = min(r.end, q.Upto)
	}
	if !q.Live && r.end <= q.After {
		return nil
	}
	if q.Live {
		r.heartbeats = liveHeartbeats
	}
	return r.read(ctx)
}

// interrupted is a loss of the consumer or the connection, after which to start again.
type interrupted struct{ cause error }

func (e *interrupted) Error() string { return e.cause.Error() }

func (e *interrupted) Unwrap() error { return e.cause }

// A reader is one Read or Follow; query.After moves on with what was handled.
type reader struct {
	ledger     *Ledger
	query      Query
	handle     func(Batch) error
	heartbeats heartbeats
	follow     *followState // nil: it is no Follow
	created    time.Time    // of the stream
	end        Position     // unless the query is live: the last message that is read
	passed     bool         // a message after end has come
	messages   []Raw        // the memory of the last batch's
	records    []Record     // likewise
}

// read makes one consumer after the other until there is nothing more to read.
func (r *reader) read(ctx context.Context) error {
	if r.query.Max == 0 {
		r.query.Max = defaultBatch
	}
	if r.query.Prefetch == 0 {
		r.query.Prefetch = maxInFlight
	}
	logged := false
	for {
		before := r.query.After
		err := r.consume(ctx)
		if err == nil || ctx.Err() != nil || !errors.As(err, new(*interrupted)) {
			return err
		}
		logged = logged && r.query.After == before // once, not ten times a second
		if !logged {
			r.ledger.log.WarnContext(ctx, "reading the ledger again from the last position", "stream", r.query.Stream.String(), "position", r.query.After, "err", err)
		}
		logged = true
		if backoff.Sleep(ctx, backoff.Jitter(restartPause)) != nil {
			return nil
		}
	}
}

// consume reads through one consumer until that is lost.
func (r *reader) consume(ctx context.Context) error {
	var wake chan struct{}
	if r.follow != nil {
		var err error
		if r.created, err = r.follow.compare(ctx); err != nil {
			return err
		}
		wake = r.follow.health.wake
	}
	c, err := r.ledger.newConsumer(ctx, r.query.Stream, r.query.consumerConfig(), r.query.Prefetch, r.heartbeats, wake)
	if err != nil {
		return &interrupted{fmt.Errorf("read %s: %w", r.query.Stream, err)}
	}
	defer c.close()
	if !r.query.Live && c.pending == 0 {
		return nil
	}
	if r.follow != nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r.follow.start(ctx, c)
		defer r.follow.health.fresh.Store(nil)
	}
	return r.readBatches(ctx, c)
}

// readBatches delivers what has come, batch by batch.
func (r *reader) readBatches(ctx context.Context, c *consumer) error {
	for {
		m, err := c.next(ctx)
		if err != nil {
			return err
		}
		if r.follow != nil {
			if err := r.follow.noteHeard(ctx, c, r.query.After); err != nil {
				return err
			}
		}
		if m == nil {
			continue
		}
		b, err := r.batch(c, m)
		// What could be decoded before an event that cannot be is still delivered.
		if err := errors.Join(r.deliver(b), err); err != nil {
			return err
		}
		if !r.query.Live && (b.Pending == 0 || r.atEnd(b)) {
			return nil
		}
	}
}

// atEnd reports whether nothing that is asked for comes after b.
func (r *reader) atEnd(b Batch) bool {
	return !r.query.Live && (r.passed || b.Checkpoint.Position >= r.end)
}

// batch is m with what the client has received after it. What comes live has nothing after it, as
// the server knew when it sent it: there is more if the one before took long to handle.
func (r *reader) batch(c *consumer, m *nats.Msg) (b Batch, err error) {
	b.Messages, b.Records = r.messages[:0], r.records[:0]
	for n := 1; m != nil; n++ {
		if err := r.add(c, &b, m); err != nil {
			return b, err
		}
		if n == r.query.Max || b.Pending == 0 && !r.query.Live || r.atEnd(b) {
			return b, nil
		}
		var wait time.Duration
		if b.Pending > 0 {
			wait = time.Millisecond // the rest has been sent already
		}
		if m, err = c.nextWithin(wait); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (r *reader) add(c *consumer, b *Batch, m *nats.Msg) error {
	meta, err := c.metadata(m)
	if err != nil {
		return err
	}
	raw := Raw{Position: Position(meta.Sequence.Stream), Subject: m.Subject, Header: m.Header, Data: m.Data, Stored: meta.Timestamp}
	if r.passed = !r.query.Live && raw.Position > r.end; r.passed {
		return nil
	}
	if b.Records, err = r.decode(b.Records, &raw); err != nil {
		return err
	}
	b.Messages = append(b.Messages, raw)
	b.Pending, b.Bytes = meta.NumPending, b.Bytes+len(raw.Data)
	b.Checkpoint = Checkpoint{Created: r.created, Position: raw.Position} // deliver adds the hash
	return nil
}

// decode appends what a message holds: one event, or those of many uses that the query wants.
func (r *reader) decode(records []Record, m *Raw) ([]Record, error) {
	if r.query.Stream == Uses {
		return appendUses(records, m, r.query.wants())
	}
	e, err := readEvent(m)
	if err != nil {
		return records, err
	}
	return append(records, e), nil
}

func (r *reader) deliver(b Batch) error {
	r.messages, r.records = b.Messages, b.Records
	if len(b.Messages) == 0 {
		return nil
	}
	b.Checkpoint.Hash = hash(&b.Messages[len(b.Messages)-1])
	if err := r.handle(b); err != nil {
		return err
	}
	r.query.After = b.Checkpoint.Position
	if r.follow != nil {
		r.follow.noteApplied(b)
	}
	return nil
}
