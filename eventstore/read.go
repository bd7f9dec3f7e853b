package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A Query says what to read.
type Query struct {
	Stream Stream
	After  Position
	Reach  domain.Reach
	Ref    *Ref // one aggregate of the events stream, whatever the reach
	Live   bool // go on until ctx ends; else stop at what is the end when Read begins
	Max    int  // messages in a batch at most; 0: 500
}

// A Batch is what was there to be read at once. Its records' memory is used again for the
// next one.
type Batch struct {
	Records    []Record
	Checkpoint Checkpoint // of the last message
	Pending    uint64     // messages that match and come after, as the server knew
	Bytes      int        // of the messages' bodies
}

const (
	defaultBatch = 500
	restartAfter = 100 * time.Millisecond
)

// Read hands every record that matches q to handle, in order, in batches of whatever is
// there: it never waits to fill one. It starts again from the last batch that handle took
// when the connection or its consumer is lost, and ends with handle's error, with ctx, at
// an event that it cannot decode or, unless Live, at the end.
func (l *Ledger) Read(ctx context.Context, q Query, handle func(Batch) error) error {
	if q.Ref == nil && q.Reach == (domain.Reach{}) {
		return nil // nothing is within no reach
	}
	info, err := l.info(ctx, q.Stream)
	if err != nil {
		return err
	}
	r := reader{ledger: l, query: q, handle: handle, created: info.Created, end: Position(info.State.LastSeq), pace: pagePace}
	if !q.Live && r.end <= q.After {
		return nil
	}
	if q.Live {
		r.pace = followerPace
	}
	return r.read(ctx)
}

// interrupted is a loss of the consumer or the connection, after which to start again.
type interrupted struct{ cause error }

func (e *interrupted) Error() string { return e.cause.Error() }
func (e *interrupted) Unwrap() error { return e.cause }

// A reader is one Read or Follow; query.After moves on with what was handled.
type reader struct {
	ledger  *Ledger
	query   Query
	handle  func(Batch) error
	pace    pace
	follow  *follower // nil: it is no Follow
	created time.Time
	end     Position
	last    stored // the message that the batch in hand ends with
	records []Record
}

// read makes one consumer after the other until there is nothing more to read.
func (r *reader) read(ctx context.Context) error {
	if r.query.Max == 0 {
		r.query.Max = defaultBatch
	}
	told := false
	for {
		before := r.query.After
		err := r.run(ctx)
		if err == nil || ctx.Err() != nil || !errors.As(err, new(*interrupted)) {
			return err
		}
		told = told && r.query.After == before // once, not ten times a second
		if !told {
			r.ledger.log.WarnContext(ctx, "reading the ledger again from the last position", "stream", r.query.Stream.String(), "position", r.query.After, "err", err)
		}
		told = true
		if backoff.Sleep(ctx, backoff.Jitter(restartAfter)) != nil {
			return nil
		}
	}
}

// run reads through one consumer until that is lost.
func (r *reader) run(ctx context.Context) error {
	var wake chan struct{}
	if r.follow != nil {
		var err error
		if r.created, err = r.follow.compare(ctx); err != nil {
			return err
		}
		wake = r.follow.pulse.wake
	}
	c, err := r.ledger.consume(ctx, r.query.Stream, r.consumerConfig(), r.pace, wake)
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
		r.follow.begin(ctx, c)
		defer r.follow.pulse.fresh.Store(nil)
	}
	return r.batches(ctx, c)
}

func (r *reader) consumerConfig() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(r.query.After) + 1}
	if r.query.Ref != nil || !r.query.Reach.All {
		c.FilterSubjects = []string{r.query.subject()}
	}
	return c
}

// subject is what the subjects of the messages that q finds match.
func (q *Query) subject() string {
	switch {
	case q.Ref != nil:
		return q.Ref.subject()
	case q.Reach.All:
		return q.Stream.root() + ">"
	case q.Stream == Events:
		return Events.root() + string(q.Reach.Org) + ".>"
	}
	return Uses.root() + string(q.Reach.Org)
}

// batches hands on what has arrived.
func (r *reader) batches(ctx context.Context, c *consumer) error {
	for {
		m, err := c.next(ctx)
		if err != nil {
			return err
		}
		if r.follow != nil {
			if err := r.follow.note(ctx, c, r.query.After); err != nil {
				return err
			}
		}
		if m == nil {
			continue
		}
		b, err := r.gather(c, m)
		// What could be decoded before an event that cannot be is still delivered.
		if err := errors.Join(r.deliver(b), err); err != nil {
			return err
		}
		if !r.query.Live && (b.Pending == 0 || b.Checkpoint.Position >= r.end) {
			return nil
		}
	}
}

// gather is the batch of m and what the client holds after it.
func (r *reader) gather(c *consumer, m *nats.Msg) (b Batch, err error) {
	b.Records = r.records[:0]
	for n := 1; m != nil; n++ {
		if err := r.add(c, &b, m); err != nil {
			return b, err
		}
		if n == r.query.Max || b.Pending == 0 {
			return b, nil
		}
		if m, err = c.soon(time.Millisecond); err != nil {
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
	s := stored{stream: r.query.Stream, subject: m.Subject, header: m.Header, data: m.Data,
		position: Position(meta.Sequence.Stream), at: meta.Timestamp}
	if b.Records, err = appendRecords(b.Records, s); err != nil {
		return err
	}
	b.Pending, b.Checkpoint = meta.NumPending, Checkpoint{Created: r.created, Position: s.position}
	b.Bytes += len(s.data)
	// The hash is of the last message of the batch only: it is put in on delivery.
	r.last = s
	return nil
}

func (r *reader) deliver(b Batch) error {
	r.records = b.Records
	if b.Checkpoint.Position == 0 {
		return nil
	}
	b.Checkpoint.Hash = hash(r.last)
	if err := r.handle(b); err != nil {
		return err
	}
	r.query.After = b.Checkpoint.Position
	if r.follow != nil {
		r.follow.applied(b)
	}
	return nil
}
