package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/keytrail/keytrail/eventstore"
)

// maxEntryBytes bounds an entry, compressed or not, and so the memory that a crafted file takes.
const maxEntryBytes = 64 << 20

// A Reader reads one file from its beginning to its end.
type Reader struct {
	Manifest Manifest
	Keyring  []byte // nil: the file has none
	tar      *tar.Reader
	decoder  *zstd.Decoder
	name     string // of the current entry
	chunk    []byte // the memory of the last entry's lines
	lines    []byte // those that are not read yet
	found    Summary
}

// Open reads the manifest.
func Open(from io.Reader) (*Reader, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEntryBytes))
	if err != nil {
		return nil, err
	}
	r := &Reader{tar: tar.NewReader(from), decoder: decoder, found: Summary{Streams: map[string]Content{}, Sides: map[string]Content{}}}
	if err := r.advance(); err != nil {
		return nil, err
	}
	if r.name == keyringName {
		if r.Keyring, err = r.entry(); err == nil {
			err = r.advance()
		}
		if err != nil {
			return nil, err
		}
	}
	if r.found.Manifest, err = r.json(manifestName, &r.Manifest); err != nil {
		return nil, err
	}
	if r.Manifest.Format != format {
		return nil, fmt.Errorf("the back-up has format %d, and this version reads %d", r.Manifest.Format, format)
	}
	return r, r.advance()
}

// advance goes on to the next entry.
func (r *Reader) advance() error {
	h, err := r.tar.Next()
	if err != nil {
		return damaged("it ends before its summary", err)
	}
	r.name = h.Name
	return nil
}

func damaged(what string, err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, what, err)
}

// entry reads the current entry.
func (r *Reader) entry() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.tar, maxEntryBytes+1))
	if err != nil || len(b) > maxEntryBytes {
		return nil, damaged(r.name+" cannot be read", err)
	}
	return b, nil
}

// json reads the current entry, which must have that name, into v. It returns its SHA-256.
func (r *Reader) json(name string, v any) (string, error) {
	if r.name != name {
		return "", damaged(fmt.Sprintf("%q is where %s should be", r.name, name), nil)
	}
	b, err := r.entry()
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return "", damaged(name+" is not what it should be", err)
	}
	return sum(b), nil
}

// Stream calls handle with the messages of s, in order. The streams must be read in the order
// of the file, which is that of eventstore.Streams.
func (r *Reader) Stream(s eventstore.Stream, handle func(*eventstore.Raw) error) error {
	last := r.Manifest.Last[s.String()]
	content, err := r.read(s.String(), NewDigester(last), func(m *eventstore.Raw) error {
		if m.Position > last {
			return damaged(fmt.Sprintf("position %d of %s is after its end", m.Position, s), nil)
		}
		return handle(m)
	})
	r.found.Streams[s.String()] = content
	return err
}

// Side calls handle with the messages of s: those of Before before both streams, the tiles after them. Of
// a subject that comes twice the later message counts.
func (r *Reader) Side(s eventstore.Side, handle func(*eventstore.Raw) error) error {
	content, err := r.read(s.String(), NewDigester(0), handle)
	r.found.Sides[s.String()] = content
	return err
}

// read calls handle with the messages of the entries of a name.
func (r *Reader) read(name string, d *Digester, handle func(*eventstore.Raw) error) (Content, error) {
	for before := eventstore.Position(0); ; {
		text, m, err := r.next(name)
		if errors.Is(err, io.EOF) {
			return d.Content(), nil
		}
		if err == nil && m.Position <= before {
			err = damaged(fmt.Sprintf("position %d of %s is not in order", m.Position, name), nil)
		}
		if err == nil {
			before = m.Position
			d.add(m.Position, text)
			err = handle(m)
		}
		if err != nil {
			return Content{}, err
		}
	}
}

// next is the next message of the entries of a name, and its line; io.EOF when they are over.
func (r *Reader) next(name string) ([]byte, *eventstore.Raw, error) {
	for len(r.lines) == 0 {
		if !strings.HasPrefix(r.name, name+"/") {
			return nil, nil, io.EOF
		}
		if err := r.unpack(); err != nil {
			return nil, nil, err
		}
	}
	n := bytes.IndexByte(r.lines, '\n') + 1
	text := r.lines[:n]
	r.lines = r.lines[n:]
	m, err := decode(text)
	if err != nil {
		return nil, nil, damaged("a message cannot be read", err)
	}
	return text, m, nil
}

// unpack decompresses the current entry into lines, and goes on to the one after it.
func (r *Reader) unpack() error {
	compressed, err := r.entry()
	if err != nil {
		return err
	}
	if r.chunk, err = r.decoder.DecodeAll(compressed, r.chunk[:0]); err != nil {
		return damaged(r.name+" cannot be unpacked", err)
	}
	r.lines = r.chunk
	return r.advance()
}

// Close compares what was read with the file's summary.
func (r *Reader) Close() (Summary, error) {
	defer r.decoder.Close()
	var written Summary
	if _, err := r.json(summaryName, &written); err != nil {
		return written, err
	}
	if written.Manifest != r.found.Manifest || !maps.Equal(written.Streams, r.found.Streams) || !maps.Equal(written.Sides, r.found.Sides) {
		return written, damaged(fmt.Sprintf("it holds %+v and should hold %+v", r.found, written), nil)
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return written, damaged("there is more after its summary", err)
	}
	return written, nil
}

// Verify reads a whole file and returns what it holds. handle, unless nil, is called with each
// event.
func Verify(from io.Reader, handle func(*eventstore.Raw) error) (Manifest, Summary, error) {
	r, err := Open(from)
	if err != nil {
		return Manifest{}, Summary{}, err
	}
	ignore := func(*eventstore.Raw) error { return nil }
	if handle == nil {
		handle = ignore
	}
	for _, s := range Before {
		if err := r.Side(s, ignore); err != nil {
			return r.Manifest, Summary{}, err
		}
	}
	if err := r.Stream(eventstore.Events, handle); err != nil {
		return r.Manifest, Summary{}, err
	}
	if err := r.Stream(eventstore.Uses, ignore); err != nil {
		return r.Manifest, Summary{}, err
	}
	if err := r.Side(eventstore.Tiles, ignore); err != nil {
		return r.Manifest, Summary{}, err
	}
	summary, err := r.Close()
	return r.Manifest, summary, err
}
