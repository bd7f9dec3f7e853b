// Package backup is the file that a ledger is backed up to and restored from.
//
// It is a tar, readable with ordinary tools. manifest.json comes first and has the positions
// up to which the streams are in it. Then come sinks/00000001.ndjson.zst and so on, how far each
// sink has come, reactions/…, how far reactions have, months/…, what the uses of the last months cost,
// events/… and uses/…, the two streams, and tiles/…, the hashes of the Merkle logs and their last checkpoints: a message a line, as its
// stream holds it, with its position and its time.
// summary.json comes last: counts, ends and a SHA-256 of the lines of each stream. A file
// without it was cut off. The installation's keyring, which is never sent over the network, may
// come before everything.
//
// Both writing and reading take a few megabytes of memory, however large the ledger is.
package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"time"
	"unicode/utf8"

	"github.com/keytrail/keytrail/eventstore"
)

// format is the version of the file's layout.
const format = 4

// The entries of the tar that are not messages.
const (
	keyringName  = "keyring"
	manifestName = "manifest.json"
	summaryName  = "summary.json"
)

// Before are the sides that are read, and written, before the events: who goes on from what they say
// finds the events after it.
var Before = [...]eventstore.Side{eventstore.Sinks, eventstore.Reactions, eventstore.Months}

// A Manifest is what a file is to hold. It is written before the messages are read.
type Manifest struct {
	Format  int                            `json:"format"`
	Version string                         `json:"keytrail"` // of the program that made it
	At      time.Time                      `json:"at"`       // everything acknowledged before is in it
	Last    map[string]eventstore.Position `json:"last"`     // by stream
}

// A Summary is what was written. It comes last.
type Summary struct {
	Manifest string             `json:"manifest_sha256"`
	Streams  map[string]Content `json:"streams"`
	Sides    map[string]Content `json:"sides"`
}

// A Content is what a file holds of one stream. SHA256 is of its lines.
type Content struct {
	First    eventstore.Position `json:"first"`
	Last     eventstore.Position `json:"last"`
	Messages uint64              `json:"messages"`
	SHA256   string              `json:"sha256"`
}

// Ends are the content's first and last positions.
func (c Content) Ends() eventstore.Ends { return eventstore.Ends{First: c.First, Last: c.Last} }

// ErrDamaged is a file that is not whole, or not what was written.
var ErrDamaged = errors.New("the back-up is damaged")

// A line is a message as JSON. Its data is a string; what is not UTF-8 is in Binary instead.
type line struct {
	Position eventstore.Position `json:"position"`
	Time     time.Time           `json:"time"`
	Subject  string              `json:"subject"`
	Header   map[string][]string `json:"header,omitempty"`
	Data     string              `json:"data,omitempty"`
	Binary   []byte              `json:"data_base64,omitempty"`
}

func encode(m *eventstore.Raw) ([]byte, error) {
	l := line{Position: m.Position, Time: m.Stored.UTC(), Subject: m.Subject, Header: m.Header}
	if utf8.Valid(m.Data) {
		l.Data = string(m.Data)
	} else {
		l.Binary = m.Data
	}
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

func decode(text []byte) (*eventstore.Raw, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, err
	}
	m := &eventstore.Raw{Position: l.Position, Subject: l.Subject, Header: l.Header, Data: []byte(l.Data), Stored: l.Time}
	if l.Binary != nil {
		m.Data = l.Binary
	}
	return m, nil
}

// A Digester computes the Content of one stream, message by message.
type Digester struct {
	content Content
	hash    hash.Hash
}

// NewDigester begins with a stream whose last position is last, even if that message has
// aged out.
func NewDigester(last eventstore.Position) *Digester {
	return &Digester{Content{First: last + 1, Last: last}, sha256.New()}
}

// Add adds the next message.
func (d *Digester) Add(m *eventstore.Raw) error {
	text, err := encode(m)
	d.add(m.Position, text)
	return err
}

func (d *Digester) add(p eventstore.Position, text []byte) {
	if d.content.Messages == 0 {
		d.content.First = p
	}
	d.content.Last = max(d.content.Last, p) // of tiles, whose end is not known before
	d.content.Messages++
	d.hash.Write(text)
}

// Content is that of the messages so far.
func (d *Digester) Content() Content {
	c := d.content
	c.SHA256 = hex.EncodeToString(d.hash.Sum(nil))
	return c
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
