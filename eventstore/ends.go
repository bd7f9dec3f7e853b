package eventstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// End is the position of the stream's last message.
func (l *Ledger) End(ctx context.Context, s Stream) (Position, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return 0, err
	}
	return Position(info.State.LastSeq), nil
}

// Ends are the positions of the stream's first and last message, as the stream's leader has them.
func (l *Ledger) Ends(ctx context.Context, s Stream) (Ends, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return Ends{}, err
	}
	return Ends{First: max(1, Position(info.State.FirstSeq)), Last: Position(info.State.LastSeq)}, nil
}

// Gone is a checkpoint, without a hash, at the last message that has aged out of a stream; its
// position is 0 if none has.
func (l *Ledger) Gone(ctx context.Context, s Stream) (Checkpoint, error) {
	info, err := l.info(ctx, s)
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{Created: info.Created, Position: Position(max(info.State.FirstSeq, 1) - 1)}, nil
}

func (l *Ledger) info(ctx context.Context, s Stream) (info *jetstream.StreamInfo, err error) {
	err = retry(ctx, func(ctx context.Context) (err error) {
		info, err = l.streams[s].Info(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", s, err)
	}
	return info, nil
}

// count is how many events an aggregate has.
func (l *Ledger) count(ctx context.Context, ref Ref) (n uint64, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		info, err := l.streams[Events].Info(ctx, jetstream.WithSubjectFilter(ref.subject()))
		if err != nil {
			return err
		}
		for _, of := range info.State.Subjects { // one, in whatever organization
			n = of
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count the events of %s: %w", ref, err)
	}
	return n, nil
}

// Count is how many messages q finds.
func (l *Ledger) Count(ctx context.Context, q Query) (n uint64, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		c, err := l.newConsumer(ctx, q.Stream, q.consumerConfig(), 1, pageHeartbeats, nil)
		if err == nil {
			n = c.pending
			c.close()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count what comes after %d of %s: %w", q.After, q.Stream, err)
	}
	return n, nil
}

// endsBefore reports whether the events are known to end before p: a server that was cut off may
// take itself for the leader, so a quorum is proven first.
func (l *Ledger) endsBefore(ctx context.Context, p Position) bool {
	if l.beat(ctx) != nil {
		return false
	}
	end, err := l.End(ctx, Events)
	return err == nil && end < p
}

// LastEnd is the greatest position of the stream that is known here, without asking.
func (l *Ledger) LastEnd(s Stream) Position { return Position(l.health[s].end.Load()) }

// Ends are the first and the last position of a stream's messages. First is Last + 1 if
// there are none.
type Ends struct{ First, Last Position }

// PositionAt is the position of the last event that was stored at a time or before, by the clock of
// the server that stored it. Where that clock was set back it is the last one before the first
// that was stored later.
func (l *Ledger) PositionAt(ctx context.Context, at time.Time) (Position, error) {
	p, err := l.seek(ctx, Events, at.Add(1))
	if err != nil {
		return 0, fmt.Errorf("look for the last event before %s: %w", at.Format(time.RFC3339Nano), err)
	}
	return p, nil
}

// HappenedAt is when the event at a position happened, by the clock of the node that decided it.
func (l *Ledger) HappenedAt(ctx context.Context, p Position) (time.Time, error) {
	m, err := l.Message(ctx, Events, p)
	if err != nil {
		return time.Time{}, err
	}
	r, err := readEvent(&m)
	return r.Time, err
}

// seek is the position after which a stream has what was stored at a time or later. It is read
// off a consumer that begins there: JetStream has no other question for it. It counts nanoseconds
// from 1970 in 64 bits, so that a time far away would be another one to it.
func (l *Ledger) seek(ctx context.Context, s Stream, at time.Time) (p Position, err error) {
	if at.Before(time.Unix(0, 0)) {
		return 0, nil
	}
	if last := time.Unix(0, math.MaxInt64); at.After(last) {
		at = last
	}
	config := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Second}
	err = retry(ctx, func(ctx context.Context) error {
		consumer, err := l.streams[s].CreateConsumer(ctx, config)
		if err != nil {
			return err
		}
		info := consumer.CachedInfo()
		p = Position(info.Delivered.Stream)
		return l.streams[s].DeleteConsumer(ctx, info.Name)
	})
	return p, err
}
