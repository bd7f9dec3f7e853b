package audit

import (
	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// The shape of a tile (C2SP tlog-tiles): the hashes of a level are cut into tiles of 256, each of
// which is one hash of the level above.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * tlog.HashSize
)

// A tile is one of the tree: its place, and its hashes one after the other.
type tile struct {
	level int
	index int64
	data  []byte
}

// A tree is a Merkle tree that grows: of its tiles it holds those at the right edge, which are
// not full, level by level. The zero value is the empty tree.
type tree struct {
	size int64
	edge [][]byte
}

// add adds the next leaf. full is called with each tile that it fills, which is the callee's.
func (t *tree) add(leaf tlog.Hash, full func(tile)) {
	t.size++
	hash := leaf
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, make([]byte, 0, tileBytes))
		}
		t.edge[level] = append(t.edge[level], hash[:]...)
		if len(t.edge[level]) < tileBytes {
			return
		}
		data := t.edge[level]
		t.edge[level] = make([]byte, 0, tileBytes)
		full(tile{level, t.size>>(tileHeight*(level+1)) - 1, data})
		hash = subtreeHash(data)
	}
}

// clone is a copy that grows apart from t.
func (t *tree) clone() *tree {
	c := &tree{size: t.size}
	for _, data := range t.edge {
		c.edge = append(c.edge, append(make([]byte, 0, tileBytes), data...))
	}
	return c
}

// subtreeHash is the hash of the perfect tree over hashes.
func subtreeHash(hashes []byte) tlog.Hash {
	if len(hashes) == tlog.HashSize {
		return tlog.Hash(hashes)
	}
	half := len(hashes) / 2
	return tlog.NodeHash(subtreeHash(hashes[:half]), subtreeHash(hashes[half:]))
}

// partial are the tiles of the right edge that have hashes.
func (t *tree) partial() (tiles []tile) {
	for level, data := range t.edge {
		if len(data) > 0 {
			tiles = append(tiles, tile{level, t.size >> (tileHeight * (level + 1)), data})
		}
	}
	return tiles
}

// root is the hash of the whole tree.
func (t *tree) root() eventstore.Hash {
	root, err := tlog.TreeHash(t.size, tlog.HashReaderFunc(t.readEdge))
	if err != nil {
		panic(err) // readEdge cannot fail
	}
	return eventstore.Hash(root)
}

// readEdge reads hashes of perfect trees that are at the right edge, of which the root is made.
func (t *tree) readEdge(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		at := tlog.TileForIndex(tileHeight, index)
		hash, err := tlog.HashFromTile(at, t.edge[at.L], index)
		if err != nil {
			return nil, err
		}
		hashes[i] = hash
	}
	return hashes, nil
}

// edgeOf are the places and widths of the tiles at the right edge of a tree of a size, by level.
// The data of each is to be read.
func edgeOf(size int64) (tiles []tlog.Tile) {
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		hashes := size >> (tileHeight * level)
		tiles = append(tiles, tlog.Tile{H: tileHeight, L: level, N: hashes >> tileHeight, W: int(hashes % tileWidth)})
	}
	return tiles
}
