package eventstore

import (
	"context"
	"errors"
	"time"
)

// A merge reads both streams as one, ascending or descending.
//
// Each stream is in its own order. Between the two, a use is placed after the event at the
// position at which it was decided, which its message has. Nodes lag behind each other, so that
// these positions do not always rise along the stream of uses. Ascending, no use comes before
// the event at its position; it may come after later events, which a use before it has
// called for. Descending, the same holds among the uses of one batch; across the border of two,
// an event may come before a use that was decided after it. Nothing is lost or given twice.
type merge struct {
	trail   *Trail
	filter  Filter
	work    work
	begin   Cursor
	sources [2]source // by stream
	bytes   int       // of the messages that were looked at
	stops   []func()  // end what reads the sources
}

// work bounds what a merge does, and tells it how much is wanted. A zero bound is none.
type work struct {
	records int // that are wanted at once
	bytes   int // of messages that are looked at
	until   time.Time
}

// replayRecords is how many records a replay wants at once.
var replayRecords = 1000

// errWorkDone ends a merge whose work is at its bounds.
var errWorkDone = errors.New("enough was looked at")

// merge begins to read what f chooses after c, in c's order, up to what are the ends now. It
// must be closed.
func (t *Trail) merge(ctx context.Context, f Filter, c Cursor, w work) (*merge, error) {
	m := &merge{trail: t, filter: f, work: w, begin: c}
	var spans [2]span
	for _, s := range []Stream{Uses, Events} { // what a use was decided after is there before it
		var err error
		if spans[s], err = t.span(ctx, f, c, s); err != nil {
			return nil, err
		}
		if c.Descending && c.At[s] == 0 {
			m.begin.At[s] = spans[s].upto + 1
		}
	}
	for _, s := range Streams {
		m.sources[s] = newSource(s, spans[s], m.parts(ctx, s, spans[s]), c.Descending)
	}
	return m, nil
}

// close ends what reads.
func (m *merge) close() {
	for _, stop := range m.stops {
		stop()
	}
}

// peek is the record that comes next, nil at the end of both streams. It is good until the next
// call of take.
func (m *merge) peek(ctx context.Context) (*Record, error) {
	for {
		for i := range m.sources {
			if err := m.receive(ctx, &m.sources[i]); err != nil {
				return nil, err
			}
		}
		s := m.first()
		if s == nil {
			return nil, nil
		}
		if s.records[0].Event != nil {
			return &s.records[0], nil
		}
		if err := m.load(ctx, s); err != nil {
			return nil, err
		}
	}
}

// receive waits for a record of s, until its end.
func (m *merge) receive(ctx context.Context, s *source) error {
	for len(s.records) == 0 && len(s.parts) > 0 {
		// Each source is read a bit, so that one page after the other comes to the end.
		if s.reached != 0 && m.workDone() {
			return errWorkDone
		}
		b, err := s.parts[0](ctx)
		if err != nil {
			return err
		}
		m.bytes += b.bytes
		s.accept(b, m.begin.Descending)
	}
	return nil
}

func (m *merge) workDone() bool {
	return m.work.bytes > 0 && m.bytes >= m.work.bytes || !m.work.until.IsZero() && time.Now().After(m.work.until)
}

// load reads the next event of s, of which only the position is known, and drops it if the
// filter does not choose it.
func (m *merge) load(ctx context.Context, s *source) error {
	if m.workDone() {
		return errWorkDone
	}
	raw, err := m.trail.ledger.get(ctx, s.stream, s.records[0].Position)
	if err != nil {
		return err
	}
	m.bytes += len(raw.Data)
	s.records[0], err = readEvent(&raw)
	if err == nil && !m.filter.Matches(&s.records[0]) {
		s.drop()
	}
	return err
}

// first is the source whose next record comes first, nil if both are at their end.
func (m *merge) first() *source {
	events, uses := &m.sources[Events], &m.sources[Uses]
	switch {
	case len(uses.records) == 0 && len(events.records) == 0:
		return nil
	case len(uses.records) == 0:
		return events
	case len(events.records) == 0:
		return uses
	case (events.records[0].Position <= uses.decided()) != m.begin.Descending:
		return events
	}
	return uses
}

// take goes past the record that peek gave.
func (m *merge) take() { m.first().drop() }

// place is the cursor before the next record.
func (m *merge) place() Cursor {
	c := m.begin
	for i := range m.sources {
		m.sources[i].move(&c)
	}
	return c
}
