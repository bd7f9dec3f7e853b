package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// A Checkpoint is a log's size and root, signed (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin    string
	Size      int64
	Root      eventstore.Hash
	Note      []byte    // the signed note
	Published time.Time // by the clock of the ledger's server; zero: it was not read from there

	log      uint64 // where it was read
	stream   eventstore.Stream
	revision eventstore.Position
}

// Tree is what the checkpoint says of the log.
func (c Checkpoint) Tree() tlog.Tree { return tlog.Tree{N: c.Size, Hash: tlog.Hash(c.Root)} }

// maxNote bounds a signed note: some 3.5 kB for each generation of keys and for each witness.
const maxNote = 1 << 20

var errNote = errors.New("it is no signed checkpoint")

// ParseCheckpoint reads a signed note without checking its signatures. It takes the one
// spelling that a checkpoint has, without extension lines.
func ParseCheckpoint(signed []byte) (Checkpoint, error) {
	text, signatures, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok || len(signatures) == 0 || len(signed) > maxNote {
		return Checkpoint{}, errNote
	}
	text = append(bytes.Clone(text), '\n')
	var c log.Checkpoint
	rest, err := c.Unmarshal(text)
	if err != nil || len(rest) > 0 || c.Size > math.MaxInt64 || len(c.Hash) != tlog.HashSize || !bytes.Equal(c.Marshal(), text) {
		return Checkpoint{}, errors.Join(errNote, err)
	}
	return Checkpoint{Origin: c.Origin, Size: int64(c.Size), Root: eventstore.Hash(c.Hash), Note: signed}, nil
}

// OpenCheckpoint reads a checkpoint that one of the verifiers' keys has signed.
func OpenCheckpoint(signed []byte, verifiers ...note.Verifier) (Checkpoint, error) {
	c, err := ParseCheckpoint(signed)
	if err != nil {
		return c, err
	}
	if _, err := note.Open(signed, note.VerifierList(verifiers...)); err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint of %s: %w", c.Origin, err)
	}
	return c, nil
}

// sign makes the checkpoint of a tree.
func sign(origin string, t *tree, signers []note.Signer) (Checkpoint, error) {
	root := t.root()
	text := log.Checkpoint{Origin: origin, Size: uint64(t.size), Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, signers...)
	if err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{Origin: origin, Size: t.size, Root: root, Note: signed}, nil
}
