package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// read merges both streams: it calls handle with the records after c that f's queries find, in
// the order in which they were stored, up to what is the end when it begins, and moves c after
// each. It reports whether it came to the end.
func (t *Trail) read(ctx context.Context, f Filter, c *Cursor, handle func(*Record) error) (atEnd bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var m merge
	defer func() {
		cancel()
		m.wait()
	}()
	if err := t.skipToStart(ctx, f, c); err != nil {
		return false, err
	}
	for s := range m {
		if m[s], err = t.openSource(ctx, f, Stream(s), c); err != nil {
			return false, err
		}
	}
	for {
		r, err := m.next(ctx)
		if err != nil {
			return false, err
		}
		if r == nil {
			break
		}
		if c.covers(r) {
			continue
		}
		c.Move(r)
		if err := handle(r); err != nil {
			return false, err
		}
	}
	for _, s := range m {
		complete, err := t.moveToEnd(ctx, s, c)
		if err != nil || !complete {
			return false, err
		}
	}
	return true, nil
}

// maxDelay is how long after it happened an event may have been stored for a Filter's From to
// find it.
const maxDelay = time.Minute

// skipToStart moves a new cursor to where a stream has the first events that f may choose.
func (t *Trail) skipToStart(ctx context.Context, f Filter, c *Cursor) error {
	for _, s := range Streams {
		if c.At[s] > 0 || f.From.IsZero() || f.excludes(s) {
			continue
		}
		p, err := t.ledger.seek(ctx, s, f.From.Add(-maxDelay))
		if err != nil {
			return err
		}
		c.moveTo(s, p)
	}
	return nil
}

// moveToEnd moves c to the end of a stream that was read to it, so that what the query left out
// is not looked at again. The server that read may lag behind the stream's leader, which is
// therefore asked whether something is left.
func (t *Trail) moveToEnd(ctx context.Context, s *source, c *Cursor) (complete bool, err error) {
	stream := s.query.Stream
	if read := max(s.read, c.after(stream)); read < s.end {
		next, err := t.ledger.get(ctx, stream, read+1, jetstream.WithGetMsgSubject(s.query.subject()))
		if err == nil && next.Position <= s.end {
			return false, nil
		}
		if err != nil && !errors.Is(err, ErrNoSuchPosition) {
			return false, err
		}
	}
	c.moveTo(stream, s.end)
	return true, nil
}

// A merge has one source for each stream.
type merge [2]*source

// next is the record that was stored first of those that the sources have next, nil if both are
// at their end. It is good until next is called again.
func (m *merge) next(ctx context.Context) (*Record, error) {
	var first *source
	var stored time.Time
	for _, s := range m {
		r, err := s.peek(ctx)
		if err != nil {
			return nil, err
		}
		if r != nil && (first == nil || r.Stored.Before(stored)) {
			first, stored = s, r.Stored
		}
	}
	if first == nil {
		return nil, nil
	}
	r := &first.records[0]
	first.records = first.records[1:]
	return r, nil
}

// wait returns when the sources' goroutines have ended; their context must have.
func (m *merge) wait() {
	for _, s := range m {
		if s == nil || s.batches == nil {
			continue
		}
		for range s.batches {
		}
	}
}

// A source is one stream, read batch by batch in a goroutine of its own. That waits until a
// batch is released before it reads the next one into the same memory.
type source struct {
	query    Query
	end      Position      // of the stream when reading began
	batches  chan []Record // closed after the last one; nil: nothing is left to read
	released chan struct{}
	read     Position // how far it has been read, once batches is closed
	err      error    // of the reading, once batches is closed
	records  []Record // of the last batch: those that next has not returned yet
	held     bool     // the last batch is not released yet
}

// openSource begins to read what f may choose of a stream after c. It moves c to the end of a
// stream that f excludes.
func (t *Trail) openSource(ctx context.Context, f Filter, stream Stream, c *Cursor) (*source, error) {
	s := &source{query: f.query(stream)}
	var err error
	if s.end, err = t.ledger.End(ctx, stream); err != nil {
		return nil, err
	}
	if c.At[stream] > s.end {
		return nil, ErrBeyondEnd
	}
	if f.excludes(stream) {
		c.moveTo(stream, s.end)
	}
	s.query.After = c.after(stream)
	if s.query.After == s.end {
		return s, nil
	}
	s.batches, s.released = make(chan []Record), make(chan struct{})
	go func() {
		defer close(s.batches)
		s.err = t.ledger.Read(ctx, s.query, func(b Batch) error {
			s.read = b.Checkpoint.Position
			return s.deliver(ctx, b.Records)
		})
	}()
	return s, nil
}

// deliver sends a batch and waits until it is released.
func (s *source) deliver(ctx context.Context, records []Record) error {
	select {
	case s.batches <- records:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-s.released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peek is the next record, nil at the end of the stream. It waits for one.
func (s *source) peek(ctx context.Context) (*Record, error) {
	for s.batches != nil {
		if len(s.records) == 0 {
			if err := s.receive(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if s.records[0].Position <= s.end {
			return &s.records[0], nil
		}
		s.records = s.records[1:] // stored after the reading began
	}
	return nil, nil
}

// receive releases the last batch and waits for the next one; after the last, batches is nil.
func (s *source) receive(ctx context.Context) error {
	if s.held {
		select {
		case s.released <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.records, s.held = <-s.batches
	if s.held {
		return nil
	}
	s.batches = nil
	return errors.Join(s.err, ctx.Err())
}
