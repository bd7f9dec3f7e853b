package projections

import (
	"context"
	"errors"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// A pruner is a table whose rows go when the messages that they are of have gone from the ledger.
// prune deletes limit rows of messages up to gone at most, and reports whether there may be more.
type pruner interface {
	table
	prune(tx *badger.Txn, gone eventstore.Position, limit int) (more bool, err error)
}

const (
	// retentionInterval is how often what has aged out of the ledger is deleted, and Badger asked
	// to rewrite value log files that are half unused. Until then it can still be read here.
	retentionInterval = 10 * time.Minute
)

// pruneRows is how many rows go at once, while the engine stands still: about 20 ms. Tests lower it.
var pruneRows = int64(10_000)

// keepRetention deletes what the ledger has no more, and gives back what large values took that
// are deleted: Badger does so only when it is asked.
func (e *engine) keepRetention(ctx context.Context, l *eventstore.Ledger) {
	for backoff.Sleep(ctx, retentionInterval) == nil {
		if err := e.prune(ctx, l); err != nil && ctx.Err() == nil {
			e.store.log.WarnContext(ctx, "rows of messages that have aged out are left for later", "stream", e.stream.String(), "err", err)
		}
		now := view{engine: e}.snapshot() // keeps the Badger open
		for ctx.Err() == nil && now.db.RunValueLogGC(0.5) == nil {
		}
		now.release()
	}
}

func (e *engine) prune(ctx context.Context, l *eventstore.Ledger) error {
	gone, err := l.Gone(ctx, e.stream)
	if err != nil {
		return err
	}
	return e.pruneUpTo(ctx, gone.Position)
}

func (e *engine) pruneUpTo(ctx context.Context, gone eventstore.Position) (err error) {
	e.gone.Store(uint64(gone))
	for slot := range e.projections {
		for more := true; more && err == nil; {
			more, err = e.pruneSome(slot, gone)
			err = errors.Join(err, ctx.Err())
		}
	}
	return err
}

func (e *engine) pruneSome(slot int, gone eventstore.Position) (more bool, err error) {
	e.write.Lock()
	defer e.write.Unlock()
	t, prunes := e.tables[slot].(pruner)
	if !prunes {
		return false, nil
	}
	err = e.db.Update(func(tx *badger.Txn) error {
		more, err = t.prune(tx, gone, int(min(pruneRows, e.db.MaxBatchCount()/2)))
		return err
	})
	return more, err
}

// deleteBefore deletes rows of a kind that come before a row, limit at most, and reports whether
// there may be more.
func (r rows) deleteBefore(kind byte, before []byte, limit int) (more bool, err error) {
	end := string(r.key(before))
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{kind})})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		if string(key) >= end {
			return false, nil
		}
		if limit == 0 {
			return true, nil
		}
		if err := r.tx.Delete(key); err != nil {
			return false, err
		}
		limit--
	}
	return false, nil
}
