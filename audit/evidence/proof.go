package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

const proofFormat = "keytrail-proof-v1"

// A Proof is what shows of one event, or of one use, that it was logged.
type Proof struct {
	Format       string              `json:"format"`
	Stream       string              `json:"stream"`
	Position     eventstore.Position `json:"position"`
	ID           string              `json:"id"`
	Subject      string              `json:"subject"`
	Body         string              `json:"body,omitempty"`        // of an event, as it is stored
	BodyBase64   []byte              `json:"body_base64,omitempty"` // one that is not UTF-8
	Use          *ProvedUse          `json:"use,omitempty"`
	TlogProof    string              `json:"tlog_proof"` // c2sp.org/tlog-proof@v1, of the message
	VerifierKeys []string            `json:"verifier_keys"`
}

// A ProvedUse is one use, and what shows that it is in its message.
type ProvedUse struct {
	Index int    `json:"index"`
	Line  string `json:"line"`
	Salt  []byte `json:"salt"`
	Path  []hash `json:"path"` // in the tree of the message's uses
	Head  string `json:"head"` // the message's first line
	Count int    `json:"count"`
	Root  hash   `json:"root"`
}

// ProveEvent is the proof of an event. What proves the message, and the keys, are still to be put
// in.
func ProveEvent(m *eventstore.Raw) *Proof {
	p := &Proof{Format: proofFormat, Stream: eventstore.Events.String(), Position: m.Position, ID: m.ID(), Subject: m.Subject}
	if p.Body = string(m.Data); !utf8.ValidString(p.Body) {
		p.Body, p.BodyBase64 = "", m.Data
	}
	return p
}

// ProveUse is the proof of the use number i of a message. It shows nothing of the others.
func ProveUse(m *eventstore.Raw, t *eventstore.UseTree, i int) *Proof {
	salt := t.Salt(i)
	return &Proof{Format: proofFormat, Stream: eventstore.Uses.String(), Position: m.Position, ID: m.ID(), Subject: m.Subject,
		Use: &ProvedUse{Index: i, Line: t.Lines[i], Salt: salt[:], Path: hashes(t.Proof(i)), Head: t.Head, Count: len(t.Lines), Root: hash(t.Root())}}
}

// Complete puts in what proves the message: its inclusion proof in the checkpoint's tree.
func (p *Proof) Complete(inclusion tlog.RecordProof, checkpoint []byte, keys []string) {
	t := tlogproof.TLogProof{Index: uint64(p.Position) - 1, Checkpoint: checkpoint}
	for _, h := range inclusion {
		t.Hashes = append(t.Hashes, h)
	}
	p.TlogProof, p.VerifierKeys = string(t.Marshal()), keys
}

// MaxProof bounds a proof: the bodies of two messages, in JSON's worst spelling.
const MaxProof = 1 << 20

// A Proved is what a good proof shows.
type Proved struct {
	Proof    *Proof `json:"proof"`
	Head     Head   `json:"head"`
	FirstUse bool   `json:"trust_on_first_use"` // the keys are those that the proof names
}

// VerifyProof checks a proof of one event or use.
func VerifyProof(text []byte, trust Trust) (Proved, error) {
	p, err := readProof(text)
	if err != nil {
		return Proved{}, err
	}
	proved := Proved{Proof: p, FirstUse: len(trust.Logs) == 0}
	if proved.FirstUse {
		for _, key := range p.VerifierKeys {
			if err := trust.AddKey(key); err != nil {
				return proved, err
			}
		}
	}
	var t tlogproof.TLogProof
	if err := t.Unmarshal([]byte(p.TlogProof)); err != nil {
		return proved, err
	}
	if proved.Head, err = trust.open(string(t.Checkpoint)); err != nil {
		return proved, fmt.Errorf("the checkpoint: %w", err)
	}
	if !proved.Head.isOf(p.Stream) {
		return proved, fmt.Errorf("the checkpoint is of another log, %.100q", proved.Head.Origin)
	}
	return proved, p.check(t, proved.Head)
}

// IsProof reports whether the beginning of a file is that of a proof.
func IsProof(text []byte) bool {
	_, err := readProof(text)
	return err == nil
}

func readProof(text []byte) (*Proof, error) {
	var p Proof
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if len(text) > MaxProof || d.Decode(&p) != nil || p.Format != proofFormat {
		return nil, errors.New("the file is not a proof")
	}
	if events := p.Stream == eventstore.Events.String(); events == (p.Use != nil) || !events && p.Stream != eventstore.Uses.String() {
		return nil, errors.New("the proof is neither of an event nor of a use")
	}
	return &p, nil
}

// check compares what is to be proved with the checkpoint's tree.
func (p *Proof) check(t tlogproof.TLogProof, head Head) error {
	wrong := func(what string) error { return &Wrong{p.Stream, p.Position, what} }
	if p.Position < 1 || uint64(p.Position) > head.Size || t.Index != uint64(p.Position)-1 {
		return wrong("the proof is of another position, or of one that the checkpoint does not have")
	}
	leaf, err := p.leaf()
	if err != nil {
		return wrong(err.Error())
	}
	inclusion := make(tlog.RecordProof, len(t.Hashes))
	for i, h := range t.Hashes {
		inclusion[i] = h
	}
	if tlog.CheckRecord(inclusion, int64(head.Size), head.Root, int64(t.Index), tlog.Hash(leaf.Hash())) != nil {
		return wrong("what is here is not what was logged")
	}
	return nil
}

// leaf is what the log has at the proof's position. A use is found to be in it first.
func (p *Proof) leaf() (eventstore.Leaf, error) {
	l := eventstore.Leaf{Stream: eventstore.Events, Position: p.Position, ID: p.ID, Subject: p.Subject, Body: []byte(p.Body)}
	if p.BodyBase64 != nil {
		l.Body = p.BodyBase64
	}
	u := p.Use
	if u == nil {
		return l, nil
	}
	if len(u.Salt) != eventstore.SaltLength || u.Index < 0 || u.Index >= u.Count {
		return l, errors.New("there can be no such use")
	}
	m := message{Position: p.Position, ID: p.ID, Subject: p.Subject, Count: u.Count, Root: u.Root, Head: []byte(u.Head)}
	h := eventstore.HashUse([eventstore.SaltLength]byte(u.Salt), u.Line)
	if m.check(u.Index, tlog.Hash(h), u.Path) != nil {
		return l, errors.New("the use is not what was logged in its message")
	}
	return m.leaf(), nil
}

// Identity is the position of what is proved, as text: "17", or "17.3" for a use.
func (p *Proof) Identity() string {
	if p.Use == nil {
		return strconv.FormatUint(uint64(p.Position), 10)
	}
	return identity(p.Position, p.Use.Index)
}

// Text is what is proved.
func (p *Proof) Text() string {
	switch {
	case p.Use != nil:
		return p.Use.Line
	case p.BodyBase64 != nil:
		return string(p.BodyBase64)
	}
	return p.Body
}
