package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/dirsync"
)

// The second place of a checkpoint is a file of the process, apart from the ledger: a ledger that
// loses what was signed, and the checkpoint with it, does not match the file.

// A keptCheckpoint is the file's content.
type keptCheckpoint struct {
	Log        uint64    `json:"log"`
	Published  time.Time `json:"published"`
	Checkpoint string    `json:"checkpoint"` // the signed note
}

func (s *streamSigner) file() string { return filepath.Join(s.dir, s.stream.String()) }

// keep puts c into the second place, whole or not at all.
func (s *streamSigner) keep(c Checkpoint) error {
	text, err := json.MarshalIndent(keptCheckpoint{s.number, c.Published, string(c.Note)}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	next := s.file() + ".next"
	if err := writeSynced(next, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(next, s.file()); err != nil {
		return err
	}
	return dirsync.Sync(s.dir)
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// kept is what the second place has of the current log; the zero value if it has nothing, or a
// checkpoint of a log that has ended.
func (s *streamSigner) kept(t domain.TrailLog) (Checkpoint, error) {
	text, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, err
	}
	var k keptCheckpoint
	err = json.Unmarshal(text, &k)
	c, damaged := ParseCheckpoint([]byte(k.Checkpoint))
	if err = errors.Join(err, damaged); err != nil {
		return Checkpoint{}, fmt.Errorf("%s cannot be read; if it is damaged, put it aside: %w", s.file(), err)
	}
	switch {
	case c.Origin == Origin(t, s.stream):
		return c, nil
	case endedWith(t, c.Origin, s.stream), t.Reason != domain.TrailInstalled && k.Published.Before(t.Began):
		return Checkpoint{}, nil
	}
	return c, found("%s has a checkpoint of the log %s, which is none of this ledger", s.file(), c.Origin)
}

// endedWith reports whether an origin is that of a log before t.
func endedWith(t domain.TrailLog, origin string, s eventstore.Stream) bool {
	return slices.ContainsFunc(t.Earlier, func(earlier string) bool { return earlier+"/"+s.String() == origin })
}
