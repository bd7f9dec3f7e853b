package projections

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A RebuildStatus is how far a rebuild is, or how it ended.
type RebuildStatus struct {
	State     string              `json:"state" enum:"running,done,failed,cancelled"`
	StartedAt time.Time           `json:"started_at"`
	EndedAt   *time.Time          `json:"ended_at,omitempty"`
	Position  eventstore.Position `json:"position" doc:"How far the new rows are."`
	End       eventstore.Position `json:"end" doc:"Where the stream ended when last heard."`
	Error     string              `json:"error,omitempty"`
}

// The states of a rebuild.
const (
	rebuildRunning   = "running"
	rebuildDone      = "done"
	rebuildFailed    = "failed"
	rebuildCancelled = "cancelled"
)

// rebuilds are the latest of each projection. One runs at a time. It belongs to the store,
// not to the request that asked for it.
type rebuilds struct {
	mu      sync.Mutex
	latest  map[string]*rebuild
	running *rebuild
	queue   chan *rebuild // of the running one, until it is taken up
}

type rebuild struct {
	name      string
	status    RebuildStatus // under the mu of rebuilds
	cancelled chan struct{} // closed to cancel it
	done      chan struct{} // closed when it has ended
}

func newRebuilds() *rebuilds {
	return &rebuilds{latest: map[string]*rebuild{}, queue: make(chan *rebuild, 1)}
}

// StartRebuild begins to fill a new table from the ledger's beginning beside the old one,
// which goes on answering until the new one has caught up. One that runs already is left
// to it.
func (s *Store) StartRebuild(name string) error {
	if s.runner(name) == nil {
		return domain.ErrProjectionNotFound
	}
	return s.rebuilds.start(name)
}

// CancelRebuild ends the rebuild of a projection, if one runs, and waits until it has or
// until ctx ends.
func (s *Store) CancelRebuild(ctx context.Context, name string) error {
	if s.runner(name) == nil {
		return domain.ErrProjectionNotFound
	}
	r := s.rebuilds.cancel(name)
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	return nil
}

func (all *rebuilds) start(name string) error {
	all.mu.Lock()
	defer all.mu.Unlock()
	switch {
	case all.running == nil:
	case all.running.name == name:
		return nil
	default:
		return domain.ErrRebuildRunning
	}
	r := &rebuild{name: name, cancelled: make(chan struct{}), done: make(chan struct{}),
		status: RebuildStatus{State: rebuildRunning, StartedAt: time.Now().UTC()}}
	all.running, all.latest[name] = r, r
	all.queue <- r
	return nil
}

// cancel gives the rebuild that ends; nil: none of that name runs.
func (all *rebuilds) cancel(name string) *rebuild {
	all.mu.Lock()
	defer all.mu.Unlock()
	r := all.running
	if r == nil || r.name != name {
		return nil
	}
	select {
	case <-r.cancelled:
	default:
		close(r.cancelled)
	}
	return r
}

// status is a copy; nil: there was no rebuild.
func (all *rebuilds) status(name string) *RebuildStatus {
	all.mu.Lock()
	defer all.mu.Unlock()
	r := all.latest[name]
	if r == nil {
		return nil
	}
	status := r.status
	return &status
}

func (all *rebuilds) progress(r *rebuild, at, end eventstore.Position) {
	all.mu.Lock()
	defer all.mu.Unlock()
	r.status.Position, r.status.End = at, end
}

func (all *rebuilds) end(r *rebuild, err error, cancelled bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	now := time.Now().UTC()
	r.status.EndedAt, r.status.State = &now, rebuildDone
	switch {
	case err != nil && cancelled:
		r.status.State = rebuildCancelled
	case err != nil:
		r.status.State, r.status.Error = rebuildFailed, "the log has the cause"
	}
	all.running = nil
	close(r.done)
}

// runRebuilds carries out what is started until ctx ends.
func (s *Store) runRebuilds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.rebuilds.queue:
			cancelled, err := s.rebuild(ctx, r)
			s.rebuilds.end(r, err, cancelled)
			debug.FreeOSMemory() // what the rebuild needed for a moment
		}
	}
}

