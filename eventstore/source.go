package eventstore

import (
	"context"
	"slices"
)

// A source is one stream of a merge: the records of a span that the filter chooses, batch by
// batch, in the merge's order.
type source struct {
	stream  Stream
	parts   []part     // what is left to be read, in order
	end     Position   // the message that all of it goes up or down to
	records []Record   // of the last batch: those that were not taken. One without an Event is to be loaded
	after   []Position // if descending: for each of records the event that it comes after
	reached Position   // the message that the last batch goes up or down to; 0: there was none
}

// A part reads a piece of a span.
type part func(context.Context) (batch, error)

// A batch is what a part read at once. Its memory is the part's, until that is called again.
type batch struct {
	records []Record
	reached Position // the message that it goes up or down to
	bytes   int      // of messages that were looked at
	last    bool     // nothing is left of the part
}

// newSource is the source of what the parts of a span have.
func newSource(s Stream, sp span, parts []part, descending bool) source {
	new := source{stream: s, parts: parts, end: sp.end(descending)}
	if len(parts) == 0 {
		new.reached = new.end
	}
	return new
}

// accept takes over a batch.
func (s *source) accept(b batch, descending bool) {
	s.records, s.reached = b.records, b.reached
	if b.last {
		s.parts = s.parts[1:]
	}
	if len(s.parts) == 0 {
		s.reached = s.end
	}
	if descending && s.stream == Uses {
		s.place()
	}
}

// place finds for each use of a descending batch the greatest position at which it, or a use
// before it on the stream, was decided: where it is when the batch is read ascending.
func (s *source) place() {
	s.after = slices.Grow(s.after[:0], len(s.records))[:len(s.records)]
	var greatest Position
	for i, r := range slices.Backward(s.records) {
		greatest = max(greatest, r.Decided)
		s.after[i] = greatest
	}
}

// decided is the position of the event that the next use comes after.
func (s *source) decided() Position {
	if len(s.after) > 0 {
		return s.after[0]
	}
	return s.records[0].Decided
}

func (s *source) drop() {
	s.records = s.records[1:]
	if len(s.after) > 0 {
		s.after = s.after[1:]
	}
}

// move puts c before the next record of s, or past all that was looked at.
func (s *source) move(c *Cursor) {
	switch {
	case len(s.records) > 0:
		c.moveBefore(&s.records[0])
	case s.reached != 0:
		c.moveTo(s.stream, s.reached)
	}
}
