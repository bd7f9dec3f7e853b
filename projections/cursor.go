package projections

import (
	"encoding/base64"
	"encoding/json"

	"github.com/keytrail/keytrail/domain"
)

// A cursor is the index entry of the last row that a caller has seen. It stays good while
// rows come and go: it says where to go on, not at which row. It grants nothing: what a caller may see
// is decided on each page.
type cursor struct {
	Version int    `json:"v"`
	Query   string `json:"q"` // what it belongs to: the sort and a hash of the filters
	Phase   int    `json:"p"` // of a listing, see phase
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
		c.Version != 1 || c.Query != query || len(c.ID) != idSize || c.Phase < 0 || c.Phase >= phasesEnd {
		return cursor{}, errCursor
	}
	return c, nil
}

// entry is where c points, nil at the beginning.
func (c cursor) entry() *indexEntry {
	if c.ID == nil {
		return nil
	}
	return &indexEntry{value: c.Sort, id: [idSize]byte(c.ID)}
}

// at is the text of a cursor for the same query at e.
func (c cursor) at(phase int, e indexEntry) string {
	c.Phase, c.Sort, c.ID = phase, e.value, e.id[:]
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // bytes and numbers alone
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
