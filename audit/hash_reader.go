package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// A tileCache has full tiles by their hash, the one in the tile above. It holds none that was not
// compared with it: whatever checkpoint leads to that hash has proved the tile. It is safe for
// concurrent use.
type tileCache struct {
	max   int
	mu    sync.Mutex
	tiles map[tlog.Hash][]byte
}

// cachedTiles is how many tiles a Log keeps in memory, 8 KiB each. A bundle goes through them from
// the left to the right, and each of those that are made at once needs one of each level.
const cachedTiles = 512

func newTileCache(tiles int) *tileCache {
	return &tileCache{max: tiles, tiles: map[tlog.Hash][]byte{}}
}

func (c *tileCache) get(hash tlog.Hash) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.tiles[hash]
	return data, ok
}

// add takes a tile in, for any other one if the cache is full: which of them is wanted next, their
// ages do not tell.
func (c *tileCache) add(hash tlog.Hash, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tiles) >= c.max {
		for other := range c.tiles {
			delete(c.tiles, other)
			break
		}
	}
	c.tiles[hash] = data
}

// A hashReader reads hashes of one checkpoint's tree, each proved by the checkpoint's root: the tiles
// at the right edge make the root, and any other tile makes a hash of the tile above it.
type hashReader struct {
	ctx    context.Context // of what it is made for
	ledger *eventstore.Ledger
	of     Checkpoint
	full   *tileCache
	edge   *tree // nil: it is not read yet
}

var (
	errNotInTree = errors.New("the tree does not have this hash")
	errTile      = errors.New("it is not what the checkpoint says")
)

// ReadHashes reads hashes by their stored index.
func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if err := r.loadEdge(); err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= tlog.StoredHashIndex(0, r.of.Size) {
			return nil, errNotInTree
		}
		at := tlog.TileForIndex(tileHeight, index)
		data, err := r.tile(at.L, at.N)
		if err == nil {
			hashes[i], err = tlog.HashFromTile(at, data, index)
		}
		if err != nil {
			return nil, fmt.Errorf("the tile %d.%d of %s: %w", at.L, at.N, r.of.Origin, err)
		}
	}
	return hashes, nil
}

func (r *hashReader) loadEdge() error {
	if r.edge != nil {
		return nil
	}
	edge, err := readEdge(r.ctx, r.ledger, r.of)
	if err == nil && edge.root() != r.of.Root {
		err = fmt.Errorf("the tiles at the edge of %s: %w", r.of.Origin, errTile)
	}
	if err == nil {
		r.edge = edge
	}
	return err
}

// tile is the hashes of a tile.
func (r *hashReader) tile(level int, index int64) ([]byte, error) {
	if index == r.of.Size>>(tileHeight*(level+1)) {
		return r.edge.edge[level], nil
	}
	above, err := r.tile(level+1, index>>tileHeight)
	if err != nil {
		return nil, err
	}
	hash := tlog.Hash(above[index%tileWidth*tlog.HashSize:])
	if data, ok := r.full.get(hash); ok {
		return data, nil
	}
	kept, err := r.ledger.Tile(r.ctx, eventstore.NewTileRef(r.of.log, r.of.stream, level, index))
	if err != nil {
		return nil, err
	}
	if len(kept.Data) != tileBytes || subtreeHash(kept.Data) != hash {
		return nil, errTile
	}
	r.full.add(hash, kept.Data)
	return kept.Data, nil
}

// readEdge reads the tiles at the edge of a checkpoint's tree, unproved. One that is missing is empty.
func readEdge(ctx context.Context, ledger *eventstore.Ledger, c Checkpoint) (*tree, error) {
	t := &tree{size: c.Size}
	for _, at := range edgeOf(t.size) {
		data := make([]byte, at.W*tlog.HashSize, tileBytes)
		if at.W > 0 {
			kept, err := ledger.Tile(ctx, eventstore.NewTileRef(c.log, c.stream, at.L, at.N))
			if err != nil && !errors.Is(err, eventstore.ErrNoTile) {
				return nil, err
			}
			copy(data, kept.Data)
		}
		t.edge = append(t.edge, data)
	}
	return t, nil
}
