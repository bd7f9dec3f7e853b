package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/keytrail/keytrail/eventstore"
)

// chunkBytes is how many bytes of lines are compressed into one entry, which bounds the memory
// that reading and writing take. An entry is sent with one write, which a slow connection must
// manage within the server's deadline for a write.
var chunkBytes = 1 << 20

// Write writes a back-up of the ledger as it is now. What is appended meanwhile is left out. The
// ends of the streams are asked for backwards, so that a key that is in the uses is in the events.
// How far sinks and reactions have come, and up to where the uses of months are summed up, is read
// before: when they are restored they go on at events and uses that are there.
func Write(ctx context.Context, to io.Writer, l *eventstore.Ledger, version string, now time.Time) error {
	var before [len(Before)][]*eventstore.Raw
	for i, s := range Before {
		if err := l.CopySide(ctx, s, func(m *eventstore.Raw) error { before[i] = append(before[i], m); return nil }); err != nil {
			return fmt.Errorf("back up the %s: %w", s, err) // some kilobyte for each, and 29 bytes for each key that was used within two months
		}
	}
	m := Manifest{Format: format, Version: version, At: now.UTC(), Last: map[string]eventstore.Position{}}
	for _, s := range slices.Backward(eventstore.Streams[:]) {
		end, err := l.End(ctx, s)
		if err != nil {
			return err
		}
		m.Last[s.String()] = end
	}
	// One worker: a back-up leaves the other processors to requests.
	compressor, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true))
	if err != nil {
		return err
	}
	w := &writer{tar: tar.NewWriter(to), compressor: compressor, at: m.At}
	summary := Summary{Streams: map[string]Content{}, Sides: map[string]Content{}}
	if summary.Manifest, err = w.json(manifestName, m); err != nil {
		return err
	}
	for i, s := range Before {
		if summary.Sides[s.String()], err = w.lines(s.String(), 0, eachOf(before[i])); err != nil {
			return err
		}
	}
	for _, s := range eventstore.Streams {
		last := m.Last[s.String()]
		copy := func(handle func(*eventstore.Raw) error) error { return l.Copy(ctx, s, 0, last, handle) }
		if summary.Streams[s.String()], err = w.lines(s.String(), last, copy); err != nil {
			return fmt.Errorf("back up %s: %w", s, err)
		}
	}
	tiles := func(handle func(*eventstore.Raw) error) error { return l.CopySide(ctx, eventstore.Tiles, handle) }
	if summary.Sides[eventstore.Tiles.String()], err = w.lines(eventstore.Tiles.String(), 0, tiles); err != nil {
		return fmt.Errorf("back up the tiles: %w", err)
	}
	if _, err := w.json(summaryName, summary); err != nil {
		return err
	}
	return w.tar.Close()
}

// eachOf gives messages one by one.
func eachOf(all []*eventstore.Raw) func(func(*eventstore.Raw) error) error {
	return func(handle func(*eventstore.Raw) error) error {
		for _, m := range all {
			if err := handle(m); err != nil {
				return err
			}
		}
		return nil
	}
}

// WriteKeyring writes a keyring, as its file has it; Write is to be called next.
func WriteKeyring(to io.Writer, keyring []byte) error {
	w := &writer{tar: tar.NewWriter(to)}
	if err := w.entry(keyringName, keyring); err != nil {
		return err
	}
	return w.tar.Flush() // not Close: the end of the tar is yet to come
}

// A writer writes the entries of one file.
type writer struct {
	tar        *tar.Writer
	compressor *zstd.Encoder
	at         time.Time

	// Of the current stream.
	name       string
	chunks     int    // written
	chunk      []byte // the lines of the next one
	compressed []byte // the memory of the last one
}

// json writes an entry with v, and returns its SHA-256.
func (w *writer) json(name string, v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	text = append(text, '\n')
	return sum(text), w.entry(name, text)
}

func (w *writer) entry(name string, content []byte) error {
	// PAX has no limit on sizes and writes times as text. 0600: the file holds digests.
	h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: w.at, Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.tar.Write(content)
	return err
}

// lines writes the messages that copy gives, of a stream that ends at last. The first that is there
// may be later than the stream's first was: uses age out.
func (w *writer) lines(name string, last eventstore.Position, copy func(func(*eventstore.Raw) error) error) (Content, error) {
	w.name, w.chunks, w.chunk = name, 0, w.chunk[:0]
	d := NewDigester(last)
	err := copy(func(m *eventstore.Raw) error {
		text, err := encode(m)
		if err != nil {
			return err
		}
		d.add(m.Position, text)
		w.chunk = append(w.chunk, text...)
		if len(w.chunk) >= chunkBytes {
			return w.flush()
		}
		return nil
	})
	if err == nil {
		err = w.flush()
	}
	return d.Content(), err
}

// flush compresses the lines of the chunk into one entry.
func (w *writer) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	w.chunks++
	w.compressed = w.compressor.EncodeAll(w.chunk, w.compressed[:0])
	w.chunk = w.chunk[:0]
	return w.entry(fmt.Sprintf("%s/%08d.ndjson.zst", w.name, w.chunks), w.compressed)
}
