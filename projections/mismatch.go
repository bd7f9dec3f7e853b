package projections

import (
	"context"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// prepare compares each checkpoint with the ledger. Where they differ, the ledger is not the one
// that the rows came from, or lost its end: the rows are built again in an empty table, which the
// catalog names before the old one goes: a crash leaves no half of a table that counts.
func (g *group) prepare(ctx context.Context, l *eventstore.Ledger) error {
	var stale []*runner
	for _, r := range g.runners {
		same, err := l.Holds(ctx, g.stream, g.seen(r))
		if err != nil {
			return err
		}
		if !same {
			_ = g.store.CancelRebuild(ctx, r.name) // which reads another ledger now
			stale = append(stale, r)
		}
	}
	before, err := g.empty(ctx, stale)
	if err != nil {
		return err
	}
	for _, table := range before {
		if err := g.dropTable(ctx, table); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) seen(r *runner) eventstore.Checkpoint {
	g.feed.Lock()
	defer g.feed.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	return r.seen()
}

// empty gives each runner an empty table, and returns the tables that they had.
func (g *group) empty(ctx context.Context, runners []*runner) (before []uint16, err error) {
	g.feed.Lock()
	defer g.feed.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range runners {
		g.store.log.ErrorContext(ctx, "the read model does not match the ledger and is built again; if the ledger was not replaced on purpose, it lost events",
			"projection", r.name, "position", r.seen().Position)
		fresh := newRunner(r.projection)
		fresh.table = freeTable(g.usedTables())
		if err := g.dropTable(ctx, fresh.table); err != nil { // what a cut-off rebuild left there
			return before, err
		}
		if err := g.db.Update(func(tx *badger.Txn) error { return fresh.catalogue(tx, eventstore.Checkpoint{}, nil) }); err != nil {
			return before, err
		}
		before = append(before, r.table)
		r.table = fresh.table
		r.begin(eventstore.Checkpoint{}, usageClock{})
	}
	g.publish()
	return before, nil
}
