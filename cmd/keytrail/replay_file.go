package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/filelock"
)

// A replayPart is a file with the events that have come so far. It is all that is kept of an
// unfinished replay: where that goes on follows from the last line of each stream, so that a
// crash at any moment leaves no second file that says otherwise. A line that was cut off is
// dropped.
type replayPart struct {
	path   string
	file   *os.File
	size   int64 // of the lines that were looked at
	events int
	place  eventstore.Cursor
}

// openPart opens the part that a replay goes on in, or a new one, for this process alone.
func openPart(path string) (p *replayPart, err error) {
	p = &replayPart{path: path}
	if p.file = unfinished(path); p.file == nil {
		if p.file, err = newPart(path); err != nil {
			return nil, err
		}
	}
	if err = filelock.Lock(p.file); err == nil && p.isNamed() {
		return p, nil
	}
	_ = p.file.Close()
	if err == nil || errors.Is(err, filelock.ErrLocked) { // or it was: another replay has just given it its name
		return nil, fmt.Errorf("another replay is writing %s: wait until it has ended, or write to another file", path)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// isNamed reports whether the part's path names its file still: another process may have removed it.
func (p *replayPart) isNamed() bool {
	ours, err := p.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(p.path)
	return err == nil && os.SameFile(ours, named)
}

// partPath is in the file's folder, with the name of the file and of what was asked for: another
// question has another part.
func partPath(path, service string, q url.Values) string {
	question := sha256.Sum256([]byte(service + "?" + q.Encode()))
	return fmt.Sprintf("%s.%x.part", path, question[:4])
}

// unfinished is the part as this program leaves it, nil if there is something else: a link, or a
// file that others may write.
func unfinished(path string) *os.File {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	const begin = `{"specversion"`
	first := make([]byte, len(begin))
	opened, err := f.Stat()
	if n, _ := f.ReadAt(first, 0); err == nil && os.SameFile(info, opened) && strings.HasPrefix(begin, string(first[:n])) {
		return f
	}
	_ = f.Close()
	return nil
}

// survey looks at the lines that came since it was last called, and cuts the file off after
// them.
func (p *replayPart) survey() error {
	lines := bufio.NewReaderSize(io.NewSectionReader(p.file, p.size, 1<<62), 1<<20)
	last := map[eventstore.Stream][]byte{}
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		s := eventstore.Events
		if bytes.Contains(line, []byte(`"source":"/keytrail/uses"`)) {
			s = eventstore.Uses
		}
		last[s] = append(last[s][:0], line...)
		p.size, p.events = p.size+int64(len(line)), p.events+1
	}
	for s, line := range last {
		if err := p.move(s, line); err != nil {
			return fmt.Errorf("%s holds what is no event; remove it and begin again: %w", p.path, err)
		}
	}
	_, err := p.file.Seek(p.size, io.SeekStart)
	return cmp.Or(p.file.Truncate(p.size), err)
}

// move puts the place after an event.
func (p *replayPart) move(s eventstore.Stream, line []byte) error {
	var e struct {
		Position string `json:"position"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	r := eventstore.Record{Stream: s}
	_, err := fmt.Sscanf(e.Position+".0", "%d.%d", &r.Position, &r.Index)
	p.place.Move(&r)
	return err
}

// replayTo writes the replay to a file. A break of the connection costs another request, as long
// as each brings something.
func (c *client) replayTo(cmd *cobra.Command, q url.Values, path string, shown bool) error {
	p, err := openPart(partPath(path, c.url, q))
	if err != nil {
		return err
	}
	defer p.file.Close()
	if err := p.survey(); err != nil {
		return err
	}
	options := []progressbar.Option{inBytes}
	if shown {
		options = append(options, progressbar.OptionSetVisibility(true))
	}
	if p.events > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "going on after the %d events in %s\n", p.events, p.path)
	}
	bar := progress(cmd, -1, "replaying", options...)
	defer bar.Close()
	for {
		before := p.events
		err := c.retry(cmd.Context(), func() error { return p.fetch(cmd, c, q, bar) })
		if err == nil {
			break
		}
		if _, again := temporary(err); again && p.events > before && cmd.Context().Err() == nil {
			continue
		}
		return fmt.Errorf("%w; %s has %d events, and the same command goes on there", err, p.path, p.events)
	}
	_ = bar.Close()
	if !p.isNamed() {
		return fmt.Errorf("%s was removed while the replay was written to it: give the same command again", p.path)
	}
	if err := cmp.Or(p.file.Sync(), p.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(p.path, path); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s is whole: %d events, %d bytes\n", path, p.events, p.size)
	return nil
}

// fetch adds what comes after the place.
func (p *replayPart) fetch(cmd *cobra.Command, c *client, q url.Values, bar io.Writer) error {
	if p.place != (eventstore.Cursor{}) {
		q.Set("cursor", p.place.String())
	}
	answer, err := c.replay(cmd.Context(), q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.MultiWriter(p.file, bar), &answerReader{answer.Body})
	return cmp.Or(err, p.survey())
}
