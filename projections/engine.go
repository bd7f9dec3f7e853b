package projections

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
	"github.com/keytrail/keytrail/internal/backoff"
)

// An engine keeps the tables of one stream's projections up to date: one reader feeds them,
// what one batch means for all of them is one transaction, and what was committed is
// published at once for all readers.
//
// write is its one lock. It is held while tables take in records, are flushed or are
// replaced, and so for as long as a flush takes. Queries and waiters never take it: all they
// need is in the published snapshot. The lock of the store's rebuilds and those of the
// credential cache's shards are taken inside it, never around it.
type engine struct {
	store       *Store
	stream      eventstore.Stream
	projections []projection
	published   atomic.Pointer[snapshot]
	gone        atomic.Uint64 // the ledger has no messages up to it

	loading  sync.Mutex     // held during a load, outside of write
	removing sync.WaitGroup // databases that are not in use any more

	write    sync.Mutex // guards these four and what is in the tables
	db       *database
	tables   []table // those that count, in the order of projections
	building table   // of the rebuild under way; nil: there is none
	halted   bool

	unflushed  chan struct{} // readable: something is buffered
	flushAsked chan struct{} // readable: a request waits for it
	waiting    atomic.Int64  // how many requests wait for a position
}

// openEngine opens the tables of one stream. Nothing of them is published before they have
// been compared with the ledger.
func openEngine(s *Store, dir string, stream eventstore.Stream) (*engine, error) {
	dir = filepath.Join(dir, stream.String())
	db, err := openDatabase(dir, stream, s.log)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(slices.Clone(projections), func(p projection) bool { return p.stream != stream })
	e := &engine{store: s, stream: stream, projections: ours, db: db, unflushed: make(chan struct{}, 1), flushAsked: make(chan struct{}, 1)}
	err = e.loadCatalog()
	e.published.Store(newSnapshot(db, 0, make([]publishedTable, len(ours)), false))
	if err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *engine) close() error {
	e.published.Load().release()
	e.removing.Wait()
	return e.db.Close()
}

