package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// SetMaxGathered forces a listing to sort in memory, or to walk, until the test ends.
func SetMaxGathered(t *testing.T, n int) {
	before := maxGathered
	t.Cleanup(func() { maxGathered = before })
	maxGathered = n
}

// SetMaxExamined makes a page of a walk as small as n keys until the test ends.
func SetMaxExamined(t *testing.T, n int) {
	before := maxExamined
	t.Cleanup(func() { maxExamined = before })
	maxExamined = n
}

// SetFlushRows makes the transactions of a flush as small as n rows until the test ends.
func SetFlushRows(t *testing.T, n int) {
	before := flushRows
	t.Cleanup(func() { flushRows = before })
	flushRows = n
}

// SetUsageKept lets the counts of hours go sooner until the test ends.
func SetUsageKept(t *testing.T, d time.Duration) {
	before := usageKept
	t.Cleanup(func() { usageKept = before })
	usageKept = d
}

// HourRows is how many rows of hours the usage table has.
func (s *Store) HourRows() (n int, err error) {
	err = s.view(s.usage(), func(r rows) error {
		return r.each([]byte{rowHour}, func(_, _ []byte) error { n++; return nil })
	})
	return n, err
}

// CutOffFlush reads all uses and leaves s as a crash after some transactions of their flush
// would. over: the flush took no more.
func (s *Store) CutOffFlush(ctx context.Context, l *eventstore.Ledger, transactions int) (over bool, err error) {
	g := s.groups[eventstore.Uses]
	if err := g.prepare(ctx, l); err != nil {
		return false, err
	}
	r := g.runners[0]
	err = l.Read(ctx, eventstore.Query{Reach: domain.All, Stream: eventstore.Uses, After: r.checkpoint.Position}, func(b eventstore.Batch) error {
		return r.buffer.add(b.Records, b.Checkpoint)
	})
	r.buffer.close()
	for n := 0; err == nil && !over && n < transactions; n++ {
		_, err = g.flushSome(r, &over)
	}
	return over, err
}

// Cached tells whether d is found without Badger.
func (s *Store) Cached(d domain.Digest) bool {
	_, found := s.groups[eventstore.Events].cache.find(&d)
	return found
}

// Warm fills the cache as the start does.
func (s *Store) Warm(ctx context.Context, l *eventstore.Ledger) { s.warm(ctx, l) }

// Apply applies records as if they had been read, up to checkpoint.
func (s *Store) Apply(records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	g := s.groups[eventstore.Events]
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.apply(g.runners, records, checkpoint); err != nil {
		return err
	}
	g.publish()
	return nil
}

// Rebuild starts a rebuild and waits until it has ended.
func (s *Store) Rebuild(ctx context.Context, name string) (RebuildStatus, error) {
	if err := s.StartRebuild(name); err != nil {
		return RebuildStatus{}, err
	}
	s.rebuilds.mu.Lock()
	r := s.rebuilds.latest[name]
	s.rebuilds.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	return *s.rebuilds.status(name), ctx.Err()
}

// RaiseVersion makes the program one whose rows of a projection are others, until the test
// ends.
func RaiseVersion(t *testing.T, name string) {
	at := slices.IndexFunc(projections, func(p projection) bool { return p.name == name })
	projections[at].version++
	t.Cleanup(func() { projections[at].version-- })
}

// SetBufferedUses makes the usage buffer as small as n uses until the test ends.
func SetBufferedUses(t *testing.T, n int) {
	before := maxBufferedUses
	t.Cleanup(func() { maxBufferedUses = before })
	maxBufferedUses = n
}

// BeginRebuild does the first part of a rebuild, up to the first flush if it is of uses, and
// leaves the rest undone as the end of the process would.
func (s *Store) BeginRebuild(ctx context.Context, name string) error {
	old := s.runner(name)
	g := s.groups[old.stream]
	fresh := newRunner(old.projection)
	fresh.table, fresh.building = g.spareTable(), true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := g.replay(ctx, fresh, func(eventstore.Position, eventstore.Position) {
		if fresh.checkpoint.Position > 0 {
			cancel()
		}
	})
	if rows, _ := s.TableRows(); rows[tableName(g, fresh.table)] == 0 {
		return errors.New("nothing was built")
	}
	if !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// TableRows is how many rows each table of both streams has, in use or not.
func (s *Store) TableRows() (map[string]int, error) {
	all := map[string]int{}
	for _, g := range s.groups {
		err := g.db.View(func(tx *badger.Txn) error {
			it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte{tableKeys}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				all[tableName(g, binary.BigEndian.Uint16(it.Item().Key()[1:]))]++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func tableName(g *group, table uint16) string { return fmt.Sprint(g.stream, table) }

// EditCatalog changes what the catalog says of a projection.
func (s *Store) EditCatalog(name string, edit func(entry map[string]json.RawMessage)) error {
	g := s.groups[s.runner(name).stream]
	return g.db.Update(func(tx *badger.Txn) error {
		item, err := tx.Get(catalogKey(name))
		if err != nil {
			return err
		}
		entry := map[string]json.RawMessage{}
		if err := item.Value(func(v []byte) error { return json.Unmarshal(v, &entry) }); err != nil {
			return err
		}
		edit(entry)
		value, err := json.Marshal(entry)
		if err != nil {
			return err
		}
		return tx.Set(catalogKey(name), value)
	})
}
