package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// Bounds of a file, unless its settings say otherwise. The default keeps 1 GiB.
const (
	defaultMegabytes = 100
	defaultFiles     = 10
	// tailBytes is how much of the end of a file is read when it is opened. What a sink sends
	// between two of its checkpoints is less.
	tailBytes = 4 << 20
)

var errNoFiles = errors.New("the service writes no files: it was started without --sink-files")

// A fileSender appends events to a file, one a line, below the directory that the operator of the
// service has named. The directory is held open as a root: no path and no symbolic link leads out
// of it. When a file is full it becomes path.1, that one path.2, and so on, as logrotate names them.
//
// A Send is on disk when it returns. After a crash the events since the checkpoint come again:
// those that are in the end of the file already are not written twice.
type fileSender struct {
	directory string
	path      string
	maxBytes  int64
	maxFiles  int

	root    *os.Root
	file    *os.File
	size    int64
	known   bool            // that what comes is new: the one that wrote last was this sender, and nothing failed
	written map[string]bool // lines at the end of the file, if that is not known
}

func newFile(r Receiver, e Environment) (Sender, error) {
	if e.Files == "" {
		return nil, errNoFiles
	}
	s := &fileSender{directory: e.Files, path: r.Settings.Path, maxBytes: int64(r.Settings.MaxMegabytes) << 20, maxFiles: r.Settings.MaxFiles}
	if s.maxBytes == 0 {
		s.maxBytes = defaultMegabytes << 20
	}
	if s.maxFiles == 0 {
		s.maxFiles = defaultFiles
	}
	return s, nil
}

// Limits let many events share an fsync.
func (*fileSender) Limits() Limits {
	return Limits{Events: 5000, Bytes: 4 << 20, Linger: 10 * time.Millisecond}
}

func (s *fileSender) Close() error {
	err := s.closeFile()
	if s.root != nil {
		err = errors.Join(err, s.root.Close())
		s.root = nil
	}
	return err
}

func (s *fileSender) closeFile() (err error) {
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	return err
}

func (s *fileSender) Send(_ context.Context, events []Event) Result {
	if err := s.write(events); err != nil {
		_ = s.closeFile() // the next Send finds out what is there
		s.known = false
		return All(len(events), &Failure{Text: fileError(err)})
	}
	return Result{}
}

// fileError is err without the directory, which is the operator's own.
func fileError(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return fmt.Sprintf("%s %s: %v", p.Op, path.Base(p.Path), p.Err)
	}
	return err.Error()
}

func (s *fileSender) write(events []Event) error {
	if err := s.open(); err != nil {
		return err
	}
	text := s.lines(events)
	if s.size > 0 && s.size+int64(len(text)) > s.maxBytes {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	n, err := s.file.Write(text)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(s.size)) // a part of a line
	}
	s.size += int64(n)
	return nil
}

// lines are the events that are not in the file already. The first that is not ends the search:
// what was written before a crash are the first of those that come again.
func (s *fileSender) lines(events []Event) (text []byte) {
	for i := range events {
		line := bytes.ReplaceAll(events[i].Body, []byte("\n"), []byte(" ")) // no format has one
		if s.written[string(line)] {
			continue
		}
		s.written = nil
		text = append(append(text, line...), '\n')
	}
	return text
}

// open opens the file if it is not open, or is no longer the one with its name.
func (s *fileSender) open() (err error) {
	if s.root == nil {
		if s.root, err = os.OpenRoot(s.directory); err != nil {
			return err
		}
	}
	if s.file != nil && !s.moved() {
		return nil
	}
	if err := s.closeFile(); err != nil {
		return err
	}
	if err := s.root.MkdirAll(path.Dir(s.path), 0o700); err != nil {
		return err
	}
	if s.file, err = s.root.OpenFile(s.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if err := s.mend(); err != nil {
		return err
	}
	return s.syncDirectory()
}

// moved tells whether another process has renamed or deleted the file, as logrotate does.
func (s *fileSender) moved() bool {
	is, err := s.file.Stat()
	if err != nil {
		return true
	}
	named, err := s.root.Lstat(s.path)
	return err != nil || !os.SameFile(is, named) || is.Size() != s.size
}

// mend reads the end of the file, and cuts off a last line that a crash has left without its end.
func (s *fileSender) mend() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "open", Path: s.path, Err: errors.New("is no regular file")}
	}
	from := max(0, info.Size()-tailBytes)
	tail, err := io.ReadAll(io.NewSectionReader(s.file, from, info.Size()-from))
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if s.size = from + int64(whole); s.size < info.Size() {
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
	}
	if s.known {
		return nil
	}
	s.known, s.written = true, map[string]bool{}
	s.note(tail[:whole])
	if from == 0 { // it was rotated not long ago
		return s.noteTail(s.numbered(1))
	}
	return nil
}

// note notes lines that are written already.
func (s *fileSender) note(lines []byte) {
	for line := range bytes.Lines(lines) {
		s.written[string(bytes.TrimSuffix(line, []byte("\n")))] = true
	}
}

// noteTail notes those at the end of a rotated file, if there is one.
func (s *fileSender) noteTail(name string) error {
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	from := max(0, info.Size()-tailBytes)
	tail, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	s.note(tail)
	return err
}

// rotate renames path to path.1, and what has that name to path.2, and so on: the oldest is
// replaced.
func (s *fileSender) rotate() error {
	if err := s.closeFile(); err != nil {
		return err
	}
	for n := s.maxFiles; n > 0; n-- {
		err := s.root.Rename(s.numbered(n-1), s.numbered(n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.open()
}

func (s *fileSender) numbered(n int) string {
	if n == 0 {
		return s.path
	}
	return fmt.Sprintf("%s.%d", s.path, n)
}

// syncDirectory makes the file's name durable.
func (s *fileSender) syncDirectory() error {
	d, err := s.root.Open(path.Dir(s.path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
