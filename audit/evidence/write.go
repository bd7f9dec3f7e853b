package evidence

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Source is one log, as the service that makes a bundle has it.
type Source struct {
	Log
	Size   uint64 // of the checkpoint's tree
	Hashes tlog.HashReader

	// Messages are those between the positions, in order. Of events, those of the bundle's
	// organization alone; of uses, all that may have some of it. One is good until the next.
	Messages iter.Seq2[*eventstore.Raw, error]
}

// Write writes a bundle with what m asks for, as it comes: it takes a few kilobytes of memory.
func Write(to io.Writer, m Manifest, sources ...Source) error {
	w := writer{out: bufio.NewWriterSize(to, 64<<10), org: m.Organization, step: 8}
	if !m.Complete() {
		w.step = 2
	}
	m.Format = bundleFormat
	for _, s := range sources {
		m.Logs = append(m.Logs, s.Log)
	}
	m.claim()
	if err := w.json(m); err != nil {
		return err
	}
	for _, s := range sources {
		if err := w.log(s); err != nil {
			return fmt.Errorf("%s: %w", s.Stream, err)
		}
	}
	if err := w.json(end{w.counts}); err != nil {
		return err
	}
	return w.out.Flush()
}

// A writer writes lines. With step 8, a line of hashes has all of a tile, where everything below it
// follows; with 2, it has little more than the way to one leaf.
type writer struct {
	out    *bufio.Writer
	buffer []byte
	org    domain.OrgID // "": all
	step   int
	counts Counts
}

func (w *writer) json(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.line(text)
}

func (w *writer) line(text []byte) error {
	w.buffer = text[:0]
	if _, err := w.out.Write(text); err != nil {
		return err
	}
	return w.out.WriteByte('\n')
}

// log writes the section of one log.
func (w *writer) log(s Source) error {
	if err := w.json(section{s.Stream}); err != nil {
		return err
	}
	next, stop := iter.Pull2(w.entries(s))
	defer stop()
	l := logWriter{writer: w, source: s, next: next, nextLeaf: uint64(s.First) - 1}
	if err := l.advance(); err != nil {
		return err
	}
	if err := l.write(0, s.Size); err != nil {
		return err
	}
	if l.entry != nil || l.org == "" && l.nextLeaf != uint64(s.Last) {
		return fmt.Errorf("the messages up to position %d are not all there", s.Last)
	}
	return nil
}

// An entry is what a bundle has of one leaf.
type entry struct {
	leaf uint64 // its number, from 0
	raw  *eventstore.Raw
	uses *eventstore.UseTree // nil: it is an event
	own  []int               // the uses that are in the bundle
}

// entries are the leaves of a log that are in the bundle.
func (w *writer) entries(s Source) iter.Seq2[*entry, error] {
	return func(yield func(*entry, error) bool) {
		for m, err := range s.Messages {
			var e *entry
			if err == nil {
				e, err = w.entry(s.Stream, m)
			}
			if (err != nil || e != nil) && !yield(e, err) {
				return
			}
		}
	}
}

// entry is nil if nothing of a message is in the bundle.
func (w *writer) entry(stream string, m *eventstore.Raw) (*entry, error) {
	e := &entry{leaf: uint64(m.Position) - 1, raw: m}
	if stream == eventstore.Events.String() {
		return e, nil
	}
	var err error
	if e.uses, err = eventstore.NewUseTree(m); err != nil {
		return nil, err
	}
	for i, line := range e.uses.Lines {
		if w.org == "" || strings.HasPrefix(line, useOf(w.org)) {
			e.own = append(e.own, i)
		}
	}
	if w.org != "" && len(e.own) == 0 {
		return nil, nil
	}
	return e, nil
}

// useOf is what the line of a use of an organization begins with.
func useOf(org domain.OrgID) string { return `{"org":"` + string(org) + `"` }

// A logWriter writes the leaves of one log from the left to the right, each after the hashes that
// lead to it.
type logWriter struct {
	*writer
	source Source
	next   func() (*entry, error, bool)
	entry  *entry // that comes next; nil: none does

	nextLeaf uint64 // of a bundle of everything
}

func (l *logWriter) advance() error {
	var err error
	l.entry, err, _ = l.next()
	return err
}

// write writes what the bundle has of a subtree, if it has any.
func (l *logWriter) write(start, end uint64) error {
	if l.entry == nil || l.entry.leaf >= end {
		return nil
	}
	if l.entry.leaf < start || l.org == "" && l.entry.leaf != l.nextLeaf {
		return fmt.Errorf("position %d comes where %d is to come", l.entry.leaf+1, l.nextLeaf+1)
	}
	if end-start == 1 {
		if err := l.leaf(l.entry); err != nil {
			return err
		}
		l.nextLeaf++
		return l.advance()
	}
	s := subtree{Start: start, End: end, Level: levelFor(end-start, l.step)}
	var err error
	if s.Hashes, err = partHashes(l.source.Hashes, s); err != nil {
		return err
	}
	if err := l.line(s.append(l.buffer)); err != nil {
		return err
	}
	for from := start; from < end; from += 1 << s.Level {
		if err := l.write(from, min(end, from+1<<s.Level)); err != nil {
			return err
		}
	}
	return nil
}

func (l *logWriter) leaf(e *entry) error {
	id := e.raw.ID()
	if e.uses == nil {
		l.counts.Events++
		line := event{e.raw.Position, id, e.raw.Subject, e.raw.Data}
		return l.line(line.append(l.buffer))
	}
	l.counts.Messages++
	line := message{e.raw.Position, id, e.raw.Subject, len(e.uses.Lines), hash(e.uses.Root()), []byte(e.uses.Head)}
	if err := l.line(line.append(l.buffer)); err != nil {
		return err
	}
	for _, i := range e.own {
		l.counts.Uses++
		u := use{Identity: identity(e.raw.Position, i), Salt: e.uses.Salt(i), Line: []byte(e.uses.Lines[i])}
		if l.org != "" {
			u.Path = hashes(e.uses.Proof(i))
		}
		if err := l.line(u.append(l.buffer)); err != nil {
			return err
		}
	}
	return nil
}

func hashes[H ~[32]byte](of []H) []hash {
	all := make([]hash, len(of))
	for i, h := range of {
		all[i] = hash(h)
	}
	return all
}

// partHashes are the hashes of the parts of a subtree. All complete subtrees are stored; the last
// part may not be one.
func partHashes(from tlog.HashReader, s subtree) ([]hash, error) {
	var indexes []int64
	var stored []int // of each part: how many complete subtrees it has
	for start := s.Start; start < s.End; start += 1 << s.Level {
		before := len(indexes)
		indexes = appendComplete(indexes, start, min(s.End, start+1<<s.Level))
		stored = append(stored, len(indexes)-before)
	}
	read, err := from.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	var parts []hash
	for _, n := range stored {
		p := prefix{hashes: read[:n]}
		parts, read = append(parts, hash(p.root())), read[n:]
	}
	return parts, nil
}

// appendComplete appends the stored indexes of the complete subtrees that a subtree consists of.
func appendComplete(indexes []int64, start, end uint64) []int64 {
	for start < end {
		level := bits.Len64(end-start) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64(start>>level)))
		start += 1 << level
	}
	return indexes
}
