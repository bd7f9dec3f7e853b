package eventstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// read hands the records after c that f's queries find to handle, up to what is the end when it
// begins, and moves c behind each. It tells whether it came to the end.
func (t *Trail) read(ctx context.Context, f Filter, c *Cursor, handle func(*Record) error) (atEnd bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var sources [2]*source
	defer func() {
		cancel()
		for _, s := range sources {
			s.wait()
		}
	}()
	if err := t.begin(ctx, f, c); err != nil {
		return false, err
	}
	for i := range sources {
		if sources[i], err = t.open(ctx, f, Stream(i), c); err != nil {
			return false, err
		}
	}
	for {
		r, err := earlier(ctx, sources)
		if err != nil {
			return false, err
		}
		if r == nil {
			break
		}
		if c.passed(r) {
			continue
		}
		c.Move(r)
		if err := handle(r); err != nil {
			return false, err
		}
	}
	for _, s := range sources {
		whole, err := t.settle(ctx, s, c)
		if err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

// lateness is how long after it happened an event may have been stored for a Filter's From
// to find it.
const lateness = time.Minute

// begin moves a new cursor to where a stream holds the first events that f may choose.
func (t *Trail) begin(ctx context.Context, f Filter, c *Cursor) error {
	for _, s := range []Stream{Events, Uses} {
		if c.At[s] > 0 || f.From.IsZero() || f.leavesOut(s) {
			continue
		}
		p, err := t.ledger.seek(ctx, s, f.From.Add(-lateness))
		if err != nil {
			return err
		}
		c.moveTo(s, p)
	}
	return nil
}

// A source is one stream being read by a goroutine of its own, batch by batch.
type source struct {
	query   Query
	end     Position      // of the stream when reading began
	batches chan []Record // closed behind the last one; nil: there is nothing to read
	taken   chan struct{} // the last batch's memory may be used again
	err     error         // of the reading, once batches is closed
	records []Record      // not yet given out
	given   bool          // records are of a batch that is not yet returned
}

// open begins to read what f may choose of a stream after c. It moves c past a stream that
// f leaves out.
func (t *Trail) open(ctx context.Context, f Filter, stream Stream, c *Cursor) (*source, error) {
	s := &source{query: f.query(stream)}
	var err error
	if s.end, err = t.ledger.End(ctx, stream); err != nil {
		return nil, err
	}
	if c.At[stream] > s.end {
		return nil, ErrBeyondEnd
	}
	if f.leavesOut(stream) {
		c.moveTo(stream, s.end)
	}
	if s.query.After = c.after(stream); s.query.After == s.end {
		return s, nil
	}
	s.batches, s.taken = make(chan []Record), make(chan struct{})
	go func() {
		defer close(s.batches)
		s.err = t.ledger.Read(ctx, s.query, s.hand(ctx))
	}()
	return s, nil
}

// hand gives a batch out and waits until it is returned, for its memory is used again.
func (s *source) hand(ctx context.Context) func(Batch) error {
	return func(b Batch) error {
		select {
		case s.batches <- b.Records:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-s.taken:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait returns when the goroutine has ended; its context must have.
func (s *source) wait() {
	if s == nil || s.batches == nil {
		return
	}
	for range s.batches {
	}
}

// head is the next record, nil at the end of the stream. It waits for one.
func (s *source) head(ctx context.Context) (*Record, error) {
	for s.batches != nil {
		if len(s.records) == 0 {
			if err := s.refill(ctx); err != nil {
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

// refill returns the last batch and waits for the next one; behind the last, batches is nil.
func (s *source) refill(ctx context.Context) error {
	if s.given {
		select {
		case s.taken <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.records, s.given = <-s.batches; s.given {
		return nil
	}
	s.batches = nil
	return errors.Join(s.err, ctx.Err())
}

// earlier takes the record that was stored first of what both sources have next, nil if they
// are at their end.
func earlier(ctx context.Context, sources [2]*source) (*Record, error) {
	var first *source
	var at time.Time
	for _, s := range sources {
		r, err := s.head(ctx)
		if err != nil {
			return nil, err
		}
		if r != nil && (first == nil || r.Stored.Before(at)) {
			first, at = s, r.Stored
		}
	}
	if first == nil {
		return nil, nil
	}
	r := &first.records[0]
	first.records = first.records[1:]
	return r, nil
}

// settle moves c to the end of a stream that was read to it, so that what the query left out
// is not looked at again. The server that read may lag behind the stream's leader, which is
// therefore asked whether something is left.
func (t *Trail) settle(ctx context.Context, s *source, c *Cursor) (whole bool, err error) {
	stream := s.query.Stream
	if c.At[stream] < s.end {
		next, err := t.ledger.get(ctx, stream, c.At[stream]+1, jetstream.WithGetMsgSubject(s.query.subject()))
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
