package eventstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keytrail/keytrail/internal/backoff"
)

// ErrEventMissing is a position of the events, before their end, that holds nothing: no event
// ends there by itself.
var ErrEventMissing = errors.New("an event was taken off the server")

// Copy calls handle with every message of s after a position up to through, that one included,
// in order. It goes on after a lost connection. It fails if an event is missing; uses age out
// by design.
func (l *Ledger) Copy(ctx context.Context, s Stream, after, through Position, handle func(*Raw) error) error {
	return copyStream(ctx, l.streams[s], s, after, through, handle)
}

func missing(p Position) error {
	return fmt.Errorf("the ledger lacks the event at position %d: %w", p, ErrEventMissing)
}

func copyStream(ctx context.Context, stream jetstream.Stream, s Stream, after, through Position, handle func(*Raw) error) error {
	c := copier{stream: stream, name: s.String(), sparse: s == Uses, at: after, through: through, handle: handle}
	return c.run(ctx)
}

// A copier is one Copy; at moves on with what was handled.
type copier struct {
	stream  jetstream.Stream
	name    string
	sparse  bool // messages may be missing
	at      Position
	through Position
	handle  func(*Raw) error
}

// maxCopyRestarts bounds the attempts that bring no message.
const maxCopyRestarts = 20

// run makes one consumer after the other until everything is copied.
func (c *copier) run(ctx context.Context) error {
	for restarts := 0; c.at < c.through; restarts++ {
		before := c.at
		err := c.consume(ctx)
		if !errors.As(err, new(*interrupted)) || ctx.Err() != nil {
			return err
		}
		if c.at > before {
			restarts = 0
		}
		if restarts == maxCopyRestarts {
			return fmt.Errorf("copy %s: %w", c.name, &failed{Unavailable, err})
		}
		if err := backoff.Sleep(ctx, restartPause); err != nil {
			return err
		}
	}
	return nil
}

// copyAhead is how many messages, of up to 64 KiB, the server may send ahead.
const copyAhead = 100

// consume copies through one consumer until that is lost, or everything is copied.
func (c *copier) consume(ctx context.Context) error {
	consumer, err := c.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(c.at) + 1, MaxResetAttempts: 1, InactiveThreshold: time.Minute})
	if err != nil {
		return &interrupted{err}
	}
	defer c.deleteConsumer(consumer)
	if consumer.CachedInfo().NumPending == 0 {
		return c.checkEnd(ctx)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(copyAhead), jetstream.PullHeartbeat(pageHeartbeats.interval))
	if err != nil {
		return &interrupted{err}
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return &interrupted{err}
		}
		switch done, err := c.copy(m); {
		case err != nil:
			return err
		case done:
			return c.checkEnd(ctx)
		}
	}
}

// checkEnd is nil if nothing is left: through was reached, or the rest is gone, as uses age out
// from the front and tiles are replaced. Else the consumer's server lags behind the stream's leader.
func (c *copier) checkEnd(ctx context.Context) error {
	if c.at >= c.through {
		return nil
	}
	info, err := c.stream.Info(ctx)
	if err == nil && c.sparse && info.State.FirstSeq > uint64(c.through) {
		c.at = c.through
		return nil
	}
	return &interrupted{cmp.Or(err, fmt.Errorf("the server has nothing after position %d yet", c.at))}
}

// copy handles one message, and reports whether it was the last that the server has.
func (c *copier) copy(m jetstream.Msg) (done bool, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return false, err
	}
	p := Position(meta.Sequence.Stream)
	if !c.sparse && p != c.at+1 {
		return false, missing(c.at + 1)
	}
	if p > c.through {
		c.at = c.through // which was replaced, or has aged out
		return true, nil
	}
	if err := c.handle(&Raw{Position: p, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Stored: meta.Timestamp}); err != nil {
		return false, err
	}
	c.at = p
	return p == c.through || meta.NumPending == 0, nil
}

// deleteConsumer takes the consumer off the server, where it would stay until it was inactive
// for long.
func (c *copier) deleteConsumer(consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name) // if it fails, time does it
}
