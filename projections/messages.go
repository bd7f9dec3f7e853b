package projections

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// rowMessage is the kind of rows of the messages table: copies of the messages of uses as they
// are on the ledger. To read a hundred that lie apart, JetStream loads a block of megabytes for
// each.
const rowMessage = 'm' // position → stored, subject, headers, body

func messageRow(p eventstore.Position) []byte { return row(rowMessage, number(uint64(p))) }

// A messagesTable is the copies of those messages that the ledger still holds.
type messagesTable struct{ directTable }

func newMessagesTable(_ *Store, s tableState) table {
	return &messagesTable{directTable{s, writeMessages}}
}

func writeMessages(r rowMap, b eventstore.Batch) error {
	for i := range b.Messages {
		if err := r.set(messageRow(b.Messages[i].Position), encodeMessage(&b.Messages[i])); err != nil {
			return err
		}
	}
	return nil
}

func (t *messagesTable) skip(gone eventstore.Checkpoint) {
	if gone.Position > t.checkpoint.Position {
		t.checkpoint = gone
	}
}

// prune deletes the copies of messages that are gone, limit rows at most, and reports whether
// there may be more.
func (t *messagesTable) prune(tx *badger.Txn, gone eventstore.Position, limit int) (more bool, err error) {
	return t.rows(tx).deleteBefore(rowMessage, messageRow(gone+1), limit)
}

func encodeMessage(m *eventstore.Raw) []byte {
	b := binary.AppendVarint(make([]byte, 0, len(m.Data)+256), m.Stored.UnixNano())
	b = appendSized(b, m.Subject)
	b = binary.AppendUvarint(b, uint64(len(m.Header)))
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		b = appendSized(appendSized(b, name), m.Header[name][0])
	}
	return append(b, m.Data...)
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errMessage = errors.New("a copy of a message cannot be read")

// decodeMessage reads what encodeMessage wrote of the message at p.
func decodeMessage(p eventstore.Position, b []byte) (m eventstore.Raw, err error) {
	r := messageReader{rest: b}
	m = eventstore.Raw{Position: p, Stored: time.Unix(0, r.signed()).UTC(), Subject: r.text(), Header: map[string][]string{}}
	for n := r.number(); n > 0 && !r.failed; n-- {
		name := r.text()
		m.Header[name] = []string{r.text()}
	}
	m.Data = bytes.Clone(r.rest)
	if r.failed {
		return eventstore.Raw{}, errMessage
	}
	return m, nil
}

// A messageReader reads parts of a copy; the zero value of each once it has failed.
type messageReader struct {
	rest   []byte
	failed bool
}

func (r *messageReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.cut(n)
	return v
}

func (r *messageReader) signed() int64 {
	v, n := binary.Varint(r.rest)
	r.cut(n)
	return v
}

func (r *messageReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.cut(0)
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

// cut takes n bytes off, of which there are none if they could not be read.
func (r *messageReader) cut(n int) {
	if n <= 0 {
		r.rest, r.failed = nil, true
		return
	}
	r.rest = r.rest[n:]
}
