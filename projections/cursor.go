package projections

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
)

// A place is where a row stands in a sorted walk: its sort value, then its id.
type place struct {
	sort    []byte
	id      [16]byte
	expires []byte // when the key does, if the row is of the keys table; empty: never
}

func (p place) compare(q place) int {
	if c := bytes.Compare(p.sort, q.sort); c != 0 {
		return c
	}
	return bytes.Compare(p.id[:], q.id[:])
}

// A cursor is the place of the last row that a caller has seen. It names a place, not a
// row, and so stays good while rows come and go. It grants nothing: what a caller may see
// is decided on each page.
type cursor struct {
	Version int    `json:"v"`
	Query   string `json:"q"` // what it belongs to: the sort and a hash of the filters
	Phase   int    `json:"p"` // which part of the walk, see phases
	Sort    []byte `json:"s"`
	ID      []byte `json:"i"`
}

const maxCursor = 2048 // characters; a name of 200 characters takes at most about 1,600

var errCursor = domain.InvalidField("cursor", "this is not a cursor of this listing; use next_cursor of a page with the same filters and sort, or leave it out")

// parseCursor reads what at wrote for the same query; "" is the beginning.
func parseCursor(text, query string) (cursor, error) {
	c := cursor{Version: 1, Query: query}
	if text == "" {
		return c, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxCursor || json.Unmarshal(b, &c) != nil ||
		c.Version != 1 || c.Query != query || len(c.ID) != 16 || c.Phase < 0 || c.Phase > 1 {
		return cursor{}, errCursor
	}
	return c, nil
}

// place is where c points, nil at the beginning.
func (c cursor) place() *place {
	if c.ID == nil {
		return nil
	}
	return &place{sort: c.Sort, id: [16]byte(c.ID)}
}

// at is the text of a cursor for the same query at p.
func (c cursor) at(phase int, p place) string {
	c.Phase, c.Sort, c.ID = phase, p.sort, p.id[:]
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // bytes and numbers alone
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
