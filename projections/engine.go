package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A runner is a projection and how far it is. table and checkpoint change under its group's lock.
type runner struct {
	projection
	table      uint16
	checkpoint eventstore.Checkpoint
	live       atomic.Uint32 // table, for readers that hold no lock

	buffer *usageBuffer // what is read and not yet in the table; nil: the projection keeps none
	flush  *flush       // one that is not over: how far it has come

	// building: the rows do not count yet. The catalog still names the old table, so that a
	// crash finds that one and drops this.
	building bool
}

func newRunner(p projection) *runner {
	r := &runner{projection: p}
	if p.apply == nil {
		r.buffer = newUsageBuffer()
	}
	return r
}

func (r *runner) currentTable() uint16 { return uint16(r.live.Load()) }

// A group is the projections of one stream: they are fed by one reader, and what one
// batch means for all of them is one transaction.
type group struct {
	store    *Store
	stream   eventstore.Stream
	db       *badger.DB
	runners  []*runner
	snapshot snapshot
	cache    *cache
	changed  []domain.Digest // to be taken out of the cache

	mu       sync.Mutex
	halted   error
	position atomic.Uint64 // the least of the runners'
	moved    chan struct{} // closed, and replaced, when position moves or the group halts

	feed     sync.Mutex    // held while the usage buffer changes; taken before mu
	buffered chan struct{} // readable: there is something to flush
	hurry    chan struct{} // readable: a request waits for it
	awaited  atomic.Int64  // how many wait for a position
}

