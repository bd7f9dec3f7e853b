package projections

import (
	"context"

	"github.com/keytrail/keytrail/eventstore"
)

// matchLedger compares how far each table has read with the ledger. Where they differ, the
// ledger is not the one that the rows came from, or lost its end: the rows are built again in
// an empty table, which the catalog names before the old one goes: a crash leaves no half of
// a table that counts.
func (e *engine) matchLedger(ctx context.Context, l *eventstore.Ledger) error {
	var stale []int
	for slot, p := range e.projections {
		same, err := l.Holds(ctx, e.stream, e.reached(slot))
		if err != nil {
			return err
		}
		if !same {
			_ = e.store.CancelRebuild(ctx, p.name) // which reads another ledger now
			stale = append(stale, slot)
		}
	}
	before, err := e.replaceByEmpty(ctx, stale)
	if err != nil {
		return err
	}
	if e.loadsInBulk() {
		return nil // loadBehind leaves nothing of them
	}
	for _, number := range before {
		if err := e.dropTable(ctx, number); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) reached(slot int) eventstore.Checkpoint {
	e.write.Lock()
	defer e.write.Unlock()
	return e.tables[slot].reached()
}

// replaceByEmpty puts empty tables into the place of some, and returns the numbers of those.
func (e *engine) replaceByEmpty(ctx context.Context, slots []int) (before []uint16, err error) {
	e.write.Lock()
	defer e.write.Unlock()
	for _, slot := range slots {
		old := e.tables[slot]
		e.store.log.ErrorContext(ctx, "the read model does not match the ledger and is built again; if the ledger was not replaced on purpose, it lost events",
			"projection", old.state().name, "position", old.reached().Position)
		fresh := e.newTable(e.db, e.projections[slot], freeNumber(e.usedNumbers()))
		if err := e.saveEmpty(ctx, fresh); err != nil {
			return before, err
		}
		before = append(before, old.state().number)
		e.tables[slot] = fresh
	}
	e.publish()
	return before, nil
}
