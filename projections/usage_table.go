package projections

import (
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// A usageTable adds uses up in a buffer, which flush writes to the rows, see flushProgress.
type usageTable struct {
	tableState
	buffer     *usageBuffer
	unfinished *flushProgress // of a flush that was cut off or has failed; nil: there is none
}

func newUsageTable(_ *Store, s tableState) table {
	return &usageTable{tableState: s, buffer: newUsageBuffer()}
}

// resetTo makes c what the rows stand for, with nothing buffered beyond. clock is that of the
// uses up to c.
func (t *usageTable) resetTo(c eventstore.Checkpoint, clock usageClock) {
	t.checkpoint, t.unfinished = c, nil
	t.buffer.reset(c, clock)
}

func (t *usageTable) resume(r rows, e catalogEntry) error {
	clock, err := loadUsageClock(r)
	t.resetTo(*e.Checkpoint, clock)
	t.unfinished = e.Flush
	if err == nil {
		t.buffer.summed, err = loadSummedMonths(r)
	}
	return err
}

// apply adds the records of b to the buffer, and flushes it before if it has no room.
func (t *usageTable) apply(_ *badger.Txn, b eventstore.Batch) error {
	if err := t.finish(b.Records, b.Checkpoint); err != nil {
		return err
	}
	if t.unfinished == nil && t.buffer.full() {
		if err := t.flush(); err != nil {
			return err
		}
	}
	return t.buffer.add(b.Records, b.Checkpoint)
}

// finish ends a flush that was cut off when records go beyond the end of what it had in it.
func (t *usageTable) finish(records []eventstore.Record, c eventstore.Checkpoint) error {
	f := t.unfinished
	if f == nil || c.Position <= f.Checkpoint.Position {
		return nil
	}
	had := slices.DeleteFunc(slices.Clone(records), func(r eventstore.Record) bool { return r.Position > f.Checkpoint.Position })
	if err := t.buffer.add(had, f.Checkpoint); err != nil {
		return err
	}
	return t.flush()
}

func (t *usageTable) committed(eventstore.Checkpoint) {} // a flush moves the checkpoint on

func (t *usageTable) reached() eventstore.Checkpoint { return t.buffer.checkpoint }
func (t *usageTable) buffered() int                  { return t.buffer.uses }

// flush writes the buffer, unless it lacks a part of what an unfinished flush has in it.
func (t *usageTable) flush() error {
	lacks := t.unfinished != nil && t.buffer.checkpoint.Position < t.unfinished.Checkpoint.Position
	if lacks || t.buffer.checkpoint.Position <= t.checkpoint.Position {
		return nil
	}
	if err := t.flushBuffer(); err != nil {
		return err
	}
	t.resetTo(t.buffer.checkpoint, t.buffer.clock)
	return nil
}

// skip does nothing while there is something to flush before.
func (t *usageTable) skip(gone eventstore.Checkpoint) {
	lacks := t.unfinished != nil && gone.Position < t.unfinished.Checkpoint.Position
	if lacks || t.buffer.uses > 0 || gone.Position <= t.checkpoint.Position {
		return
	}
	t.resetTo(gone, t.buffer.clock)
}

func (t *usageTable) publishing(uint64) {}