// rebuild fills a new table and switches to it. Of one that is cancelled or fails nothing is
// left, and of one that is cut off when ctx ends nothing after the next start.
func (s *Store) rebuild(ctx context.Context, r *rebuild) (cancelled bool, err error) {
	old := s.runner(r.name)
	g := s.groups[old.stream]
	fresh := newRunner(old.projection)
	fresh.table, fresh.building = g.spareTable(), true

	building, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-r.cancelled:
			cancel()
		case <-building.Done():
		}
	}()
	unused, err := g.buildAndSwitch(building, old, fresh, func(at, end eventstore.Position) { s.rebuilds.progress(r, at, end) })
	if err != nil {
		unused = fresh.table
		s.log.WarnContext(ctx, "a rebuild did not come to its end; the projection stays as it was", "projection", r.name, "err", err)
	}
	cancelled = building.Err() != nil
	if dropping := g.dropTable(ctx, unused); dropping != nil {
		s.log.WarnContext(ctx, "rows of a table that is not in use are left; the next start deletes them", "projection", r.name, "err", dropping)
	}
	return cancelled, err
}

// progress is told how far a rebuild is, and where the stream ends.
type progress func(at, end eventstore.Position)

func (g *group) buildAndSwitch(ctx context.Context, old, fresh *runner, p progress) (before uint16, err error) {
	if err := g.dropTable(ctx, fresh.table); err != nil { // one before may have left rows
		return 0, err
	}
	return g.replace(ctx, old, fresh, p)
}

// replaceTimeout bounds how long everything stands still for the last step of a rebuild.
const replaceTimeout = 2 * time.Second

// replace fills fresh's table and puts it into the place of old's. What little comes after
// the ledger's end was reached is read while the group stands still.
func (g *group) replace(ctx context.Context, old, fresh *runner, p progress) (before uint16, err error) {
	for {
		if err := g.replay(ctx, fresh, p); err != nil {
			return 0, err
		}
		last, cancel := context.WithTimeout(ctx, replaceTimeout)
		before, err = g.tryReplace(last, old, fresh, p)
		late := last.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return before, err
		}
	}
}

func (g *group) tryReplace(ctx context.Context, old, fresh *runner, p progress) (before uint16, err error) {
	g.feed.Lock()
	defer g.feed.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for fresh.checkpoint.Position < old.seen().Position {
		if err := g.replay(ctx, fresh, p); err != nil {
			return 0, err
		}
	}
	if err := g.db.Update(func(tx *badger.Txn) error { return fresh.catalogue(tx, fresh.checkpoint, nil) }); err != nil {
		return 0, err
	}
	before = old.table
	old.table = fresh.table
	var clock usageClock
	if fresh.buffer != nil {
		clock = fresh.buffer.clock
	}
	old.begin(fresh.checkpoint, clock)
	g.publish()
	return before, nil
}

// replay reads on from where r is to the ledger's end.
func (g *group) replay(ctx context.Context, r *runner, p progress) error {
	q := eventstore.Query{Stream: r.stream, Reach: domain.All, After: r.checkpoint.Position, Max: atOnce(r.stream)}
	err := g.store.ledger.Load().Read(ctx, q, func(b eventstore.Batch) error {
		defer func() { p(b.Checkpoint.Position, b.Checkpoint.Position+eventstore.Position(b.Pending)) }()
		if r.buffer == nil {
			return g.apply([]*runner{r}, b.Records, b.Checkpoint)
		}
		if err := r.buffer.add(b.Records, b.Checkpoint); err != nil || !r.buffer.full() {
			return err
		}
		return g.flushBuilding(r)
	})
	if err == nil && ctx.Err() == nil && r.buffer != nil {
		err = g.finishBuilding(ctx, r)
	}
	if err = errors.Join(err, ctx.Err()); err == nil {
		p(r.checkpoint.Position, r.checkpoint.Position)
	}
	return err
}

// finishBuilding flushes what is left. Uses that are gone count as read.
func (g *group) finishBuilding(ctx context.Context, r *runner) error {
	gone, err := g.store.ledger.Load().Gone(ctx, r.stream)
	if err == nil {
		err = g.flushBuilding(r)
	}
	if err == nil {
		r.skip(gone)
	}
	return err
}

func (g *group) flushBuilding(r *runner) error {
	if err := g.flushAll(r); err != nil {
		return err
	}
	r.begin(r.buffer.checkpoint, r.buffer.clock)
	return nil
}

// spareTable is a table number that no projection uses.
func (g *group) spareTable() uint16 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return freeTable(g.usedTables())
}
