package evidence

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// Options are what an auditor brings.
type Options struct {
	// Trust is the keys that checkpoints have to be signed by. Without a log's key, those that the
	// evidence itself names are taken, which only tells that it fits together.
	Trust Trust

	// Older are tree heads that the auditor has kept: the log must go on from them.
	Older []Head
}

// A Report is what was found of evidence that is good.
type Report struct {
	Manifest    Manifest `json:"manifest"`
	FirstUse    bool     `json:"trust_on_first_use"` // the keys are those that the bundle names
	Heads       []Head   `json:"heads"`              // by log
	Counts      Counts   `json:"counts"`
	Histories   int      `json:"histories"`              // keys and other aggregates with events in the bundle
	BeganBefore int      `json:"histories_begun_before"` // those whose first events are before the bundle's
	Since       []Head   `json:"since"`                  // older heads that were found to be of the same log
}

// Wrong is evidence that is not true, or not whole, and the first position that shows it.
type Wrong struct {
	Log      string
	Position eventstore.Position
	What     string
}

func (w *Wrong) Error() string { return fmt.Sprintf("%s position %d: %s", w.Log, w.Position, w.What) }

// maxLine bounds a line: an event, or a message's use, has at most 64 KiB, and is a third longer in
// base64; a manifest has keys and signatures.
const maxLine = 1 << 20

// ErrNoBundle is a file that is something else.
var ErrNoBundle = errors.New("the file is not a bundle of evidence")

// Verify reads a bundle once, from its beginning to its end, in bounded memory but for 30 bytes or
// so of each key in it.
func Verify(from io.Reader, o Options) (Report, error) {
	v := verifier{lines: bufio.NewReaderSize(from, maxLine)}
	if err := v.manifest(); err != nil {
		return v.report, err
	}
	if err := v.heads(o.Trust); err != nil {
		return v.report, err
	}
	if err := v.checkOlder(o.Older); err != nil {
		return v.report, err
	}
	line, err := v.next()
	for i := range v.report.Manifest.Logs {
		if err == nil {
			line, err = v.section(i, line)
		}
	}
	if err == nil {
		err = v.end(line)
	}
	v.report.Histories, v.report.BeganBefore = len(v.histories.last), v.histories.begunBefore
	return v.report, err
}

type verifier struct {
	lines     *bufio.Reader
	older     []*Head // by log: an older head that the leaves have to tell of
	report    Report
	histories histories
	buffer    []byte
}

