package transport

import (
	"context"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// Streams makes the stream of a sink on our own NATS server, if it is missing. It keeps messages for
// a time; 0: the default.
type Streams func(ctx context.Context, org domain.OrgID, sink domain.SinkID, keep time.Duration) (Stream, error)

// A Stream is one that a sink fills.
type Stream interface {
	// Publish appends messages in their order, and says how many of them are stored. A repeat of
	// an id is stored once.
	Publish(ctx context.Context, ids []string, bodies [][]byte) (stored int, err error)
}

// A streamSender fills the stream of a sink, from which its subscribers read.
type streamSender struct {
	Receiver
	streams Streams
	stream  Stream // nil: not made yet
}

func newStream(r Receiver, e Environment) (Sender, error) {
	return &streamSender{Receiver: r, streams: e.Streams}, nil
}

// Limits are those of one atomic batch, which shares an fsync.
func (*streamSender) Limits() Limits {
	return Limits{Events: 1000, Bytes: 3 << 20, Linger: 10 * time.Millisecond}
}

func (*streamSender) Close() error { return nil }

func (s *streamSender) Send(ctx context.Context, events []Event) Result {
	stored, err := s.publish(ctx, events)
	if err == nil {
		return Result{}
	}
	s.stream = nil // it may have been deleted: then it is made again
	r := All(len(events), &Failure{Text: err.Error()})
	for i := range stored {
		delete(r.Failed, i)
	}
	return r
}

// Prepare makes the stream, and the consumer that subscribers name.
func (s *streamSender) Prepare(ctx context.Context) (err error) {
	if s.stream == nil {
		s.stream, err = s.streams(ctx, s.Org, s.Sink, time.Duration(s.Settings.MaxAgeHours)*time.Hour)
	}
	return err
}

func (s *streamSender) publish(ctx context.Context, events []Event) (stored int, err error) {
	if err := s.Prepare(ctx); err != nil {
		return 0, err
	}
	ids, bodies := make([]string, len(events)), make([][]byte, len(events))
	for i := range events {
		ids[i], bodies[i] = events[i].ID, events[i].Body
	}
	return s.stream.Publish(ctx, ids, bodies)
}
