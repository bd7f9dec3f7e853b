package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A loader fills a new table from a whole stream. It takes in the records first and then
// gives all rows in order, so that they can be written as sorted files, several times faster
// than through a log and memtables. They are the very rows that apply leaves.
type loader interface {
	add(eventstore.Batch) error
	write(*rowWriter) error
	close() error // frees what it has on the disk
}

// A loadable table can be filled by a loader.
type loadable interface{ loader() loader }

// A rowsLoader has the rows of a table where the table's own write puts them.
type rowsLoader struct {
	*loadedRows
	apply func(rowMap, eventstore.Batch) error
}

func (t *directTable) loader() loader {
	return rowsLoader{&loadedRows{options: t.db.Opts(), latest: map[string][]byte{}}, t.write}
}

func (l rowsLoader) add(b eventstore.Batch) error { return l.apply(l.loadedRows, b) }

// A load fills some of an engine's tables anew from the ledger's beginning, in a Badger that is
// built beside the one in use and then takes its place. Its steps, and what a crash leaves:
//
//  1. The loaders read the stream once, and keep what they need: in memory, and what is too much in
//     files. The next start removes those.
//  2. A Badger is built: the catalog, the tables that stay as the published snapshot has
//     them, and the rows of the loaders. It does not count, and the next start removes it.
//  3. A rename makes it the one that counts. The next start goes on with it.
//  4. It is brought up to date, and the engine changes over to it. The one before is removed,
//     at the next start if not now.
type load struct {
	engine *engine
	tables map[int]loadedTable   // by slot
	end    eventstore.Checkpoint // of the records in the loaders
}

type loadedTable struct {
	*tableState
	loader loader
}

// loadsInBulk reports whether all tables are loadable: those of events are.
func (e *engine) loadsInBulk() bool {
	return !slices.ContainsFunc(e.tables, func(t table) bool { _, ok := t.(loadable); return !ok })
}

// loadGCPercent is how much garbage there may be during a load, in percent of what is live, which
// is much of what a process ever holds.
const loadGCPercent = 50

// load fills the tables in some slots anew. One goroutine at a time does.
func (e *engine) load(ctx context.Context, slots []int, p progress) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	defer debug.SetGCPercent(debug.SetGCPercent(loadGCPercent))
	next, err := e.newLoad(slots).run(ctx, p)
	if err != nil {
		return err
	}
	tables, err := e.openTables(next)
	if err == nil {
		err = e.changeOver(ctx, next, tables, p)
	}
	if err != nil {
		return errors.Join(err, next.remove())
	}
	return nil
}

func (e *engine) newLoad(slots []int) *load {
	e.write.Lock()
	defer e.write.Unlock()
	l := &load{engine: e, tables: map[int]loadedTable{}}
	used := e.usedNumbers()
	for _, slot := range slots {
		t := e.newTable(e.db, e.projections[slot], freeNumber(used))
		used[t.state().number] = true
		l.tables[slot] = loadedTable{t.state(), t.(loadable).loader()}
	}
	return l
}

// run takes the first three steps.
func (l *load) run(ctx context.Context, p progress) (*database, error) {
	defer l.close()
	if err := l.read(ctx, p); err != nil {
		return nil, err
	}
	return l.build()
}

// loadPrefetch is how many events are asked for ahead: some two megabytes.
const loadPrefetch = 2000

func (l *load) read(ctx context.Context, p progress) error {
	q := eventstore.Query{Stream: l.engine.stream, Reach: domain.All, Prefetch: loadPrefetch}
	err := l.engine.store.ledger.Load().Read(ctx, q, func(b eventstore.Batch) error {
		for _, t := range l.tables {
			if err := t.loader.add(b); err != nil {
				return fmt.Errorf("projection %s: %w", t.name, err)
			}
		}
		l.end = b.Checkpoint
		p(b.Checkpoint.Position, b.Checkpoint.Position+eventstore.Position(b.Pending))
		return nil
	})
	return errors.Join(err, ctx.Err())
}

