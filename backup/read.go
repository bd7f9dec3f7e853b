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

// maxEntryBytes bounds an entry, packed or not, so that a crafted file takes no more memory.
const maxEntryBytes = 64 << 20

// A Reader reads one file from its beginning to its end.
type Reader struct {
	Manifest Manifest
	Keyring  []byte // nil: the file has none
	tar      *tar.Reader
	unpacker *zstd.Decoder
	name     string // of the entry that comes next
	chunk    []byte // in hand
	lines    []byte // what is left of it
	found    Summary
}

// Open reads the manifest.
func Open(from io.Reader) (*Reader, error) {
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxEntryBytes))
	if err != nil {
		return nil, err
	}
	r := &Reader{tar: tar.NewReader(from), unpacker: unpacker, found: Summary{Streams: map[string]Content{}}}
	if err := r.advance(); err != nil {
		return nil, err
	}
	if r.name == keyringName {
		if r.Keyring, err = r.content(); err == nil {
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

// content is the entry in hand.
func (r *Reader) content() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.tar, maxEntryBytes+1))
	if err != nil || len(b) > maxEntryBytes {
		return nil, damaged(r.name+" cannot be read", err)
	}
	return b, nil
}

// json reads the entry in hand into v, and tells its SHA-256.
func (r *Reader) json(name string, v any) (string, error) {
	if r.name != name {
		return "", damaged(fmt.Sprintf("%q is where %s should be", r.name, name), nil)
	}
	b, err := r.content()
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return "", damaged(name+" is not what it should be", err)
	}
	return sum(b), nil
}

// Stream hands the messages of s to handle, in order. The streams are read in the order of
// the file: events, then uses.
func (r *Reader) Stream(s eventstore.Stream, handle func(*eventstore.Raw) error) error {
	last := r.Manifest.Last[s.String()]
	d := NewDigester(last)
	for before := eventstore.Position(0); ; {
		text, m, err := r.next(s)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && (m.Position <= before || m.Position > last) {
			err = damaged(fmt.Sprintf("position %d of %s is not in order", m.Position, s), nil)
		}
		if err != nil {
			return err
		}
		before = m.Position
		d.add(m.Position, text)
		if err := handle(m); err != nil {
			return err
		}
	}
	r.found.Streams[s.String()] = d.Content()
	return nil
}

// next is the next message of s and its line; io.EOF when the entries of s are over.
func (r *Reader) next(s eventstore.Stream) ([]byte, *eventstore.Raw, error) {
	for len(r.lines) == 0 {
		if !strings.HasPrefix(r.name, s.String()+"/") {
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

// unpack takes the entry in hand as the next chunk, and goes on to the one after it.
func (r *Reader) unpack() error {
	packed, err := r.content()
	if err != nil {
		return err
	}
	if r.chunk, err = r.unpacker.DecodeAll(packed, r.chunk[:0]); err != nil {
		return damaged(r.name+" cannot be unpacked", err)
	}
	r.lines = r.chunk
	return r.advance()
}

// Close compares what was read with what the file says was written.
func (r *Reader) Close() (Summary, error) {
	var written Summary
	if _, err := r.json(summaryName, &written); err != nil {
		return written, err
	}
	if written.Manifest != r.found.Manifest || !maps.Equal(written.Streams, r.found.Streams) {
		return written, damaged(fmt.Sprintf("it holds %+v and should hold %+v", r.found, written), nil)
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return written, damaged("there is more after its summary", err)
	}
	r.unpacker.Close()
	return written, nil
}

// Verify reads a file whole and tells what it holds. look, if it is not nil, is handed each
// event.
func Verify(from io.Reader, look func(*eventstore.Raw) error) (Manifest, Summary, error) {
	r, err := Open(from)
	if err != nil {
		return Manifest{}, Summary{}, err
	}
	for _, s := range streams {
		handle := func(*eventstore.Raw) error { return nil }
		if s == eventstore.Events && look != nil {
			handle = look
		}
		if err := r.Stream(s, handle); err != nil {
			return r.Manifest, Summary{}, err
		}
	}
	summary, err := r.Close()
	return r.Manifest, summary, err
}
