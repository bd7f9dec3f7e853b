package eventstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
)

// A Cursor is how far both streams have been read: each up to a position, that one included,
// and in a message of uses up to an index.
type Cursor struct {
	At    [2]Position `json:"p"` // by stream
	Index int         `json:"i"` // of the last use that was read in the message at At[Uses]
}

// wholeMessage is the Index of a cursor after all uses of a message.
const wholeMessage = 1 << 20

var errCursor = errors.New("not a cursor")

// ParseCursor reads what String wrote. "" is before everything.
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

// after is the last message of which nothing is left to be read.
func (c Cursor) after(s Stream) Position {
	if s == Uses && c.Index < wholeMessage && c.At[s] > 0 {
		return c.At[s] - 1
	}
	return c.At[s]
}

// covers reports whether r was read already.
func (c Cursor) covers(r *Record) bool {
	at := c.At[r.Stream]
	return r.Position < at || r.Position == at && (r.Stream == Events || r.Index <= c.Index)
}

// Move puts c after r.
func (c *Cursor) Move(r *Record) {
	c.At[r.Stream] = r.Position
	if r.Stream == Uses {
		c.Index = r.Index
	}
}

// moveTo puts c after the message at p, unless it is there already.
func (c *Cursor) moveTo(s Stream, p Position) {
	if p <= c.after(s) {
		return
	}
	c.At[s] = p
	if s == Uses {
		c.Index = wholeMessage
	}
}

// advance puts c after all that o is after, which must be whole messages.
func (c *Cursor) advance(o Cursor) {
	c.moveTo(Events, o.At[Events])
	c.moveTo(Uses, o.At[Uses])
}
