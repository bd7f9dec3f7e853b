package projections

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
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
	RebuildRunning   = "running"
	RebuildDone      = "done"
	RebuildFailed    = "failed"
	RebuildCancelled = "cancelled"
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
	names     []string      // of the projections; one, unless it is a load at the start
	status    RebuildStatus // under the mu of rebuilds
	cancelled chan struct{} // closed to cancel it
	done      chan struct{} // closed when it has ended
}

func newRebuilds() *rebuilds {
	return &rebuilds{latest: map[string]*rebuild{}, queue: make(chan *rebuild, 1)}
}

// StartRebuild begins to fill a new table from the ledger's beginning beside the old one,
// which goes on answering until the new one has caught up. If one of that projection runs
// already, it goes on.
func (s *Store) StartRebuild(name string) error {
	if s.find(name).engine == nil {
		return domain.ErrProjectionNotFound
	}
	return s.rebuilds.start(name)
}

// CancelRebuild ends the rebuild of a projection, if one runs, and waits until it has or
// until ctx ends.
func (s *Store) CancelRebuild(ctx context.Context, name string) error {
	if s.find(name).engine == nil {
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
	case slices.Contains(all.running.names, name):
		return nil
	default:
		return domain.ErrRebuildRunning
	}
	all.running = all.add([]string{name})
	all.queue <- all.running
	return nil
}

// add makes a rebuild the latest of its projections. mu is held.
func (all *rebuilds) add(names []string) *rebuild {
	r := &rebuild{names: names, cancelled: make(chan struct{}), done: make(chan struct{}),
		status: RebuildStatus{State: RebuildRunning, StartedAt: time.Now().UTC()}}
	for _, name := range names {
		all.latest[name] = r
	}
	return r
}

// begin adds a load at the start, which waits for no other rebuild.
func (all *rebuilds) begin(names []string) *rebuild {
	all.mu.Lock()
	defer all.mu.Unlock()
	r := all.add(names)
	if all.running == nil {
		all.running = r
	}
	return r
}

// cancel gives the rebuild that ends; nil: none of that name runs.
func (all *rebuilds) cancel(name string) *rebuild {
	all.mu.Lock()
	defer all.mu.Unlock()
	r := all.running
	if r == nil || !slices.Contains(r.names, name) {
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
	r.status.EndedAt, r.status.State = &now, RebuildDone
	switch {
	case err != nil && cancelled:
		r.status.State = RebuildCancelled
	case err != nil:
		r.status.State, r.status.Error = RebuildFailed, "the log has the cause"
	}
	if all.running == r {
		all.running = nil
	}
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
	building, cancel := r.context(ctx)
	defer cancel()
	v := s.find(r.names[0])
	p := func(at, end eventstore.Position) { s.rebuilds.progress(r, at, end) }
	if v.engine.loadsInBulk() {
		err = v.engine.load(building, []int{v.slot}, p)
	} else {
		err = v.engine.rebuildTable(ctx, building, v.slot, p)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a rebuild did not come to its end; the projection stays as it was", "projection", r.names[0], "err", err)
	}
	return building.Err() != nil, err
}

// loadInBulk loads tables at the start, which is a rebuild as well: it is seen, and can be cancelled.
func (s *Store) loadInBulk(ctx context.Context, e *engine, slots []int) error {
	var names []string
	for _, slot := range slots {
		names = append(names, e.projections[slot].name)
	}
	r := s.rebuilds.begin(names)
	building, cancel := r.context(ctx)
	defer cancel()
	err := e.load(building, slots, func(at, end eventstore.Position) { s.rebuilds.progress(r, at, end) })
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "tables are not loaded in bulk; they are filled event by event", "projections", names, "err", err)
	}
	s.rebuilds.end(r, err, building.Err() != nil)
	debug.FreeOSMemory() // what the load needed for a moment
	return err
}

// context ends also when r is cancelled.
func (r *rebuild) context(ctx context.Context) (context.Context, context.CancelFunc) {
	building, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-r.cancelled:
			cancel()
		case <-building.Done():
		}
	}()
	return building, cancel
}

