package projections

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	flags "flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// SetMaxSortedHistory bounds what a listing of a past moment sorts until the test ends.
func SetMaxSortedHistory(t *testing.T, n int) {
	before := maxSortedHistory
	t.Cleanup(func() { maxSortedHistory = before })
	maxSortedHistory = n
}

// SetMaxSpillMemory makes a load keep n bytes of former rows, and of each table's, in memory until the
// test ends.
func SetMaxSpillMemory(t *testing.T, n int) {
	spilled, loaded := maxSpillMemory, maxLoadedMemory
	t.Cleanup(func() { maxSpillMemory, maxLoadedMemory = spilled, loaded })
	maxSpillMemory, maxLoadedMemory = n, n
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
	err = s.usage.read(func(r rows) error {
		return r.each([]byte{rowHour}, func(_, _ []byte) error { n++; return nil })
	})
	return n, err
}

// CutOffFlush reads all uses and leaves s as a crash after some transactions of their flush
// would. over: the flush took no more.
func (s *Store) CutOffFlush(ctx context.Context, l *eventstore.Ledger, transactions int) (over bool, err error) {
	e := s.engines[eventstore.Uses]
	if err := e.matchLedger(ctx, l); err != nil {
		return false, err
	}
	u := e.tables[0].(*usageTable)
	err = l.Read(ctx, eventstore.Query{Stream: eventstore.Uses, Reach: domain.All, After: u.checkpoint.Position}, func(b eventstore.Batch) error {
		return u.buffer.add(b.Records, b.Checkpoint)
	})
	u.buffer.close()
	for n := 0; err == nil && !over && n < transactions; n++ {
		_, over, err = u.flushSome()
	}
	return over, err
}

// DuringAQuery calls f between two counts of the keys' rows that one query makes.
func (s *Store) DuringAQuery(f func()) (before, after int, err error) {
	err = s.keys.read(func(r rows) error {
		count := func(n *int) error {
			return r.each([]byte{rowKey}, func(_, _ []byte) error { *n++; return nil })
		}
		if err := count(&before); err != nil {
			return err
		}
		f()
		return count(&after)
	})
	return before, after, err
}

// Cached tells whether d is found without Badger.
func (s *Store) Cached(d domain.Digest) bool {
	_, found := s.credentials.find(&d)
	return found
}

// Warm fills the cache as the start does.
func (s *Store) Warm(ctx context.Context, l *eventstore.Ledger) { s.warm(ctx, l) }

// Apply applies records as if they had been read, up to checkpoint.
func (s *Store) Apply(records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	return s.engines[eventstore.Events].handle(context.Background(), eventstore.Batch{Records: records, Checkpoint: checkpoint})
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
	v := s.find(name)
	fresh := v.engine.beginBuilding(v.slot)
	defer v.engine.endBuilding()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := v.engine.replay(ctx, []table{fresh}, func(eventstore.Position, eventstore.Position) {
		if fresh.state().checkpoint.Position > 0 {
			cancel()
		}
	})
	if rows, _ := s.TableRows(); rows[tableName(v.engine, fresh.state().number)] == 0 {
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
	for _, e := range s.engines {
		err := e.db.View(func(tx *badger.Txn) error {
			it := tx.NewIterator(badger.IteratorOptions{Prefix: []byte{tableKeys}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				all[tableName(e, binary.BigEndian.Uint16(it.Item().Key()[1:]))]++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func tableName(e *engine, table uint16) string { return fmt.Sprint(e.stream, table) }

// EditCatalog changes what the catalog says of a projection.
func (s *Store) EditCatalog(name string, edit func(entry map[string]json.RawMessage)) error {
	return s.find(name).engine.db.Update(func(tx *badger.Txn) error {
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

// SetMinLoaded makes tables be loaded from n messages on, until the test ends.
func SetMinLoaded(t *testing.T, n eventstore.Position) {
	before := minLoaded
	t.Cleanup(func() { minLoaded = before })
	minLoaded = n
}

// A LoadStep is how far a load comes before the end of the process.
type LoadStep int

// The steps of a load.
const (
	LoadRead  LoadStep = iota // a part of the new Badger is written
	LoadBuilt                 // it counts from the next start on
)

// BeginLoad does a load up to a step, and leaves the rest undone as a crash would.
func (s *Store) BeginLoad(ctx context.Context, name string, step LoadStep) error {
	v := s.find(name)
	l := v.engine.newLoad([]int{v.slot})
	if err := l.read(ctx, func(eventstore.Position, eventstore.Position) {}); err != nil {
		return err
	}
	if step == LoadRead {
		dir, err := v.engine.db.buildingDir()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "000001.sst"), []byte("a part"), 0o600)
	}
	next, err := l.build()
	if err != nil {
		return err
	}
	return next.Close()
}

// LoseCopies damages every copy of a message, as a power cut may.
func (s *Store) LoseCopies() error {
	e := s.engines[eventstore.Uses]
	e.write.Lock()
	defer e.write.Unlock()
	t := e.tables[s.messages.slot].state()
	err := e.db.Update(func(tx *badger.Txn) error {
		for p := eventstore.Position(1); p <= t.checkpoint.Position; p++ {
			damage := t.rows(tx).delete
			if p%2 == 0 {
				damage = func(row []byte) error { return t.rows(tx).set(row, []byte{1}) }
			}
			if err := damage(messageRow(p)); err != nil {
				return err
			}
		}
		return nil
	})
	before := e.published.Load()
	e.published.Store(newSnapshot(e.db, before.number+1, before.tables, false))
	before.release()
	return err
}

// WriteRows writes rows as files of a new Badger in dir, and reads them.
func WriteRows(dir string, rows [][2][]byte) (files int, read [][2][]byte, err error) {
	o := badgerOptions(dir, eventstore.Events, slog.New(slog.DiscardHandler))
	w, err := newRowWriter(o)
	if err != nil {
		return 0, nil, err
	}
	for i := range rows {
		err = errors.Join(err, w.set(rows[i][0], rows[i][1]))
	}
	if err := w.close(err); err != nil {
		return 0, nil, err
	}
	db, err := badger.Open(o)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = db.Close() }()
	return len(db.Tables()), read, db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			read = append(read, [2][]byte{it.Item().KeyCopy(nil), value})
		}
		return nil
	})
}

// Fewer makes rapid.Check try n histories, each of which takes seconds, unless the command line says
// how many.
func Fewer(t *testing.T, n int) {
	checks := flags.Lookup("rapid.checks").Value
	before := checks.String()
	if before != flags.Lookup("rapid.checks").DefValue {
		return
	}
	_ = checks.Set(strconv.Itoa(n)) // a number
	t.Cleanup(func() { _ = checks.Set(before) })
}

// KeepMonths keeps the meters of months if it is time.
func (s *Store) KeepMonths(ctx context.Context, l *eventstore.Ledger) error {
	return s.keepMonthsOnce(ctx, l)
}

// CutOffTaking leaves a table in dir that has taken a part of the kept meters over.
func CutOffTaking(ctx context.Context, dir string, l *eventstore.Ledger) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	head, err := loadKeptHead(ctx, l)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	parts, err := loadKeptParts(ctx, l, &head)
	if err == nil {
		t := s.usage.engine.tables[s.usage.slot].(*usageTable)
		err = t.db.Update(func(tx *badger.Txn) error { return setMeters(t.rows(tx), parts[0]) })
	}
	return errors.Join(err, s.Close())
}
