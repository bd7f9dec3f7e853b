package api

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/audit"
	"github.com/keytrail/keytrail/commands"
	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// The Merkle logs are served as C2SP tlog-tiles says.

const (
	tileWidth = 256

	// tileAge lets a client keep what never changes. It is private: a cache that several clients
	// share knows nothing of keys.
	tileAge = "private, max-age=31536000, immutable"
)

// streamOf is the stream whose log a path names.
func streamOf(r *http.Request) (eventstore.Stream, error) {
	for _, s := range eventstore.Streams {
		if s.String() == r.PathValue("stream") {
			return s, nil
		}
	}
	return 0, domain.ErrNoTrailLog
}

// checkpoint answers the last signed checkpoint of a log.
func (s *server) checkpoint(w http.ResponseWriter, r *http.Request, _ domain.Principal) error {
	_, c, err := s.publishedLog(r)
	if err != nil {
		return err
	}
	writeNote(w, c.Note)
	return nil
}

// writeNote writes text that a moment later may be another.
func writeNote(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(text) // the client may be gone
}

// publishedLog is the log that a request names, and its checkpoint.
func (s *server) publishedLog(r *http.Request) (stream eventstore.Stream, c audit.Checkpoint, err error) {
	if stream, err = streamOf(r); err != nil {
		return stream, c, err
	}
	if s.Merkle == nil {
		return stream, c, domain.ErrNoTrailLog
	}
	c, err = s.Merkle.Published(r.Context(), stream)
	return stream, c, err
}

// verifierKeys answers the keys that sign at the moment, a line each, the newest first: of the log
// that the path names, or of both.
func (s *server) verifierKeys(w http.ResponseWriter, r *http.Request, _ domain.Principal) error {
	streams := eventstore.Streams[:]
	if r.PathValue("stream") != "" {
		one, err := streamOf(r)
		if err != nil {
			return err
		}
		streams = []eventstore.Stream{one}
	}
	t, err := s.currentLog(r.Context())
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, stream := range streams {
		for _, k := range t.SigningKeys(s.Now()) {
			for _, vkey := range k.Verifiers[stream.String()] {
				text.WriteString(vkey + "\n")
			}
		}
	}
	writeNote(w, []byte(text.String()))
	return nil
}

// A tilePath is which tile, or which entries, a path names.
type tilePath struct {
	index int64
	width int
}

// parseTilePath reads N, as x001/x234/067, and W of a partial tile after .p/.
func parseTilePath(level, path string) (tilePath, error) {
	at, err := tlog.ParseTilePath("tile/8/" + level + "/" + path)
	if err != nil {
		return tilePath{}, domain.ErrTileNotFound
	}
	return tilePath{at.N, at.W}, nil
}

// tile answers hashes of a log.
func (s *server) tile(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	level, err := strconv.Atoi(r.PathValue("level"))
	if err != nil {
		return domain.ErrTileNotFound
	}
	return s.tiles(w, r, p, r.PathValue("level"), func(stream eventstore.Stream, at tilePath) ([]byte, error) {
		c, err := s.Merkle.Checkpoint(r.Context(), stream)
		if err != nil {
			return nil, err
		}
		return s.Merkle.Tile(r.Context(), c, level, at.index, at.width)
	})
}

// entries answers leaves of a log, each after its length.
func (s *server) entries(w http.ResponseWriter, r *http.Request, p domain.Principal) error {
	return s.tiles(w, r, p, "0", func(stream eventstore.Stream, at tilePath) ([]byte, error) {
		c, err := s.Merkle.Checkpoint(r.Context(), stream)
		if err != nil {
			return nil, err
		}
		if !c.HasTile(0, at.index, at.width) {
			return nil, domain.ErrTileNotFound
		}
		return s.readEntries(r, stream, at)
	})
}

// tiles answers what read gives of the tile that the request names. Few are read at once: the
// entries of one may be 16 MiB.
func (s *server) tiles(w http.ResponseWriter, r *http.Request, p domain.Principal, level string, read func(eventstore.Stream, tilePath) ([]byte, error)) error {
	stream, err := streamOf(r)
	if err == nil && s.Merkle == nil {
		err = domain.ErrNoTrailLog
	}
	if err != nil {
		return err
	}
	at, err := parseTilePath(level, r.PathValue("index"))
	if err != nil {
		return err
	}
	if err := s.readTrail(r.Context(), p, commands.ReadTrail{Access: domain.AccessTiles}); err != nil {
		return err
	}
	release, err := s.admission.acquireFor(r.Context(), &s.admission.tiles, p.Org)
	if err != nil {
		return err
	}
	defer release()
	data, err := read(stream, at)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", tileAge)
	_, _ = w.Write(data) // the client may be gone
	return nil
}

// minimumIndex is that of tlog-tiles: the entries of a bundle that ends after it can all be had.
func minimumIndex(e eventstore.Ends) int64 {
	gone := min(int64(e.First)-1, int64(e.Last))
	return min((gone+tileWidth-1)/tileWidth*tileWidth, int64(e.Last))
}

var errGap = errors.New("entries are missing between others")

// readEntries reads the leaves of a bundle from the stream itself.
func (s *server) readEntries(r *http.Request, stream eventstore.Stream, at tilePath) (b []byte, err error) {
	first := eventstore.Position(at.index*tileWidth) + 1
	ends, err := s.Ledger.Ends(r.Context(), stream)
	if err != nil {
		return nil, err
	}
	if ends.First > first {
		return nil, domain.EntriesGone(minimumIndex(ends))
	}
	next := first
	err = s.Ledger.Copy(r.Context(), stream, first-1, first-1+eventstore.Position(at.width), func(m *eventstore.Raw) error {
		if m.Position != next {
			return errGap
		}
		next++
		leaf, err := eventstore.NewLeaf(stream, m)
		if err != nil {
			return err
		}
		entry := leaf.Append(nil)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(entry))), entry...)
		return nil
	})
	if errors.Is(err, errGap) || err == nil && next != first+eventstore.Position(at.width) { // they aged out meanwhile
		err = domain.EntriesGone(minimumIndex(eventstore.Ends{First: next + 1, Last: ends.Last}))
	}
	return b, err
}

func documentCheckpoint() description {
	return description{summary: "The last checkpoint of a Merkle log", details: "A signed note (C2SP tlog-checkpoint), with the signatures of witnesses if they were quick.",
		answer: map[string]*huma.MediaType{"text/plain": {Schema: textSchema()}}}
}

func documentVerifierKeys() description {
	return description{summary: "The keys that checkpoints are signed with", details: "Verifier keys of signed notes, a line each.", answer: map[string]*huma.MediaType{"text/plain": {Schema: textSchema()}}}
}

func documentTile(summary string) description {
	return description{summary: summary, details: "As C2SP tlog-tiles says; the index as x001/x234/067, and .p/ with the width of a partial tile after it.",
		answer: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
}
