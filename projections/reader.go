package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A runner is a projection and how far it is. table and mark change under its group's lock.
type runner struct {
	projection
	table uint16
	mark  eventstore.Mark
	live  atomic.Uint32 // table, for readers that hold no lock

	// building: the rows do not count yet. The catalog still names the old table, so that a
	// crash finds that one and drops this.
	building bool
}

func (r *runner) currentTable() uint16 { return uint16(r.live.Load()) }

// A group is the projections of one stream: they are fed by one reader, and what one
// batch means for all of them is one transaction.
type group struct {
	store   *Store
	stream  eventstore.Stream
	runners []*runner

	mu       sync.Mutex
	halted   error
	caughtUp bool
	position atomic.Uint64 // the least of the runners'
	moved    chan struct{} // closed, and replaced, when position moves or the group halts
}

func newGroup(s *Store, stream eventstore.Stream) *group {
	return &group{store: s, stream: stream, moved: make(chan struct{})}
}

func (g *group) add(r *runner) { g.runners = append(g.runners, r) }

// Run keeps every projection up to date until ctx ends. A projection that cannot apply an
// event stops, which Status and WaitFor tell, and never skips it.
func (s *Store) Run(ctx context.Context, l *eventstore.Ledger) error {
	tasks, ctx := errgroup.WithContext(ctx)
	for _, g := range s.groups {
		if err := g.prepare(ctx, l); err != nil {
			return err
		}
	}
	s.ledger.Store(l)
	for _, g := range s.groups {
		tasks.Go(func() error { g.run(ctx, l); return nil })
	}
	return tasks.Wait()
}

// prepare compares each mark with the ledger. Where they differ, the ledger is not the one
// that the rows came from, or lost its end with the power: the rows are built again.
func (g *group) prepare(ctx context.Context, l *eventstore.Ledger) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.runners {
		r.live.Store(uint32(r.table))
		same, err := g.matches(ctx, l, r.mark)
		if err != nil {
			return err
		}
		if same {
			continue
		}
		g.store.log.ErrorContext(ctx, "the read model does not match the ledger and is rebuilt; if the ledger was not replaced on purpose, it lost events",
			"projection", r.name, "position", r.mark.Position)
		if err := g.store.dropTable(r.table); err != nil {
			return err
		}
		r.mark = eventstore.Mark{}
	}
	g.publish()
	return nil
}

func (g *group) matches(ctx context.Context, l *eventstore.Ledger, have eventstore.Mark) (bool, error) {
	if have.Position == 0 {
		return true, nil
	}
	now, err := l.Mark(ctx, g.stream, have.Position)
	if errors.Is(err, eventstore.ErrNoSuchPosition) && g.stream == eventstore.Uses {
		// Uses age out: the position may be gone though the stream went on.
		end, err := l.End(ctx, g.stream)
		return err == nil && end >= have.Position && now.Created.Equal(have.Created), err
	}
	if errors.Is(err, eventstore.ErrNoSuchPosition) {
		return false, nil
	}
	return err == nil && now.Hash == have.Hash && now.Created.Equal(have.Created), err
}

// usesAtOnce bounds a transaction: a message of uses holds some three hundred.
const usesAtOnce = 40

func (g *group) run(ctx context.Context, l *eventstore.Ledger) {
	q := eventstore.Query{Stream: g.stream, After: eventstore.Position(g.position.Load()), Live: true}
	if g.stream == eventstore.Uses {
		q.Max = usesAtOnce
	}
	err := l.Read(ctx, q, func(b eventstore.Batch) error { return g.take(ctx, b) })
	if ctx.Err() != nil {
		return
	}
	g.store.log.ErrorContext(ctx, "projections halted", "stream", g.stream.String(), "position", g.position.Load(), "err", err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.halted = err
	g.publish()
}

// take applies a batch, trying again for a while if it fails: a full disk may be emptied.
func (g *group) take(ctx context.Context, b eventstore.Batch) error {
	begun := time.Now()
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		err := g.applyLocked(b.Records, b.Mark)
		if err == nil {
			break
		}
		if wait > 5*time.Second {
			return err
		}
		g.store.log.WarnContext(ctx, "projection will try again", "stream", g.stream.String(), "err", err)
		if err := rest(ctx, wait); err != nil {
			return err
		}
	}
	if b.Pending == 0 {
		g.caughtUp = true
	}
	if g.stream == eventstore.Uses && g.caughtUp && b.Pending > 0 {
		// Under more load than it can follow at once, counting uses must not take the
		// processor from verifying keys: it works a quarter of the time and catches up later.
		return rest(ctx, min(3*time.Since(begun), time.Second))
	}
	return nil
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

func (g *group) applyLocked(records []eventstore.Record, mark eventstore.Mark) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.store.apply(g.runners, records, mark); err != nil {
		return err
	}
	g.publish()
	return nil
}

// publish tells those who wait how far the group is. The caller holds mu.
func (g *group) publish() {
	least := g.runners[0].mark.Position
	for _, r := range g.runners {
		least = min(least, r.mark.Position)
	}
	g.position.Store(uint64(least))
	close(g.moved)
	g.moved = make(chan struct{})
}

// apply writes what records mean for each runner, and their new marks, in one transaction,
// or in several, each whole, if one cannot hold it all.
func (s *Store) apply(runners []*runner, records []eventstore.Record, mark eventstore.Mark) error {
	err := s.db.Update(func(tx *badger.Txn) error {
		for _, r := range runners {
			if err := r.applyIn(tx, records, mark); err != nil {
				return fmt.Errorf("projection %s: %w", r.name, err)
			}
		}
		return nil
	})
	if errors.Is(err, badger.ErrTxnTooBig) && len(records) > 1 {
		return s.applyHalves(runners, records, mark)
	}
	if err != nil {
		return err
	}
	for _, r := range runners {
		if mark.Position > r.mark.Position {
			r.mark = mark
		}
	}
	return nil
}