func (l *load) close() {
	for _, t := range l.tables {
		if err := t.loader.close(); err != nil {
			l.engine.store.log.Warn("files of a load are left; the next start removes them", "projection", t.name, "err", err)
		}
	}
}

// build writes a new Badger, and makes it the one that counts.
func (l *load) build() (*database, error) {
	log := l.engine.store.log
	now := view{engine: l.engine}.snapshot()
	defer now.release()
	dir, err := now.db.buildingDir()
	if err != nil {
		return nil, err
	}
	w, err := newRowWriter(badgerOptions(dir, now.db.stream, log))
	if err != nil {
		return nil, err
	}
	if err := w.close(l.writeRows(w, now)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return now.db.successor(log)
}

// writeRows writes the catalog, and the tables in the order of their numbers.
func (l *load) writeRows(w *rowWriter, now *snapshot) error {
	if err := l.writeCatalog(w, now); err != nil {
		return err
	}
	for _, slot := range l.byNumber(now) {
		prefix := tablePrefix(l.number(slot, now))
		var err error
		if t, filled := l.tables[slot]; filled {
			w.prefix = prefix
			err = t.loader.write(w)
		} else {
			err = w.copy(now.tx, prefix)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// number is that of a slot's table in the new Badger.
func (l *load) number(slot int, now *snapshot) uint16 {
	if t, filled := l.tables[slot]; filled {
		return t.number
	}
	return now.tables[slot].number
}

func (l *load) byNumber(now *snapshot) (slots []int) {
	for slot := range l.engine.projections {
		slots = append(slots, slot)
	}
	slices.SortFunc(slots, func(a, b int) int { return cmp.Compare(l.number(a, now), l.number(b, now)) })
	return slots
}

func (l *load) writeCatalog(w *rowWriter, now *snapshot) error {
	entries := map[string]catalogEntry{}
	for slot, p := range l.engine.projections {
		entry, err := readCatalog(now.tx, p.name)
		if err != nil {
			return err
		}
		if t, filled := l.tables[slot]; filled {
			entry = catalogEntry{Version: p.version, Table: t.number, Checkpoint: &l.end}
		}
		entries[p.name] = entry
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if err := w.set(catalogKey(name), entries[name].encode()); err != nil {
			return err
		}
	}
	return nil
}

// changeOver brings the tables of a new Badger up to date and puts it into the place of the
// engine's.
func (e *engine) changeOver(ctx context.Context, next *database, tables []table, p progress) error {
	return e.replace(ctx, tables, p, func() error {
		before := e.db
		e.db, e.tables = next, tables
		e.removing.Go(func() {
			if err := before.remove(); err != nil {
				e.store.log.Warn("a Badger that is not in use any more is left; the next start removes it", "stream", e.stream.String(), "err", err)
			}
		})
		return nil
	})
}

// minLoaded is the number of messages from which on a load is faster than applying them.
var minLoaded = eventstore.Position(5000)

// loadBehind loads the tables that lack most of the stream: all of them at the first start, those
// of a new version or of another ledger, and after a restoration or a long stop. When the load
// fails, and when there is little to load, they are filled as the stream is followed, which stops
// at what cannot be applied.
func (e *engine) loadBehind(ctx context.Context, l *eventstore.Ledger) error {
	if !e.loadsInBulk() {
		return nil
	}
	end, err := l.End(ctx, e.stream)
	if err != nil {
		return err
	}
	slots := e.slotsBehind(end)
	if len(slots) == 0 || end >= minLoaded && e.store.loadInBulk(ctx, e, slots) == nil {
		return nil
	}
	e.loading.Lock() // a rebuild that begins meanwhile would change the Badger, and what is stray in it
	defer e.loading.Unlock()
	return e.dropStrayTables(ctx)
}

// slotsBehind are those of tables that have taken in less than half of the stream, of which
// applying the rest takes longer than a load of the whole, and those of empty ones.
func (e *engine) slotsBehind(end eventstore.Position) (slots []int) {
	e.write.Lock()
	defer e.write.Unlock()
	for slot, t := range e.tables {
		if at := t.reached().Position; at == 0 || 2*at < end {
			slots = append(slots, slot)
		}
	}
	return slots
}
