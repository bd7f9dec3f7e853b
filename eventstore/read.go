package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/domain"
)

// A Query says what to read.
type Query struct {
	Stream Stream
	After  Position
	Org    domain.OrgID // "": every organization
	Ref    *Ref         // one aggregate of the events stream
	Since  time.Time    // leave out what was stored before
	Live   bool         // go on until ctx ends; else stop at what is the end when Read begins
	Max    int          // messages in a batch at most; 0: 500
}

// A Batch is what was there to be read at once. Its records' memory is used again for the
// next one.
type Batch struct {
	Records []Record
	Mark    Mark   // of the last message
	Pending uint64 // messages that match and come after, as the server knew
}

const (
	defaultBatch = 500
	heartbeat    = 500 * time.Millisecond
	restartAfter = 100 * time.Millisecond
)

// Read hands every record that matches q to handle, in order, in batches of whatever is
// there: it never waits to fill one. It starts again from the last batch that handle took
// when the connection or its consumer is lost, and ends with handle's error, with ctx, at
// an event that it cannot decode or, unless Live, at the end.
func (l *Ledger) Read(ctx context.Context, q Query, handle func(Batch) error) error {
	if q.Max == 0 {
		q.Max = defaultBatch
	}
	info, err := l.info(ctx, q.Stream)
	if err != nil {
		return err
	}
	r := reader{ledger: l, query: q, handle: handle, created: info.Created, end: Position(info.State.LastSeq)}
	if !q.Live && r.end <= q.After {
		return nil
	}
	for {
		err := r.run(ctx)
		if err == nil || ctx.Err() != nil || !errors.As(err, new(*interrupted)) {
			return err
		}
		l.log.WarnContext(ctx, "reading the ledger again from the last position", "stream", q.Stream.String(), "position", r.query.After, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartAfter):
		}
	}
}

// interrupted is a loss of the consumer or the connection, after which to start again.
type interrupted struct{ cause error }

func (e *interrupted) Error() string { return e.cause.Error() }
func (e *interrupted) Unwrap() error { return e.cause }

// A reader is one Read; query.After moves on with what was handled.
type reader struct {
	ledger  *Ledger
	query   Query
	handle  func(Batch) error
	created time.Time
	end     Position
	last    stored // the message that the batch in hand ends with
	records []Record
}

func (r *reader) run(ctx context.Context) error {
	consumer, err := r.ledger.streams[r.query.Stream].OrderedConsumer(ctx, r.consumerConfig())
	if err != nil {
		return &interrupted{fmt.Errorf("read %s: %w", r.query.Stream, err)}
	}
	defer r.discard(consumer)
	if !r.query.Live && consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return &interrupted{err}
	}
	// Stop is what ends Next: it has no context of its own that covers its whole life.
	unhook := context.AfterFunc(ctx, messages.Stop)
	defer messages.Stop()
	defer unhook()
	return r.batches(ctx, messages)
}

// discard takes the consumer off the server, where it would stay until it was inactive for
// long: readers that come and go quickly would be more than a server takes.
func (r *reader) discard(c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if info := c.CachedInfo(); info != nil {
		_ = r.ledger.streams[r.query.Stream].DeleteConsumer(ctx, info.Name) // if it fails, time does it
	}
}

func (r *reader) consumerConfig() jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(r.query.After) + 1,
		MaxResetAttempts: 1, InactiveThreshold: time.Minute}
	if !r.query.Since.IsZero() && r.query.After == 0 {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &r.query.Since
	}
	switch {
	case r.query.Ref != nil:
		c.FilterSubjects = []string{r.query.Ref.subject()}
	case r.query.Org != "" && r.query.Stream == Events:
		c.FilterSubjects = []string{Events.root() + string(r.query.Org) + ".>"}
	case r.query.Org != "":
		c.FilterSubjects = []string{Uses.root() + string(r.query.Org)}
	}
	return c
}

// batches hands on what has arrived: the first message is waited for, the rest of the
// batch is what the client already holds.
func (r *reader) batches(ctx context.Context, messages jetstream.MessagesContext) error {
	for {
		m, err := messages.Next()
		b := Batch{Records: r.records[:0]}
		for n := 0; err == nil; n++ {
			meta, failure := r.add(&b, m)
			if failure != nil {
				return r.deliver(b, failure)
			}
			b.Pending = meta.NumPending
			if n+1 >= r.query.Max || meta.NumPending == 0 {
				break
			}
			m, err = messages.Next(jetstream.NextMaxWait(time.Millisecond))
		}
		if err != nil && b.Mark.Position == 0 {
			if ctx.Err() != nil || errors.Is(err, nats.ErrTimeout) {
				return ctx.Err()
			}
			return &interrupted{err}
		}
		if err := r.deliver(b, nil); err != nil {
			return err
		}
		if !r.query.Live && (b.Pending == 0 || b.Mark.Position >= r.end) {
			return nil
		}
	}
}

func (r *reader) add(b *Batch, m jetstream.Msg) (*jetstream.MsgMetadata, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	s := stored{stream: r.query.Stream, subject: m.Subject(), header: m.Headers(), data: m.Data(),
		position: Position(meta.Sequence.Stream), at: meta.Timestamp}
	b.Records, err = appendRecords(b.Records, s)
	if err != nil {
		return nil, err
	}
	b.Mark = Mark{Created: r.created, Position: s.position}
	// The hash is of the last message of the batch only: it is put in on delivery.
	r.last = s
	return meta, nil
}

// deliver hands b on, then fails with failure, if any: what could be decoded before an
// event that cannot be is still delivered.
func (r *reader) deliver(b Batch, failure error) error {
	r.records = b.Records
	if b.Mark.Position != 0 {
		b.Mark.Hash = hash(r.last)
		if err := r.handle(b); err != nil {
			return err
		}
		r.query.After = b.Mark.Position
	}
	return failure
}
