package eventstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
)

// A Cursor is how far both streams have been read: each up to a position or, descending, down to
// one, that one included, and in a message of uses up or down to an index. What is appended
// later comes after an ascending cursor and never after a descending one.
type Cursor struct {
	At         [2]Position `json:"p"` // by stream; 0: reading has not begun
	Index      int         `json:"i"` // of the last use that was read in the message at At[Uses]
	Descending bool        `json:"d,omitempty"`
}

// CursorAfter is an ascending cursor after whole messages.
func CursorAfter(events, uses Position) Cursor {
	return Cursor{At: [2]Position{events, uses}, Index: wholeMessage}
}

// wholeMessage is the Index of an ascending cursor after all uses of a message.
const wholeMessage = 1 << 20

var errCursor = errors.New("not a cursor")

// ParseCursor reads what String wrote. "" is before everything, in ascending order.
func ParseCursor(s string) (c Cursor, err error) {
	if s == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(s) > 200 || json.Unmarshal(b, &c) != nil || c.Index < 0 || c.Index > wholeMessage || c.At[0] > 1<<62 || c.At[1] > 1<<62 {
		return Cursor{}, errCursor
	}
	return c, nil
}

func (c Cursor) String() string {
	b, _ := json.Marshal(c) // numbers alone
	return base64.RawURLEncoding.EncodeToString(b)
}

// after is the last message of which an ascending cursor leaves nothing to be read.
func (c Cursor) after(s Stream) Position {
	if s == Uses && c.Index < wholeMessage && c.At[s] > 0 {
		return c.At[s] - 1
	}
	return c.At[s]
}

// upto is the last message of which a descending cursor that has begun leaves something to be
// read.
func (c Cursor) upto(s Stream) Position {
	if s == Uses && c.Index > 0 {
		return c.At[s]
	}
	return c.At[s] - 1
}

// Reaches reports whether an ascending cursor is as far as another one in both streams.
func (c Cursor) Reaches(o Cursor) bool {
	return c.after(Events) >= o.after(Events) && c.after(Uses) >= o.after(Uses)
}

// covers reports whether r was read already.
func (c Cursor) covers(r *Record) bool {
	at := c.At[r.Stream]
	if r.Position != at {
		return r.Position < at != c.Descending
	}
	return r.Stream == Events || r.Index == c.Index || r.Index < c.Index != c.Descending
}

// Move puts c, which is ascending, after r.
func (c *Cursor) Move(r *Record) {
	c.At[r.Stream] = r.Position
	if r.Stream == Uses {
		c.Index = r.Index
	}
}

// moveBefore makes r the next record of its stream.
func (c *Cursor) moveBefore(r *Record) {
	switch {
	case c.Descending && r.Stream == Uses:
		c.At[Uses], c.Index = r.Position, r.Index+1
	case c.Descending:
		c.At[Events] = r.Position + 1
	case r.Stream == Uses && r.Index > 0:
		c.At[Uses], c.Index = r.Position, r.Index-1
	default:
		c.moveTo(r.Stream, r.Position-1)
	}
}

// moveTo puts c past the message at p, unless it is there already.
func (c *Cursor) moveTo(s Stream, p Position) {
	index := wholeMessage
	if c.Descending {
		index = 0
		if p > c.upto(s) {
			return
		}
	} else if p <= c.after(s) {
		return
	}
	c.At[s] = p
	if s == Uses {
		c.Index = index
	}
}

// advance puts c after all that o is after, which must be whole messages.
func (c *Cursor) advance(o Cursor) {
	c.moveTo(Events, o.At[Events])
	c.moveTo(Uses, o.At[Uses])
}
