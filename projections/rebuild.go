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
	name      string
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
	case all.running.name == name:
		return nil
	default:
		return domain.ErrRebuildRunning
	}
	r := &rebuild{name: name, cancelled: make(chan struct{}), done: make(chan struct{}),
		status: RebuildStatus{State: RebuildRunning, StartedAt: time.Now().UTC()}}
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
	r.status.EndedAt, r.status.State = &now, RebuildDone
	switch {
	case err != nil && cancelled:
		r.status.State = RebuildCancelled
	case err != nil:
		r.status.State, r.status.Error = RebuildFailed, "the log has the cause"
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
	v := s.find(r.name)
	e := v.engine
	building, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-r.cancelled:
			cancel()
		case <-building.Done():
		}
	}()
	fresh := e.beginBuilding(v.slot)
	defer e.endBuilding()
	unused, err := e.buildAndReplace(building, v.slot, fresh, func(at, end eventstore.Position) { s.rebuilds.progress(r, at, end) })
	if err != nil {
		unused = fresh.state().number
		s.log.WarnContext(ctx, "a rebuild did not come to its end; the projection stays as it was", "projection", r.name, "err", err)
	}
	cancelled = building.Err() != nil
	if dropping := e.dropTable(ctx, unused); dropping != nil {
		s.log.WarnContext(ctx, "rows of a table that is not in use are left; the next start deletes them", "projection", r.name, "err", dropping)
	}
	return cancelled, err
}

// beginBuilding gives a new table, whose number is taken until endBuilding.
func (e *engine) beginBuilding(slot int) table {
	e.write.Lock()
	defer e.write.Unlock()
	e.building = e.newTable(e.projections[slot], e.freeNumber())
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
	if err := e.dropTable(ctx, fresh.state().number); err != nil { // one before may have left rows
		return 0, err
	}
	return e.replace(ctx, slot, fresh, p)
}

// replaceTimeout bounds how long everything stands still for the last step of a rebuild.
const replaceTimeout = 2 * time.Second

// replace fills fresh and puts it into a slot. What little comes after the ledger's end was
// reached is read while the engine stands still.
func (e *engine) replace(ctx context.Context, slot int, fresh table, p progress) (before uint16, err error) {
	for {
		if err := e.replay(ctx, fresh, p); err != nil {
			return 0, err
		}
		last, cancel := context.WithTimeout(ctx, replaceTimeout)
		before, err = e.tryReplace(last, slot, fresh, p)
		late := last.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return before, err
		}
	}
}

func (e *engine) tryReplace(ctx context.Context, slot int, fresh table, p progress) (before uint16, err error) {
	e.write.Lock()
	defer e.write.Unlock()
	old, now := e.tables[slot], fresh.state()
	for now.checkpoint.Position < old.reached().Position {
		if err := e.replay(ctx, fresh, p); err != nil {
			return 0, err
		}
	}
	now.building = false
	if err := e.db.Update(func(tx *badger.Txn) error { return now.save(tx, now.checkpoint, nil) }); err != nil {
		now.building = true
		return 0, err
	}
	e.tables[slot] = fresh
	e.publish()
	return old.state().number, nil
}

// replay reads on from where t is to the ledger's end. Messages that are gone count as read.
func (e *engine) replay(ctx context.Context, t table, p progress) error {
	l := e.store.ledger.Load()
	q := eventstore.Query{Stream: e.stream, Reach: domain.All, After: t.reached().Position, Max: batchSize(e.stream)}
	err := l.Read(ctx, q, func(b eventstore.Batch) error {
		defer func() { p(b.Checkpoint.Position, b.Checkpoint.Position+eventstore.Position(b.Pending)) }()
		return e.apply([]table{t}, b)
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	gone, err := l.Gone(ctx, e.stream)
	if err == nil {
		err = t.flush()
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	t.skip(gone)
	at := t.state().checkpoint.Position
	p(at, at)
	return nil
}
