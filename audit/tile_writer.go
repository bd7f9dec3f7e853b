package audit

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/eventstore"
)

// A tileWriter puts the tiles of one log. It knows the revisions of those that it put last at the
// edge, which it replaces by wider ones.
type tileWriter struct {
	ledger *eventstore.Ledger
	log    uint64
	stream eventstore.Stream

	full []tile        // to be put
	edge []writtenTile // by level
}

// A writtenTile is a tile at the edge as the ledger has it.
type writtenTile struct {
	index    int64
	bytes    int
	revision eventstore.Position
}

// tilesAtOnce is how many tiles are put at once: on one server each takes a sync of its own, on a
// cluster they share some.
const tilesAtOnce = 64

func (w *tileWriter) add(full tile) { w.full = append(w.full, full) }

// flush puts the tiles that were filled and those at the edge of t, until all are acknowledged.
// isLast ends it where another process has gone on.
func (w *tileWriter) flush(ctx context.Context, t *tree, isLast func(context.Context) error) error {
	tiles := append(w.full, t.partial()...)
	w.full = nil
	written := make([]eventstore.Position, len(tiles))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tilesAtOnce)
	for i, one := range tiles {
		g.Go(func() (err error) {
			written[i], err = w.put(ctx, one, isLast)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		w.edge = nil
		return err
	}
	w.edge = slices.Repeat([]writtenTile{{index: -1}}, len(t.edge))
	for i, one := range tiles {
		if len(one.data) < tileBytes {
			w.edge[one.level] = writtenTile{one.index, len(one.data), written[i]}
		}
	}
	return nil
}

// put puts one tile, unless the ledger has it, or a wider one: what another process, or a crash,
// has left after the checkpoint. One that says something else is of messages that the ledger has
// lost since, and were never signed.
func (w *tileWriter) put(ctx context.Context, t tile, isLast func(context.Context) error) (eventstore.Position, error) {
	ref := eventstore.NewTileRef(w.log, w.stream, t.level, t.index)
	after := eventstore.Position(0)
	if t.level < len(w.edge) && w.edge[t.level].index == t.index {
		if after = w.edge[t.level].revision; w.edge[t.level].bytes == len(t.data) {
			return after, nil
		}
	}
	for {
		revision, err := w.ledger.PutTile(ctx, ref, after, t.data)
		if !errors.Is(err, eventstore.ErrConflict) {
			return revision, err
		}
		have, err := w.ledger.Tile(ctx, ref)
		if err != nil && !errors.Is(err, eventstore.ErrNoTile) {
			return 0, err
		}
		if bytes.HasPrefix(have.Data, t.data) {
			return have.Revision, nil
		}
		if err := isLast(ctx); err != nil {
			return 0, err
		}
		after = have.Revision
	}
}
