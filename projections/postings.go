package projections

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A posting list is the ascending positions of the messages that have to do with one term: a
// key, an organization or an outcome. A bucket of positions has its own, so that old ones go
// without being rewritten. In the rows a list is cut into chunks, which follow from its positions
// alone, however they came: one that is open, and before it those that are full.

// rowPostings is the one kind of row of a table of posting lists. The open chunk is found by its
// term; the full ones follow it, the newest first.
const rowPostings = 'p' // bucket, term, first position unless open → first position if open, differences between the positions

const (
	bucketBits = 20 // a bucket is a million positions
	bucketMask = 1<<bucketBits - 1
)

var maxChunk = 256 // bytes of differences in a chunk; tests lower it

// A term is what a posting list is of: a kind, and an id's bits or an outcome's number.
type term [1 + idSize]byte

// The kinds of terms.
const (
	termKey     = 'k'
	termOrg     = 'o'
	termOutcome = 'c'
)

func keyTerm(id domain.KeyID) term { return newTerm(termKey, id.Bytes()) }
func orgTerm(id domain.OrgID) term { return newTerm(termOrg, id.Bytes()) }

// outcomeTerm is none for valid uses, which are nearly all.
func outcomeTerm(code domain.Outcome) (t term, exists bool) {
	n := slices.Index(domain.Outcomes[:], code)
	return newTerm(termOutcome, [idSize]byte{byte(n)}), n > 0
}

func newTerm(kind byte, id [idSize]byte) (t term) {
	t[0] = kind
	copy(t[1:], id[:])
	return t
}

// A chunk is some successive positions of a list, all of one bucket. The zero chunk is empty.
type chunk struct {
	first, last eventstore.Position
	differences []byte // of each position after the first to the one before
}

// take moves positions, which are of one bucket, into c until it is full. Those that it has
// already are left out: the flush that wrote them did not come to its end.
func (c *chunk) take(positions []eventstore.Position) (left []eventstore.Position) {
	for i, p := range positions {
		switch {
		case c.first == 0:
			c.first, c.last = p, p
		case p > c.last:
			longer := binary.AppendUvarint(c.differences, uint64(p-c.last))
			if len(longer) > maxChunk {
				return positions[i:]
			}
			c.differences, c.last = longer, p
		}
	}
	return nil
}

// positions are all in c, ascending.
func (c *chunk) positions() []eventstore.Position {
	all := append(make([]eventstore.Position, 0, 1+len(c.differences)), c.first)
	for p, rest := c.first, c.differences; len(rest) > 0; {
		difference, n := binary.Uvarint(rest)
		p, rest = p+eventstore.Position(difference), rest[n:]
		all = append(all, p)
	}
	return all
}

// openRow names the open chunk of the list of t in the bucket of p. The names of the full ones
// begin with it.
func openRow(t term, p eventstore.Position) []byte {
	return row(rowPostings, binary.BigEndian.AppendUint32(nil, uint32(p>>bucketBits)), t[:])
}

// fullRow names the full chunk that begins at first.
func fullRow(t term, first eventstore.Position) []byte {
	return appendOffset(openRow(t, first), bucketMask-first&bucketMask)
}

const (
	offsetSize  = 3
	openRowSize = 1 + 4 + len(term{})
	fullRowSize = openRowSize + offsetSize
)

// appendOffset appends the place of a position in its bucket.
func appendOffset(b []byte, offset eventstore.Position) []byte {
	return append(b, byte(offset>>16), byte(offset>>8), byte(offset))
}

func readOffset(b []byte) eventstore.Position {
	return eventstore.Position(b[0])<<16 | eventstore.Position(b[1])<<8 | eventstore.Position(b[2])
}

// encodeOpen is the value of c as the open chunk.
func (c *chunk) encodeOpen() []byte {
	return append(appendOffset(nil, c.first&bucketMask), c.differences...)
}

var errPostings = errors.New("a row of posting lists cannot be read")

// readChunk reads a row of a table of posting lists.
func readChunk(row, value []byte) (c chunk, err error) {
	first := value
	switch {
	case len(row) == fullRowSize:
		first = row[openRowSize:]
	case len(row) == openRowSize && len(value) >= offsetSize:
		value = value[offsetSize:]
	default:
		return c, errPostings
	}
	offset := readOffset(first)
	if len(row) == fullRowSize {
		offset = bucketMask - offset
	}
	c.first = eventstore.Position(binary.BigEndian.Uint32(row[1:]))<<bucketBits | offset
	c.last, c.differences = c.first, bytes.Clone(value)
	for len(value) > 0 {
		difference, n := binary.Uvarint(value)
		if n <= 0 {
			return chunk{}, errPostings
		}
		c.last, value = c.last+eventstore.Position(difference), value[n:]
	}
	return c, nil
}

// A postingsWriter appends to lists, limit rows at most.
type postingsWriter struct {
	rowMap
	written, limit int
}

// add appends positions, which are of one bucket, to the list of t, and reports whether there
// was room for all of them.
func (w *postingsWriter) add(t term, positions []eventstore.Position) (whole bool, err error) {
	if w.written >= w.limit {
		return false, nil
	}
	var c chunk
	open := openRow(t, positions[0])
	if _, err := w.get(open, func(v []byte) (err error) { c, err = readChunk(open, v); return err }); err != nil {
		return false, err
	}
	for {
		positions = c.take(positions)
		w.written++
		if len(positions) == 0 || w.written >= w.limit {
			return len(positions) == 0, w.set(open, c.encodeOpen())
		}
		if err := w.set(fullRow(t, c.first), c.differences); err != nil {
			return false, err
		}
		c = chunk{}
	}
}
