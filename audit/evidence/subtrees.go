package evidence

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// maxParts bounds the hashes of one line, and so the memory of the verifier. It is the width of a
// tile.
const maxParts = 256

// An expectedSubtree is a subtree of a log whose hash leads up to the signed root: what a bundle
// says of the leaves in it has to make this hash.
type expectedSubtree struct {
	start, end uint64 // leaves
	hash       tlog.Hash
}

// expected is a stack of subtrees, the leftmost on top, that begin one where the other ends. A
// bundle opens the top one, or shows its leaf, or leaves it out. So nothing is taken for logged
// before it was compared, and the first thing that is wrong is known at once.
type expected []expectedSubtree

// expectTree is all of a log.
func expectTree(size uint64, root tlog.Hash) expected {
	if size == 0 {
		return nil
	}
	return expected{{0, size, root}}
}

// skipTo leaves out the subtrees before a leaf, and is the one that has it; nil: none does.
func (e *expected) skipTo(leaf uint64) *expectedSubtree {
	for s := *e; len(s) > 0; s = s[:len(s)-1] {
		if top := &s[len(s)-1]; leaf < top.end {
			*e = s
			if leaf < top.start {
				return nil // it was left out, or shown, before
			}
			return top
		}
	}
	*e = nil
	return nil
}

// open puts the parts of a subtree in its place.
func (e *expected) open(s *subtree) error {
	start, end := s.Start, s.End
	top := e.skipTo(start)
	if top == nil || top.start != start || top.end != end {
		return fmt.Errorf("the subtree %d to %d is not where its hash is known", start, end)
	}
	if s.Level < 0 || s.Level > 62 || len(s.Hashes) > maxParts || len(s.Hashes) < 2 || partsOf(end-start, s.Level) != uint64(len(s.Hashes)) {
		return fmt.Errorf("the subtree %d to %d cannot have such parts", start, end)
	}
	if rootOf(s.Hashes) != top.hash {
		return fmt.Errorf("the hashes of the subtree %d to %d are not those that were signed", start, end)
	}
	*e = (*e)[:len(*e)-1]
	for i := len(s.Hashes) - 1; i >= 0; i-- {
		from := start + uint64(i)<<s.Level
		*e = append(*e, expectedSubtree{from, min(end, from+1<<s.Level), tlog.Hash(s.Hashes[i])})
	}
	return nil
}

// partsOf is how many parts of 2^level leaves n leaves have, the last of which may be smaller.
func partsOf(n uint64, level int) uint64 { return (n-1)>>level + 1 }

// rootOf is the hash of a subtree with these parts. Whether they are leaves or subtrees, a hash
// without a neighbour goes up as it is (RFC 6962).
func rootOf(parts []hash) tlog.Hash {
	level := make([]tlog.Hash, len(parts))
	for i, h := range parts {
		level[i] = tlog.Hash(h)
	}
	for len(level) > 1 {
		above := level[:0]
		for i := 0; i+1 < len(level); i += 2 {
			above = append(above, tlog.NodeHash(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			above = append(above, level[len(level)-1])
		}
		level = above
	}
	return level[0]
}

// A prefix is the first leaves of a log: the hashes of the largest complete subtrees in it, from
// the left. Its root tells whether an older checkpoint was of the same log.
type prefix struct {
	size   uint64
	hashes []tlog.Hash
}

func (p *prefix) add(leaf tlog.Hash) {
	for n := p.size; n&1 == 1; n >>= 1 {
		leaf = tlog.NodeHash(p.hashes[len(p.hashes)-1], leaf)
		p.hashes = p.hashes[:len(p.hashes)-1]
	}
	p.hashes = append(p.hashes, leaf)
	p.size++
}

func (p *prefix) root() tlog.Hash {
	last := len(p.hashes) - 1
	root := p.hashes[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(p.hashes[i], root)
	}
	return root
}

// levelFor is the level at which n leaves, at least two, are opened: at a multiple of step, with at
// most 2^step parts.
func levelFor(n uint64, step int) int { return (bits.Len64(n-1) - 1) / step * step }