// rebuildTable fills a new table in the same Badger, until building ends.
func (e *engine) rebuildTable(ctx, building context.Context, slot int, p progress) error {
	fresh := e.beginBuilding(slot)
	defer e.endBuilding()
	unused, err := e.buildAndReplace(building, slot, fresh, p)
	if err != nil {
		unused = fresh.state().number
	}
	if dropping := e.dropTable(ctx, unused); dropping != nil {
		e.store.log.WarnContext(ctx, "rows of a table that is not in use are left; the next start deletes them", "projection", fresh.state().name, "err", dropping)
	}
	return err
}

// beginBuilding gives a new table, whose number is taken until endBuilding.
func (e *engine) beginBuilding(slot int) table {
	e.write.Lock()
	defer e.write.Unlock()
	e.building = e.newTable(e.db, e.projections[slot], freeNumber(e.usedNumbers()))
	e.building.state().building = true
	return e.building
}

func (e *engine) endBuilding() {
	e.write.Lock()
	defer e.write.Unlock()
	e.building = nil
}

// progress is told how far a rebuild is, and where the stream ends.
type progress func(at, end eventstore.Position)

func (e *engine) buildAndReplace(ctx context.Context, slot int, fresh table, p progress) (before uint16, err error) {
	now := fresh.state()
	if err := e.dropTable(ctx, now.number); err != nil { // one before may have left rows
		return 0, err
	}
	if err := e.takeKeptMonths(ctx, e.store.ledger.Load(), fresh); err != nil {
		return now.number, err
	}
	err = e.replace(ctx, []table{fresh}, p, func() error {
		now.building = false
		if err := now.db.Update(func(tx *badger.Txn) error { return now.save(tx, now.checkpoint, nil) }); err != nil {
			now.building = true
			return err
		}
		before = e.tables[slot].state().number
		e.tables[slot] = fresh
		return nil
	})
	return before, err
}

// replaceTimeout bounds how long everything stands still for the last step of a rebuild.
const replaceTimeout = 2 * time.Second

// replace brings fresh tables up to date, and puts them with install into the place of those of
// the same projections. What little comes after the ledger's end was reached is read while
// the engine stands still.
func (e *engine) replace(ctx context.Context, fresh []table, p progress, install func() error) error {
	for {
		if err := e.replay(ctx, fresh, p); err != nil {
			return err
		}
		last, cancel := context.WithTimeout(ctx, replaceTimeout)
		err := e.tryReplace(last, fresh, p, install)
		late := last.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return err
		}
	}
}

func (e *engine) tryReplace(ctx context.Context, fresh []table, p progress, install func() error) error {
	e.write.Lock()
	defer e.write.Unlock()
	for e.lack(fresh) {
		if err := e.replay(ctx, fresh, p); err != nil {
			return err
		}
	}
	if err := install(); err != nil {
		return err
	}
	e.publish()
	return nil
}

// lack reports whether one of fresh is behind the table in use.
func (e *engine) lack(fresh []table) bool {
	return slices.ContainsFunc(fresh, func(t table) bool {
		now := t.state()
		return now.checkpoint.Position < e.tables[e.store.find(now.name).slot].reached().Position
	})
}

// replay reads on from where the tables are to the ledger's end. Messages that are gone count
// as read.
func (e *engine) replay(ctx context.Context, tables []table, p progress) error {
	l := e.store.ledger.Load()
	q := eventstore.Query{Stream: e.stream, Reach: domain.All, After: leastReached(tables).Position, Max: batchSize(e.stream)}
	err := l.Read(ctx, q, func(b eventstore.Batch) error {
		defer func() { p(b.Checkpoint.Position, b.Checkpoint.Position+eventstore.Position(b.Pending)) }()
		return e.apply(tables, b)
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	gone, err := l.Gone(ctx, e.stream)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := errors.Join(t.flush(), ctx.Err()); err != nil {
			return err
		}
		t.skip(gone)
	}
	at := tables[0].state().checkpoint.Position
	p(at, at)
	return nil
}