// applyHalves cuts between two messages, so that a mark never points into one. The first
// half's mark has no hash: it stands only until the second half is written.
func (s *Store) applyHalves(runners []*runner, records []eventstore.Record, mark eventstore.Mark) error {
	cut := len(records) / 2
	for cut < len(records) && records[cut].Position == records[cut-1].Position {
		cut++
	}
	if cut == len(records) {
		for cut = len(records) / 2; cut > 0 && records[cut].Position == records[cut-1].Position; cut-- {
		}
	}
	if cut == 0 {
		return fmt.Errorf("position %d: %w", mark.Position, badger.ErrTxnTooBig)
	}
	first, err := s.ledger.Load().Mark(context.Background(), records[0].Stream, records[cut-1].Position)
	if err != nil {
		return err
	}
	if err := s.apply(runners, records[:cut], first); err != nil {
		return err
	}
	return s.apply(runners, records[cut:], mark)
}

func (r *runner) applyIn(tx *badger.Txn, records []eventstore.Record, mark eventstore.Mark) error {
	for len(records) > 0 && records[0].Position <= r.mark.Position {
		records = records[1:]
	}
	if mark.Position <= r.mark.Position {
		return nil
	}
	if err := r.apply(rows{tx, r.table}, records); err != nil {
		return err
	}
	if r.building {
		return nil
	}
	return r.catalogue(tx, mark)
}

// catalogue makes r's table the one that counts.
func (r *runner) catalogue(tx *badger.Txn, mark eventstore.Mark) error {
	value, err := json.Marshal(entry{Version: r.version, Table: r.table, Mark: mark})
	if err != nil {
		return err
	}
	return tx.Set(catalogKey(r.name), value)
}

// Position is how far the ledger's events are applied.
func (s *Store) Position() eventstore.Position {
	return eventstore.Position(s.groups[eventstore.Events].position.Load())
}

// ErrBehind says that the read model did not get as far as was asked in time.
var ErrBehind = &domain.Error{Kind: domain.Unavailable, Code: "read_model_behind",
	Text: "the read model has not reached that position yet; a write that was acknowledged stands; ask again in a moment"}

// WaitFor returns when the events up to p are applied, or with ErrBehind when ctx ends.
func (s *Store) WaitFor(ctx context.Context, p eventstore.Position) error {
	return s.groups[eventstore.Events].waitFor(ctx, p)
}

// WaitForUses returns when the uses up to p are applied, or with ErrBehind when ctx ends.
func (s *Store) WaitForUses(ctx context.Context, p eventstore.Position) error {
	return s.groups[eventstore.Uses].waitFor(ctx, p)
}

func (g *group) waitFor(ctx context.Context, p eventstore.Position) error {
	for {
		if eventstore.Position(g.position.Load()) >= p {
			return nil
		}
		g.mu.Lock()
		moved, halted := g.moved, g.halted
		g.mu.Unlock()
		if eventstore.Position(g.position.Load()) >= p {
			return nil
		}
		if halted != nil {
			return ErrBehind
		}
		select {
		case <-ctx.Done():
			return ErrBehind
		case <-moved:
		}
	}
}

// ErrNoSuchProjection says that there is no projection of that name.
var ErrNoSuchProjection = &domain.Error{Kind: domain.NotFound, Code: "projection_not_found", Text: "the projections are keys, organizations and usage"}

// Rebuild fills a new table from the ledger's beginning beside the old one, which goes on
// answering, and switches when the new one has caught up.
func (s *Store) Rebuild(ctx context.Context, name string) error {
	old := s.runner(name)
	if old == nil {
		return ErrNoSuchProjection
	}
	if !s.rebuilding.TryLock() {
		return &domain.Error{Kind: domain.Conflict, Code: "rebuild_running", Text: "a rebuild is running; wait until it ends"}
	}
	defer s.rebuilding.Unlock()
	g := s.groups[old.stream]
	fresh := &runner{projection: old.projection, table: s.spareTable(), building: true}
	if err := s.replay(ctx, fresh); err != nil {
		return err
	}
	before, err := s.replace(ctx, g, old, fresh)
	if err != nil {
		return err
	}
	return s.dropTable(before)
}

// replace lets fresh read what it still lacks while its group stands still, then puts its
// table into the place of old's.
func (s *Store) replace(ctx context.Context, g *group, old, fresh *runner) (before uint16, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for fresh.mark.Position < old.mark.Position {
		if err := s.replay(ctx, fresh); err != nil {
			return 0, err
		}
	}
	if err := s.db.Update(func(tx *badger.Txn) error { return fresh.catalogue(tx, fresh.mark) }); err != nil {
		return 0, err
	}
	before = old.table
	old.table, old.mark = fresh.table, fresh.mark
	old.live.Store(uint32(fresh.table))
	g.publish()
	return before, nil
}

// replay reads on from where r is to the ledger's end.
func (s *Store) replay(ctx context.Context, r *runner) error {
	return s.ledger.Load().Read(ctx, eventstore.Query{Stream: r.stream, After: r.mark.Position, Max: usesAtOnce}, func(b eventstore.Batch) error {
		return s.apply([]*runner{r}, b.Records, b.Mark)
	})
}

// spareTable is a table number that no projection uses.
func (s *Store) spareTable() uint16 {
	used := map[uint16]bool{0: true}
	for _, g := range s.groups {
		g.mu.Lock()
		for _, r := range g.runners {
			used[r.table] = true
		}
		g.mu.Unlock()
	}
	return freeTable(used)
}
