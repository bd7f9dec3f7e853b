// Package witness cosigns checkpoints of logs (C2SP tlog-witness and tlog-cosignature), and asks
// witnesses to. A witness signs the checkpoint of a log if it goes on from the last one that it
// signed: who holds the log's keys can then show no two histories without the witness's help.
//
// A witness is of use where its key and its machine are in other hands than the log's.
package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/internal/secretfile"
)

// A Witness remembers the last checkpoint of each log, on disk before it answers. It is safe for
// concurrent use.
type Witness struct {
	keys Keys
	logs map[string]*witnessed // by origin
}

// A witnessed log has a lock of its own, under which its last checkpoint is compared, signed and
// replaced.
type witnessed struct {
	verifiers []note.Verifier
	path      string

	mu   sync.Mutex
	last audit.Checkpoint // the zero value: none was signed
}

// New is a witness of the logs with these verifier keys. What it signed is kept in a directory that
// is its own and that must never be set back: it would sign another history.
func New(keys Keys, dir string, vkeys []string) (*Witness, error) {
	w := &Witness{keys, map[string]*witnessed{}}
	verifiers, err := audit.Verifiers(vkeys)
	if err != nil {
		return nil, err
	}
	for _, v := range verifiers {
		l := w.logs[v.Name()]
		if l == nil {
			l = &witnessed{path: filepath.Join(dir, originHash(v.Name()))}
			w.logs[v.Name()] = l
			if err := l.load(v.Name()); err != nil {
				return nil, err
			}
		}
		l.verifiers = append(l.verifiers, v)
	}
	return w, nil
}

// originHash names a log in paths.
func originHash(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return hex.EncodeToString(sum[:])
}

func (l *witnessed) load(origin string) error {
	text, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		l.last, err = audit.ParseCheckpoint(text)
	}
	if err == nil && l.last.Origin != origin {
		err = fmt.Errorf("it is of %s", l.last.Origin)
	}
	if err != nil {
		return fmt.Errorf("the last checkpoint of %s, in %s: %w", origin, l.path, err)
	}
	return nil
}

// What a witness refuses.
var (
	errUnknownLog   = errors.New("the log is not one that this witness knows")
	errNotSigned    = errors.New("no key of the log that this witness knows has signed it")
	errOldBeyond    = errors.New("the old size is beyond the checkpoint's")
	errInconsistent = errors.New("the checkpoint does not go on from the last one that was signed")
)

// A conflict is another old size than that of the last checkpoint, which it has.
type conflict struct{ size int64 }

func (c *conflict) Error() string { return fmt.Sprintf("the last checkpoint has the size %d", c.size) }

// A stateError is a checkpoint that could not be written, and so was not signed.
type stateError struct{ cause error }

func (e *stateError) Error() string { return e.cause.Error() }

// cosign signs a checkpoint that goes on from the tree of the size old. It returns signature
// lines.
func (w *Witness) cosign(signed []byte, old int64, proof tlog.TreeProof) (lines []byte, err error) {
	c, err := audit.ParseCheckpoint(signed)
	if err != nil {
		return nil, err
	}
	l := w.logs[c.Origin]
	if l == nil {
		return nil, errUnknownLog
	}
	n, err := note.Open(signed, note.VerifierList(l.verifiers...))
	if err != nil {
		return nil, errNotSigned
	}
	if old > c.Size {
		return nil, errOldBeyond
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old != l.last.Size {
		return nil, &conflict{l.last.Size}
	}
	if !l.goesOn(c, proof) {
		return nil, errInconsistent
	}
	return l.sign(n, w.keys.signers)
}

// goesOn reports whether c begins with the last checkpoint's tree, as the proof shows.
func (l *witnessed) goesOn(c audit.Checkpoint, proof tlog.TreeProof) bool {
	empty := sha256.Sum256(nil)
	switch {
	case c.Size == 0:
		return len(proof) == 0 && c.Root == empty
	case l.last.Size == 0:
		return len(proof) == 0
	case l.last.Size == c.Size:
		return len(proof) == 0 && l.last.Root == c.Root
	}
	return tlog.CheckTree(proof, c.Size, tlog.Hash(c.Root), l.last.Size, tlog.Hash(l.last.Root)) == nil
}

// sign makes the signature lines, and is done when the checkpoint is on disk.
func (l *witnessed) sign(n *note.Note, signers []note.Signer) (lines []byte, err error) {
	cosigned, err := note.Sign(&note.Note{Text: n.Text}, signers...)
	if err != nil {
		return nil, err
	}
	lines = cosigned[len(n.Text)+len("\n"):]
	kept, err := note.Sign(&note.Note{Text: n.Text, Sigs: n.Sigs}) // without what others have signed
	if err != nil {
		return nil, err
	}
	c, err := audit.ParseCheckpoint(append(kept, lines...))
	if err != nil {
		return nil, err
	}
	if err := secretfile.Replace(l.path, string(c.Note)); err != nil {
		return nil, &stateError{err}
	}
	l.last = c
	return lines, nil
}

// checkpoint is the last one that was signed of the log with a hash; nil: there is none.
func (w *Witness) checkpoint(hash string) []byte {
	for origin, l := range w.logs {
		if originHash(origin) == hash {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.last.Note
		}
	}
	return nil
}
