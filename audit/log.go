package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Log reads the installation's Merkle logs. What it gives is proved by a checkpoint, so that
// tiles that were damaged are an error and never a wrong proof. Full tiles that were proved are kept
// in memory, 4 MiB of them. Concurrent use is safe.
type Log struct {
	ledger *eventstore.Ledger
	full   *tileCache

	mu      sync.Mutex
	current domain.TrailLog
	at      eventstore.Position // of its last event

	origin atomic.Pointer[string] // of current
}

// NewLog reads the logs over ledger.
func NewLog(ledger *eventstore.Ledger) *Log {
	return &Log{ledger: ledger, full: newTileCache(cachedTiles)}
}

// Current is what the ledger says of the logs: their number, origin, keys and forks.
func (l *Log) Current(ctx context.Context) (domain.TrailLog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, err := l.ledger.Load(ctx, eventstore.TrailLogRef(), l.at, func(r eventstore.Record) { l.current.Apply(r.Event) })
	l.at = end
	origin := l.current.Origin
	l.origin.Store(&origin)
	return l.current, err
}

// LastOrigin is the origin as Current last told it, which a Signer asks each second. It does not
// wait for the ledger.
func (l *Log) LastOrigin() string {
	if o := l.origin.Load(); o != nil {
		return *o
	}
	return ""
}

// LastCheckpoints are those of a log that was signed, by stream.
func (l *Log) LastCheckpoints(ctx context.Context, number uint64) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range eventstore.Streams {
		c, err := l.checkpointOf(ctx, number, s)
		if errors.Is(err, ErrNoCheckpoint) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[s.String()] = string(c.Note)
	}
	return all, nil
}

// Origin is that of a stream's checkpoints.
func Origin(t domain.TrailLog, s eventstore.Stream) string { return t.Origin + "/" + s.String() }

// ErrNoCheckpoint is a log of which nothing was signed yet.
var ErrNoCheckpoint = domain.ErrNoCheckpoint

// Checkpoint is the last one of a stream's current log; ErrNoCheckpoint.
func (l *Log) Checkpoint(ctx context.Context, s eventstore.Stream) (Checkpoint, error) {
	t, err := l.Current(ctx)
	if err != nil {
		return Checkpoint{}, err
	}
	return l.checkpointOf(ctx, t.Number, s)
}

func (l *Log) checkpointOf(ctx context.Context, number uint64, s eventstore.Stream) (Checkpoint, error) {
	kept, err := l.ledger.Tile(ctx, eventstore.CheckpointRef(number, s))
	if errors.Is(err, eventstore.ErrNoTile) {
		return Checkpoint{}, ErrNoCheckpoint
	}
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(kept.Data)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the last checkpoint of log %d of %s: %w", number, s, err)
	}
	c.Published, c.revision, c.log, c.stream = kept.Stored, kept.Revision, number, s
	return c, nil
}

// Inclusion proves that the tree of a size, up to c's, has the leaf at index (RFC 6962, section 2.1.1).
func (l *Log) Inclusion(ctx context.Context, c Checkpoint, index, size int64) ([]tlog.Hash, error) {
	if index < 0 || index >= size || size > c.Size {
		return nil, domain.ErrTileNotFound
	}
	return tlog.ProveRecord(size, index, l.Hashes(ctx, c))
}

// Consistency proves that the tree of c begins with the tree of the size old (section 2.1.2).
func (l *Log) Consistency(ctx context.Context, c Checkpoint, old int64) ([]tlog.Hash, error) {
	if old < 0 || old > c.Size {
		return nil, domain.ErrTileNotFound
	}
	if old == 0 {
		return nil, nil
	}
	return tlog.ProveTree(c.Size, old, l.Hashes(ctx, c))
}

// RootAt is the root of the first leaves of c's tree, up to a size.
func (l *Log) RootAt(ctx context.Context, c Checkpoint, size int64) (eventstore.Hash, error) {
	if size < 0 || size > c.Size {
		return eventstore.Hash{}, domain.ErrTileNotFound
	}
	root, err := tlog.TreeHash(size, l.Hashes(ctx, c))
	return eventstore.Hash(root), err
}

// Hashes reads hashes of c's tree by their stored index, see tlog.StoredHashIndex. It is for one
// goroutine, and for as long as ctx.
func (l *Log) Hashes(ctx context.Context, c Checkpoint) tlog.HashReader {
	return &hashReader{ctx: ctx, ledger: l.ledger, of: c, full: l.full}
}

// Tile is a tile of c's tree as the ledger has it, which clients of tlog-tiles prove themselves, cut
// to a width; domain.ErrTileNotFound.
func (l *Log) Tile(ctx context.Context, c Checkpoint, level int, index int64, width int) ([]byte, error) {
	if !c.HasTile(level, index, width) {
		return nil, domain.ErrTileNotFound
	}
	kept, err := l.ledger.Tile(ctx, eventstore.NewTileRef(c.log, c.stream, level, index))
	if err != nil {
		return nil, err
	}
	if len(kept.Data) < width*tlog.HashSize {
		return nil, fmt.Errorf("the tile %d.%d of %s has %d bytes", level, index, c.Origin, len(kept.Data))
	}
	return kept.Data[:width*tlog.HashSize], nil
}

// HasTile reports whether a tree of c's size has a tile of that width.
func (c Checkpoint) HasTile(level int, index int64, width int) bool {
	if level < 0 || level > 63/tileHeight || index < 0 || width < 1 || width > tileWidth {
		return false
	}
	hashes := c.Size >> (tileHeight * level)
	full := hashes / tileWidth
	return index < full || index == full && int64(width) <= hashes%tileWidth
}