// next is the next line, without its end. It is good until the one after it.
func (v *verifier) next() ([]byte, error) {
	line, err := v.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF // there is a line behind every one but the last
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: a line is longer than %d bytes", errLine, maxLine)
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

func (v *verifier) manifest() error {
	line, err := v.next()
	m := &v.report.Manifest
	if err != nil || json.Unmarshal(line, m) != nil || m.Format != bundleFormat {
		return ErrNoBundle
	}
	if len(m.Logs) != len(eventstore.Streams) {
		return fmt.Errorf("%w: its manifest has %d logs", ErrNoBundle, len(m.Logs))
	}
	for i, s := range eventstore.Streams {
		if m.Logs[i].Stream != s.String() {
			return fmt.Errorf("%w: its manifest lacks the log of %s", ErrNoBundle, s)
		}
	}
	v.histories = newHistories(m.Logs[eventstore.Events].First)
	return nil
}

// heads reads and checks the checkpoints.
func (v *verifier) heads(trust Trust) error {
	m := &v.report.Manifest
	if len(trust.Logs) == 0 {
		v.report.FirstUse = true
		for _, key := range m.VerifierKeys {
			if err := trust.AddKey(key); err != nil {
				return err
			}
		}
	}
	for i := range m.Logs {
		h, err := m.Logs[i].open(&trust)
		if err != nil {
			return fmt.Errorf("the checkpoint of %s: %w", m.Logs[i].Stream, err)
		}
		v.report.Heads = append(v.report.Heads, h)
	}
	return nil
}

// open reads the log's checkpoint and compares the manifest with it.
func (l *Log) open(trust *Trust) (Head, error) {
	h, err := trust.open(l.Checkpoint)
	if err != nil {
		return h, err
	}
	if !h.isOf(l.Stream) {
		return h, fmt.Errorf("it is of another log, %.100q", h.Origin)
	}
	if l.First < 1 || l.Last+1 < l.First || uint64(l.Last) > h.Size {
		return h, fmt.Errorf("it is of %d positions, and the bundle is to have %d to %d", h.Size, l.First, l.Last)
	}
	return h, nil
}

// isOf reports whether the head is of the log of a stream.
func (h *Head) isOf(stream string) bool {
	return len(h.Origin) > len(stream) && h.Origin[len(h.Origin)-len(stream)-1:] == "/"+stream
}

// section reads what the bundle has of one log, and the line after it.
func (v *verifier) section(i int, line []byte) ([]byte, error) {
	l := &v.report.Manifest.Logs[i]
	var begin section
	if err := readJSON(line, &begin); err != nil || begin.Log != l.Stream {
		return nil, fmt.Errorf("%w: the log of %s does not begin", errLine, l.Stream)
	}
	head := v.report.Heads[i]
	s := sectionVerifier{verifier: v, log: l, last: l.First - 1, expected: expectTree(head.Size, head.Root), older: v.older[i]}
	for {
		line, err := v.next()
		if err != nil {
			return nil, s.wrong(s.last+1, "the file is cut off here, or cannot be read: %v", err)
		}
		if bytes.HasPrefix(line, []byte(beginsSection)) || bytes.HasPrefix(line, []byte(beginsEnd)) {
			return line, s.end()
		}
		if err := s.read(line); err != nil {
			return nil, err
		}
	}
}

// end reads the last line.
func (v *verifier) end(line []byte) error {
	var e end
	if err := readJSON(line, &e); err != nil {
		return err
	}
	if e.End != v.report.Counts {
		return fmt.Errorf("the bundle says at its end that it has %s, and has %s", e.End, v.report.Counts)
	}
	if _, err := v.lines.Peek(1); !errors.Is(err, io.EOF) {
		return errors.New("the file goes on after the bundle's end")
	}
	return nil
}

// A sectionVerifier verifies what a bundle has of one log.
type sectionVerifier struct {
	*verifier
	log      *Log
	last     eventstore.Position // that the bundle had
	expected expected
	prefix   prefix // of the log so far, while there is an older head
	older    *Head  // that is still to be reached; nil: none is
	message  *usesVerifier
}

// wrong says what is wrong at a position.
func (s *sectionVerifier) wrong(p eventstore.Position, what string, args ...any) error {
	return &Wrong{s.log.Stream, p, fmt.Sprintf(what, args...)}
}

func (s *sectionVerifier) read(line []byte) (err error) {
	isUse := bytes.HasPrefix(line, []byte(beginsUse))
	if !isUse {
		if err := s.endMessage(); err != nil {
			return err
		}
	}
	switch events := s.log.Stream == eventstore.Events.String(); {
	case isUse && s.message != nil:
		return s.use(line)
	case bytes.HasPrefix(line, []byte(beginsSubtree)):
		return s.subtree(line)
	case events && bytes.HasPrefix(line, []byte(beginsEvent)):
		return s.event(line)
	case !events && bytes.HasPrefix(line, []byte(beginsMessage)):
		return s.beginMessage(line)
	}
	return s.wrong(s.last+1, "a line comes here that does not belong here: %.60q", line)
}

func (s *sectionVerifier) subtree(line []byte) error {
	var t subtree
	err := t.read(line)
	if err == nil {
		s.buffer = t.append(s.buffer[:0])
		err = demandSpelling(line, s.buffer)
	}
	if err == nil {
		err = s.expected.open(&t)
	}
	if err != nil {
		return s.wrong(s.last+1, "%v", err)
	}
	return nil
}

func (s *sectionVerifier) event(line []byte) error {
	var e event
	err := e.read(line)
	if err == nil {
		s.buffer = e.append(s.buffer[:0])
		err = demandSpelling(line, s.buffer)
	}
	if err != nil {
		return s.wrong(s.last+1, "%v", err)
	}
	if err := s.leaf(eventstore.Leaf{Stream: eventstore.Events, Position: e.Position, ID: e.ID, Subject: e.Subject, Body: e.Body}); err != nil {
		return err
	}
	if org := s.report.Manifest.Organization; org != "" && !bytes.HasPrefix([]byte(e.Subject), []byte("keytrail.events."+string(org)+".")) {
		return s.wrong(e.Position, "the event is of another organization than the bundle")
	}
	s.report.Counts.Events++
	return s.histories.add(&e)
}

// leaf compares a leaf with the hash that leads up to the signed root.
func (s *sectionVerifier) leaf(l eventstore.Leaf) error {
	switch p, next := l.Position, s.last+1; {
	case p < next:
		return s.wrong(p, "it comes again, or out of order, after position %d", s.last)
	case p > s.log.Last:
		return s.wrong(p, "it lies after position %d, which is to be the bundle's last", s.log.Last)
	case p > next && s.report.Manifest.Complete():
		return s.wrong(next, "it is missing: position %d comes in its place", p)
	}
	top := s.expected.skipTo(uint64(l.Position) - 1)
	if top == nil || top.end-top.start != 1 {
		return s.wrong(l.Position, "the hashes that lead to it are missing")
	}
	h := tlog.Hash(l.Hash())
	if h != top.hash {
		return s.wrong(l.Position, "what is here is not what was logged: it was changed, or something was inserted or removed here")
	}
	s.last = l.Position
	return s.reach(h)
}

// end is called after the last line of the section.
func (s *sectionVerifier) end() error {
	if err := s.endMessage(); err != nil {
		return err
	}
	if s.report.Manifest.Complete() && s.last != s.log.Last {
		return s.wrong(s.last+1, "it is missing: the bundle is to go on to position %d", s.log.Last)
	}
	return nil
}

// ReadEnd reads the last line of a bundle, with its newline. It refuses any other: the bundle was
// cut off.
func ReadEnd(line []byte) (Counts, error) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	var e end
	if !whole || readJSON(text, &e) != nil {
		return Counts{}, errors.New("the bundle was cut off")
	}
	return e.End, nil
}
