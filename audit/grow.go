package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytrail/keytrail/eventstore"
)

// maxLeaves and maxLeafBytes, of stored messages, bound what one pass adds: a first pass over a large
// ledger signs on its way. Tests lower the first.
var maxLeaves = 1 << 18

const maxLeafBytes = 128 << 20

// fewMessages is how many messages are asked for one by one, without the cost of a consumer.
const fewMessages = 32

// errFull ends a copy that has brought as much as is to be added at once.
var errFull = errors.New("enough messages")

// grow adds the messages after the tree's up to last, or fewer if they have more than maxLeafBytes.
// The tiles that it fills are handed to full.
func (s *streamSigner) grow(ctx context.Context, t *tree, last eventstore.Position, full func(tile)) error {
	g := growth{streamSigner: s, tree: t, full: full}
	size := 0
	err := s.each(ctx, eventstore.Position(t.size), last, func(m *eventstore.Raw) error {
		if err := g.addGone(ctx, m.Position-1); err != nil {
			return err
		}
		leaf, err := eventstore.NewLeaf(s.stream, m)
		if err != nil {
			return err
		}
		g.add(leaf)
		if size += len(m.Data); size > maxLeafBytes {
			return errFull
		}
		return nil
	})
	switch {
	case errors.Is(err, errFull):
		return nil
	case errors.Is(err, eventstore.ErrEventMissing):
		return g.missing(ctx, eventstore.Position(t.size)+1)
	case err != nil:
		return err
	}
	return g.addGone(ctx, last)
}

// each calls handle with the messages after a position up to last that the ledger has.
func (s *streamSigner) each(ctx context.Context, after, last eventstore.Position, handle func(*eventstore.Raw) error) error {
	if last > after+fewMessages {
		return s.ledger.Copy(ctx, s.stream, after, last, handle)
	}
	for p := after + 1; p <= last; p++ {
		m, err := s.ledger.Message(ctx, s.stream, p)
		if errors.Is(err, eventstore.ErrNoSuchPosition) {
			continue
		}
		if err == nil {
			err = handle(&m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A growth is one grow.
type growth struct {
	*streamSigner
	tree  *tree
	full  func(tile)
	first eventstore.Position // everything before has aged out
	tile  int64               // the index of the tile of level 0 that kept is of, and one more
	kept  [][]byte            // of the log and of those before it, as far as they have it
}

func (g *growth) add(l eventstore.Leaf) { g.tree.add(tlog.Hash(l.Hash()), g.full) }

// addGone adds the leaves of uses that have aged out, up to last: their hashes are those of the
// tiles. One that no log has the hash of has a leaf that says so.
func (g *growth) addGone(ctx context.Context, last eventstore.Position) error {
	for p := eventstore.Position(g.tree.size) + 1; p <= last; p++ {
		if p >= g.first {
			if err := g.missing(ctx, p); err != nil {
				return err
			}
		}
		hash, err := g.keptHash(ctx, int64(p)-1)
		if err != nil {
			return err
		}
		if hash == nil {
			g.unhashed.WithLabelValues(g.stream.String()).Inc()
			g.add(eventstore.Leaf{Stream: g.stream, Position: p})
			continue
		}
		g.tree.add(tlog.Hash(hash), g.full)
	}
	return nil
}

// missing is a finding if the ledger lacks the message at p and it has not aged out.
func (g *growth) missing(ctx context.Context, p eventstore.Position) error {
	for range confirmations {
		ends, err := g.ledger.Ends(ctx, g.stream)
		if err != nil {
			return err
		}
		if g.first = ends.First; g.stream == eventstore.Uses && p < g.first {
			return nil
		}
		if _, err := g.ledger.Message(ctx, g.stream, p); !errors.Is(err, eventstore.ErrNoSuchPosition) {
			return cmp.Or(err, errBehind)
		}
		if err := g.ledger.Confirm(ctx); err != nil {
			return err
		}
	}
	return found("the message at position %d of %s was taken away", p, g.stream)
}

// errBehind tells that a message was missing and came: a server was behind the others.
var errBehind = errors.New("the ledger's server is behind")

// keptHash is the leaf hash at index as the tiles have it, nil if they do not.
func (g *growth) keptHash(ctx context.Context, index int64) ([]byte, error) {
	if g.tile != index/tileWidth+1 {
		g.tile, g.kept = index/tileWidth+1, nil
		for log := g.number; log > 0; log-- {
			have, err := g.ledger.Tile(ctx, eventstore.NewTileRef(log, g.stream, 0, index/tileWidth))
			if err != nil && !errors.Is(err, eventstore.ErrNoTile) {
				return nil, err
			}
			g.kept = append(g.kept, have.Data)
		}
	}
	at := int(index%tileWidth) * tlog.HashSize
	for _, data := range g.kept {
		if len(data) >= at+tlog.HashSize {
			return data[at : at+tlog.HashSize], nil
		}
	}
	return nil, nil
}

// loadTree reads the tree of signed from its tiles.
func (s *streamSigner) loadTree(ctx context.Context) error {
	if s.tree != nil {
		return nil
	}
	t, err := readEdge(ctx, s.ledger, s.signed)
	if err == nil && t.root() != s.signed.Root && t.size > 0 {
		if err = s.recompute(ctx, s.signed, s.signed); err == nil {
			t, err = readEdge(ctx, s.ledger, s.signed)
		}
		if err == nil && t.root() != s.signed.Root {
			err = errors.New("the tiles were damaged and could not be mended")
		}
	}
	if err == nil {
		s.tree = t
	}
	return err
}

// recompute makes the tree again from the ledger and mends the tiles by it, if the ledger has what
// both checkpoints say; else it is a finding. last is the one that tiles may be put for.
func (s *streamSigner) recompute(ctx context.Context, signed, last Checkpoint) error {
	checkpoints := []Checkpoint{signed, last}
	slices.SortFunc(checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	isLast := func(ctx context.Context) error {
		now, err := s.last(ctx)
		if err == nil && now.revision != last.revision {
			err = errOvertaken
		}
		return err
	}
	if _, err := s.ends(ctx, checkpoints[1].Size); err != nil {
		return err
	}
	// Tiles are put only when all of it is known to be what was signed.
	for _, flush := range []func(*tree) error{
		func(*tree) error { s.tiles.full = nil; return nil },
		func(t *tree) error { return s.tiles.flush(ctx, t, isLast) },
	} {
		t := new(tree)
		for _, c := range checkpoints {
			for t.size < c.Size {
				if err := s.grow(ctx, t, eventstore.Position(min(c.Size, t.size+int64(maxLeaves))), s.tiles.add); err != nil {
					return err
				}
				if err := flush(t); err != nil {
					return err
				}
			}
			if root := t.root(); c.Size > 0 && !bytes.Equal(root[:], c.Root[:]) {
				return found("the first %d messages of %s are not those that were signed", c.Size, s.stream)
			}
		}
	}
	return nil
}