func newGroup(s *Store, stream eventstore.Stream, db *badger.DB, c *cache) *group {
	g := &group{store: s, stream: stream, db: db, cache: c, moved: make(chan struct{}),
		buffered: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
	g.snapshot.renew(db, func() {})
	return g
}

func (g *group) close() error {
	g.snapshot.release()
	return g.db.Close()
}

// atOnce is how many messages of a stream are read at once, 0: as many as usual. A message
// of uses holds some three hundred.
func atOnce(s eventstore.Stream) int {
	if s == eventstore.Uses {
		return 40
	}
	return 0
}

// run follows the stream until ctx ends, and builds the rows again when the ledger turns out
// to be another one.
func (g *group) run(ctx context.Context, l *eventstore.Ledger) {
	for {
		err := g.skipGone(ctx, l)
		if err == nil {
			err = l.Follow(ctx, g.stream, g.oldest(), atOnce(g.stream), func(b eventstore.Batch) error { return g.take(ctx, b) })
		}
		if errors.Is(err, domain.ErrLedgerMismatch) {
			err = g.prepare(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, domain.ErrLedgerUnavailable) && rest(ctx, time.Second) == nil {
			continue // Follow finds the mismatch again
		}
		if err != nil {
			g.halt(ctx, err)
			return
		}
	}
}

// skipGone moves on to the first use that the ledger still holds: nothing else would, if
// there is none left.
func (g *group) skipGone(ctx context.Context, l *eventstore.Ledger) error {
	if g.stream != eventstore.Uses {
		return nil
	}
	gone, err := l.Gone(ctx, g.stream)
	if err != nil {
		return err
	}
	g.feed.Lock()
	defer g.feed.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.runners {
		r.skip(gone)
	}
	g.publish()
	return nil
}

// skip makes r stand for all up to gone, unless there is something to flush before.
func (r *runner) skip(gone eventstore.Checkpoint) {
	if r.flush != nil && gone.Position < r.flush.Checkpoint.Position || r.buffer.uses > 0 || gone.Position <= r.checkpoint.Position {
		return
	}
	r.begin(gone, r.buffer.clock)
}

// oldest is the checkpoint of the projection that is behind the others.
func (g *group) oldest() eventstore.Checkpoint {
	g.feed.Lock()
	defer g.feed.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.runners[0].seen()
	for _, r := range g.runners[1:] {
		if m := r.seen(); m.Position < oldest.Position {
			oldest = m
		}
	}
	return oldest
}

func (g *group) halt(ctx context.Context, err error) {
	g.store.log.ErrorContext(ctx, "projections halted", "stream", g.stream.String(), "position", g.position.Load(), "err", err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.halted = err
	g.publish()
}

// take applies a batch, or adds it to the usage buffer.
func (g *group) take(ctx context.Context, b eventstore.Batch) error {
	if g.runners[0].projection.apply == nil {
		return g.bufferUses(ctx, b)
	}
	return g.persist(ctx, func() error { return g.applyLocked(b.Records, b.Checkpoint) })
}

// persist tries for a while if f fails: a full disk may be emptied.
func (g *group) persist(ctx context.Context, f func() error) error {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := f()
		if err == nil || errors.Is(err, errUnappliable) || wait > 5*time.Second {
			return err
		}
		g.store.log.WarnContext(ctx, "projection will try again", "stream", g.stream.String(), "err", err)
		if err := rest(ctx, wait); err != nil {
			return err
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (g *group) applyLocked(records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.apply(g.runners, records, checkpoint); err != nil {
		return err
	}
	g.publish()
	return nil
}

// publish tells those who wait how far the group is. The caller holds mu. Whoever is told
// finds the rows in the snapshot.
func (g *group) publish() {
	g.snapshot.renew(g.db, g.turn)
	least := g.runners[0].checkpoint.Position
	for _, r := range g.runners {
		least = min(least, r.checkpoint.Position)
	}
	g.position.Store(uint64(least))
	close(g.moved)
	g.moved = make(chan struct{})
}

// turn is what changes for readers at the very moment when the snapshot does.
func (g *group) turn() {
	g.cache.forget(g.changed)
	g.changed = g.changed[:0]
	for _, r := range g.runners {
		if r.live.Swap(uint32(r.table)) != uint32(r.table) {
			g.cache.forgetAll()
		}
	}
}

// apply writes what records mean for each runner, and their new checkpoints, in one transaction,
// or in several, each whole, if one cannot hold it all.
func (g *group) apply(runners []*runner, records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	err := g.db.Update(func(tx *badger.Txn) error {
		for _, r := range runners {
			if err := g.applyIn(tx, r, records, checkpoint); err != nil {
				return fmt.Errorf("projection %s: %w", r.name, err)
			}
		}
		return nil
	})
	if errors.Is(err, badger.ErrTxnTooBig) && len(records) > 1 {
		return g.applyHalves(runners, records, checkpoint)
	}
	if err != nil {
		return err
	}
	for _, r := range runners {
		if checkpoint.Position > r.checkpoint.Position {
			r.checkpoint = checkpoint
		}
	}
	return nil
}

// applyHalves cuts between two messages, so that a checkpoint never points into one. The first
// half's checkpoint has no hash: it stands only until the second half is written.
func (g *group) applyHalves(runners []*runner, records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	cut := len(records) / 2
	for cut < len(records) && records[cut].Position == records[cut-1].Position {
		cut++
	}
	if cut == len(records) {
		for cut = len(records) / 2; cut > 0 && records[cut].Position == records[cut-1].Position; cut-- {
		}
	}
	if cut == 0 {
		return fmt.Errorf("position %d: %w", checkpoint.Position, badger.ErrTxnTooBig)
	}
	first, err := g.store.ledger.Load().CheckpointAt(context.Background(), records[0].Stream, records[cut-1].Position)
	if err != nil {
		return err
	}
	if err := g.apply(runners, records[:cut], first); err != nil {
		return err
	}
	return g.apply(runners, records[cut:], checkpoint)
}

func (g *group) applyIn(tx *badger.Txn, r *runner, records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	for len(records) > 0 && records[0].Position <= r.checkpoint.Position {
		records = records[1:]
	}
	if checkpoint.Position <= r.checkpoint.Position {
		return nil
	}
	if r.building {
		return r.apply(rows{tx: tx, table: r.table}, records)
	}
	if err := r.apply(rows{tx, r.table, &g.changed}, records); err != nil {
		return err
	}
	return r.catalogue(tx, checkpoint, nil)
}

// seen is how far r has read; its table may be behind.
func (r *runner) seen() eventstore.Checkpoint {
	if r.buffer != nil && r.buffer.checkpoint.Position > r.checkpoint.Position {
		return r.buffer.checkpoint
	}
	return r.checkpoint
}

// begin makes checkpoint what r's table stands for, with nothing buffered beyond. clock is that
// of the uses up to checkpoint.
func (r *runner) begin(checkpoint eventstore.Checkpoint, clock usageClock) {
	r.checkpoint, r.flush = checkpoint, nil
	if r.buffer != nil {
		r.buffer.reset(checkpoint, clock)
	}
}
