package projections

import (
	"fmt"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
)

// A postingsTable collects posting lists in a buffer, which flush writes to the rows. What is not
// flushed yet is found in the buffer, which is published with the rows that it goes on from: a
// new one takes its place with each flush.
type postingsTable struct {
	tableState
	end eventstore.Checkpoint // of the last message in the buffer
}

func newPostingsTable(_ *Store, s tableState) table {
	t := &postingsTable{tableState: s}
	t.resetTo(eventstore.Checkpoint{})
	return t
}

// resetTo makes c what the rows stand for, with nothing buffered beyond.
func (t *postingsTable) resetTo(c eventstore.Checkpoint) {
	t.checkpoint, t.end, t.unflushed = c, c, newPostingsBuffer(c.Position)
}

func (t *postingsTable) resume(_ rows, e catalogEntry) error {
	t.resetTo(*e.Checkpoint)
	return nil
}

// apply adds b to the buffer, and flushes it before if it has no room.
func (t *postingsTable) apply(_ *badger.Txn, b eventstore.Batch) error {
	if t.unflushed.full() {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if b.Checkpoint.Position > t.end.Position {
		t.unflushed.addUses(b.After(t.end.Position))
		t.end = b.Checkpoint
	}
	return nil
}

func (t *postingsTable) committed(eventstore.Checkpoint) {} // a flush moves the checkpoint on

func (t *postingsTable) reached() eventstore.Checkpoint { return t.end }

func (t *postingsTable) buffered() int { return len(t.unflushed.all) / postingsPerUse }

func (t *postingsTable) flush() error {
	if t.end.Position <= t.checkpoint.Position {
		return nil
	}
	f, limit := t.unflushed.flush(), postingsLimit(t.db)
	for done := false; !done; {
		err := t.db.Update(func(tx *badger.Txn) (err error) {
			r := t.rows(tx).ascending(rowPostings)
			defer r.it.Close()
			if done, err = f.write(r, limit); err != nil || !done {
				return err
			}
			return t.save(tx, t.end, nil)
		})
		if err != nil {
			return fmt.Errorf("projection %s: %w", t.name, err)
		}
	}
	t.resetTo(t.end)
	return nil
}

// postingsLimit is the number of rows in a transaction: flushRows, unless Badger takes fewer.
func postingsLimit(db *badger.DB) int {
	largestRow := 2*(tableKeyHead+fullRowSize) + offsetSize + maxChunk // with what Badger adds
	return min(flushRows, int(db.MaxBatchCount()/2), int(db.MaxBatchSize()/2)/largestRow)
}

// skip does nothing while there is something to flush before.
func (t *postingsTable) skip(gone eventstore.Checkpoint) {
	if t.end.Position == t.checkpoint.Position && gone.Position > t.checkpoint.Position {
		t.resetTo(gone)
	}
}

func (t *postingsTable) publishing(uint64) {}

// prune deletes the lists of buckets that are gone, limit rows at most, and reports whether there
// may be more.
func (t *postingsTable) prune(tx *badger.Txn, gone eventstore.Position, limit int) (more bool, err error) {
	return t.rows(tx).deleteBefore(rowPostings, openRow(term{}, gone+1), limit)
}