// run follows the stream until ctx ends, and builds rows again when the ledger turns out to
// be another one.
func (e *engine) run(ctx context.Context, l *eventstore.Ledger) {
	for {
		err := e.skipGone(ctx, l)
		if err == nil {
			err = e.loadBehind(ctx, l)
		}
		if err == nil {
			err = l.Follow(ctx, e.stream, e.oldest(), batchSize(e.stream), func(b eventstore.Batch) error { return e.handle(ctx, b) })
		}
		if errors.Is(err, domain.ErrLedgerMismatch) {
			err = e.matchLedger(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, domain.ErrLedgerUnavailable) && backoff.Sleep(ctx, time.Second) == nil {
			continue // Follow finds the mismatch again
		}
		if err != nil {
			e.halt(ctx, err)
			return
		}
	}
}

// batchSize is how many messages of a stream are read at once, 0: as many as usual. A message
// of uses holds some three hundred.
func batchSize(s eventstore.Stream) int {
	if s == eventstore.Uses {
		return 40
	}
	return 0
}

// skipGone moves on to the first message that the ledger still holds: nothing else would, if
// there is none left. What is kept of those that are gone is taken over before.
func (e *engine) skipGone(ctx context.Context, l *eventstore.Ledger) error {
	for _, t := range e.tablesNow() {
		if err := e.takeKeptMonths(ctx, l, t); err != nil {
			return err
		}
	}
	gone, err := l.Gone(ctx, e.stream)
	if err != nil {
		return err
	}
	e.gone.Store(uint64(gone.Position))
	e.write.Lock()
	defer e.write.Unlock()
	for _, t := range e.tables {
		t.skip(gone)
	}
	e.publish()
	return nil
}

func (e *engine) tablesNow() []table {
	e.write.Lock()
	defer e.write.Unlock()
	return slices.Clone(e.tables)
}

// oldest is where the projection that is behind the others goes on.
func (e *engine) oldest() eventstore.Checkpoint {
	e.write.Lock()
	defer e.write.Unlock()
	return leastReached(e.tables)
}

func leastReached(tables []table) eventstore.Checkpoint {
	return slices.MinFunc(tables, func(t, u table) int { return cmp.Compare(t.reached().Position, u.reached().Position) }).reached()
}

// handle applies a batch to all tables and publishes what they wrote.
func (e *engine) handle(ctx context.Context, b eventstore.Batch) error {
	err := e.retry(ctx, func() error {
		e.write.Lock()
		defer e.write.Unlock()
		if err := e.apply(e.tables, b); err != nil {
			return err
		}
		if e.behind() {
			signal(e.unflushed)
		}
		e.publish()
		return nil
	})
	if b.Pending == 0 && e.waiting.Load() > 0 {
		signal(e.flushAsked)
	}
	return err
}

// apply writes what b means for each table, and the new checkpoints, in one transaction, or in
// several, each whole, if one cannot hold it all.
func (e *engine) apply(tables []table, b eventstore.Batch) error {
	err := tables[0].state().db.Update(func(tx *badger.Txn) error {
		for _, t := range tables {
			if err := t.apply(tx, b); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, badger.ErrTxnTooBig) && len(b.Messages) > 1 {
		first, second := b.Halves()
		if err := e.apply(tables, first); err != nil {
			return err
		}
		return e.apply(tables, second)
	}
	if err != nil {
		return err
	}
	for _, t := range tables {
		t.committed(b.Checkpoint)
	}
	return nil
}

// behind reports whether the rows of a table lack what it has taken in. write is held.
func (e *engine) behind() bool {
	return slices.ContainsFunc(e.tables, func(t table) bool { return t.reached().Position > t.state().checkpoint.Position })
}

// publish puts a new snapshot into the place of the published one, if anything has changed:
// rows, table numbers and positions change at the same moment, and then waiters are woken.
// write is held.
func (e *engine) publish() {
	before := e.published.Load()
	tables := make([]publishedTable, len(e.tables))
	for i, t := range e.tables {
		tables[i] = publishedTable{t.state().number, t.state().checkpoint.Position, t.state().unflushed}
	}
	if slices.Equal(tables, before.tables) && e.halted == before.halted {
		return
	}
	next := newSnapshot(e.db, before.number+1, tables, e.halted)
	for _, t := range e.tables {
		t.publishing(next.number)
	}
	e.published.Store(next)
	close(before.superseded)
	before.release()
}

// retry calls f again for a while if it fails: a full disk may be emptied.
func (e *engine) retry(ctx context.Context, f func() error) error {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := f()
		if err == nil || errors.Is(err, errUnappliable) || wait > 5*time.Second {
			return err
		}
		e.store.log.WarnContext(ctx, "projection will try again", "stream", e.stream.String(), "err", err)
		if err := backoff.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// halt stops the engine for good: a projection never skips what it cannot apply.
func (e *engine) halt(ctx context.Context, err error) {
	e.store.log.ErrorContext(ctx, "projections halted", "stream", e.stream.String(), "position", e.published.Load().position, "err", err)
	e.write.Lock()
	defer e.write.Unlock()
	e.halted = true
	e.publish()
}

// minFlushInterval is the shortest pause between two flushes: 1 ms a record, at most 1 s, so
// that a lone use shows up at once and a busy service flushes seldom.
func minFlushInterval(records int) time.Duration {
	return min(time.Duration(records)*time.Millisecond, time.Second)
}

// flushShare is how many times longer than the last flush took the pause after it is, so
// that following the uses leaves the processor to verification.
const flushShare = 20

// keepFlushing flushes again and again until ctx ends: soon if that takes little time or
// a request waits for it, else seldom.
func (e *engine) keepFlushing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.unflushed:
		}
		begun, records := time.Now(), e.buffered()
		if err := e.retry(ctx, e.flush); err != nil {
			if ctx.Err() == nil {
				e.halt(ctx, err)
			}
			return
		}
		timer := time.NewTimer(min(max(flushShare*time.Since(begun), minFlushInterval(records)), time.Minute))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-e.flushAsked:
		}
		timer.Stop()
	}
}

func (e *engine) buffered() (records int) {
	e.write.Lock()
	defer e.write.Unlock()
	for _, t := range e.tables {
		records = max(records, t.buffered())
	}
	return records
}

// flush flushes what there is, and publishes it. Nothing is taken in meanwhile.
func (e *engine) flush() error {
	e.write.Lock()
	defer e.write.Unlock()
	for _, t := range e.tables {
		if err := t.flush(); err != nil {
			return err
		}
	}
	e.publish()
	return nil
}

// signal makes c readable, if it is not.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
