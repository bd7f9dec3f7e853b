package eventstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
)

// A Cursor is how far both streams have been read: each to its position, that one included,
// and of a message of uses to an index.
type Cursor struct {
	At    [2]Position `json:"p"`
	Index int         `json:"i"`
}

// wholeMessage is the Index of a cursor behind all uses of a message.
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

func (c Cursor) passed(r *Record) bool {
	at := c.At[r.Stream]
	return r.Position < at || r.Position == at && (r.Stream == Events || r.Index <= c.Index)
}

// Move puts c behind r.
func (c *Cursor) Move(r *Record) {
	c.At[r.Stream] = r.Position
	if r.Stream == Uses {
		c.Index = r.Index
	}
}

// moveTo puts c behind the message at p.
func (c *Cursor) moveTo(s Stream, p Position) {
	if p <= c.after(s) {
		return
	}
	c.At[s] = p
	if s == Uses {
		c.Index = wholeMessage
	}
}

// advance puts c behind all that o is behind, which must be whole messages.
func (c *Cursor) advance(o Cursor) {
	c.moveTo(Events, o.At[Events])
	c.moveTo(Uses, o.At[Uses])
}
