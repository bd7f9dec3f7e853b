package projections

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A flush writes the usage buffer to the table:
//
//  1. The keys are sorted, and their rows written, some thousands in a transaction, which
//     also says in the catalog up to which message this flush goes and how far it has come.
//     After a crash the table holds a part of it.
//  2. The last transaction moves the checkpoint on to that message, and the flush is over.
//
// A restart reads from the checkpoint again. If a flush was cut off it adds up the very
// same messages first and writes only what lacks, so that no use counts twice.
type flush struct {
	Checkpoint eventstore.Checkpoint `json:"checkpoint"` // of the last message in the buffer
	Key        [16]byte              `json:"key"`        // the last key in the table; those before it are whole
	Counters   int                   `json:"counters"`   // of that key in the table: its hours, then its windows, each ascending
}

// flushRows is how many rows one transaction of a flush writes: about 20 ms of work, and
// far from Badger's limits, see flushLimit.
var flushRows = 10_000

// largestUsageRow is the size of a key's row and its name, with what Badger adds: all its
// counts have at most ten bytes.
const largestUsageRow = 256

// flushLimit is the number of rows in a transaction: flushRows, unless Badger takes fewer.
func flushLimit(db *badger.DB) int {
	return min(flushRows, int(db.MaxBatchCount()/2), int(db.MaxBatchSize()/2/largestUsageRow))
}

// rowsPerKey is what a key needs beside its counters: its row, and the old and the new
// places in the index by last use, of its organization and of all.
const rowsPerKey = 5

// minFlushInterval is the shortest pause between two flushes: 1 ms a use, at most 1 s, so
// that a lone use shows up at once and a busy service flushes seldom.
func minFlushInterval(uses int) time.Duration {
	return min(time.Duration(uses)*time.Millisecond, time.Second)
}

// flushShare is how many times longer than the last flush took the pause after it is, so
// that following the uses leaves the processor to verification.
const flushShare = 20

// bufferUses adds a batch to the usage buffer, and flushes while there is no room.
func (g *group) bufferUses(ctx context.Context, b eventstore.Batch) error {
	for {
		full, err := g.bufferIfRoom(b)
		if err != nil {
			return err
		}
		signal(g.buffered)
		if b.Pending == 0 && g.awaited.Load() > 0 {
			signal(g.hurry)
		}
		if !full {
			return nil
		}
		if err := g.persist(ctx, g.flushNow); err != nil {
			return err
		}
	}
}

// signal makes c readable, if it is not.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// bufferIfRoom tells that the buffer must be flushed first, and that b must be given again.
func (g *group) bufferIfRoom(b eventstore.Batch) (full bool, err error) {
	g.feed.Lock()
	defer g.feed.Unlock()
	r := g.runners[0]
	if f := r.flush; f != nil && b.Checkpoint.Position > f.Checkpoint.Position {
		// Here ends what a flush that was cut off had in it: it is finished first.
		had := slices.DeleteFunc(slices.Clone(b.Records), func(r eventstore.Record) bool { return r.Position > f.Checkpoint.Position })
		return true, r.buffer.add(had, f.Checkpoint)
	}
	if r.flush == nil && r.buffer.full() {
		return true, nil
	}
	return false, r.buffer.add(b.Records, b.Checkpoint)
}

// keepFlushing flushes again and again until ctx ends: soon if that takes little time or
// a request waits for it, else seldom.
func (g *group) keepFlushing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.buffered:
		}
		begun, uses := time.Now(), g.bufferedUses()
		if err := g.persist(ctx, g.flushNow); err != nil {
			if ctx.Err() == nil {
				g.halt(ctx, err)
			}
			return
		}
		timer := time.NewTimer(min(max(flushShare*time.Since(begun), minFlushInterval(uses)), time.Minute))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-g.hurry:
		}
		timer.Stop()
	}
}

func (g *group) bufferedUses() int {
	g.feed.Lock()
	defer g.feed.Unlock()
	return g.runners[0].buffer.uses
}

// flushNow flushes what there is, and publishes it. Nothing is added meanwhile.
func (g *group) flushNow() error {
	g.feed.Lock()
	defer g.feed.Unlock()
	r := g.runners[0]
	unfinished := r.flush != nil && r.buffer.checkpoint.Position < r.flush.Checkpoint.Position
	if unfinished || r.buffer.checkpoint.Position <= r.checkpoint.Position {
		return nil
	}
	if err := g.flushAll(r); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.begin(r.buffer.checkpoint, r.buffer.clock)
	g.publish()
	return nil
}

// flushAll brings the buffer of r into its table, and takes as many rows of weeks that are
// over out of it. If it fails it can be tried again.
func (g *group) flushAll(r *runner) error {
	r.buffer.close()
	written := 0
	for done := false; !done; {
		n, err := g.flushSome(r, &done)
		if err != nil {
			return err
		}
		written += n
	}
	return g.prune(r, written)
}

// flushSome writes one transaction's rows.
func (g *group) flushSome(r *runner, done *bool) (written int, err error) {
	next := flush{Checkpoint: r.buffer.checkpoint}
	if r.flush != nil {
		next = *r.flush
	}
	err = g.db.Update(func(tx *badger.Txn) error {
		w := usageWriter{rows: rows{tx: tx, table: r.table}, limit: flushLimit(g.db), firstWeek: r.buffer.clock.firstWeek()}
		if *done, err = w.flush(r.buffer, &next); err != nil {
			return fmt.Errorf("projection %s: %w", r.name, err)
		}
		written = w.written
		switch {
		case *done:
			return w.finish(r)
		case r.building:
			return nil
		}
		return r.catalogue(tx, r.checkpoint, &next)
	})
	if err == nil {
		r.flush = &next
	}
	return written, err
}

// A usageWriter writes a part of the buffer in one transaction.
type usageWriter struct {
	rows
	limit, written int
	firstWeek      int64 // hours of weeks before it are not kept
}

// finish moves the checkpoint on to the end of the buffer.
func (w *usageWriter) finish(r *runner) error {
	if err := w.set(row(rowClock), r.buffer.clock.encode()); err != nil || r.building {
		return err
	}
	return r.catalogue(w.tx, r.buffer.checkpoint, nil)
}

// flush writes on from where f is, and tells whether all is written.
func (w *usageWriter) flush(b *usageBuffer, f *flush) (done bool, err error) {
	walk := w.walkUsage()
	defer walk.it.Close()
	for at := b.from(f.Key); at < len(b.all); at++ {
		k := &b.all[at]
		if f.Key != k.key {
			f.Key, f.Counters = k.key, 0
		}
		u, found, err := walk.load(k.key)
		if err != nil {
			return false, err
		}
		whole, err := w.writeKey(k, u, found, f)
		if err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

// writeKey writes what lacks of k, and tells whether that is all: there may be no room for it.
// u is what the table has of the key.
func (w *usageWriter) writeKey(k *keyUses, u usage, found bool, f *flush) (whole bool, err error) {
	if found && u.org != k.org {
		return false, wrongOrganization(domain.KeyIDFromBytes(k.key), domain.OrgIDFromBytes(u.org), domain.OrgIDFromBytes(k.org))
	}
	hours, lengths := k.sortedHours(), slices.Sorted(maps.Keys(k.windows))
	all := len(hours) + len(lengths)
	upTo := min(all, f.Counters+w.limit-w.written-rowsPerKey)
	if upTo <= f.Counters {
		return f.Counters == all, nil
	}
	u.org = k.org
	if err := w.writeLastUse(k, &u, found); err != nil {
		return false, err
	}
	for ; f.Counters < upTo; f.Counters++ {
		if f.Counters < len(hours) {
			hour := hours[f.Counters]
			err = w.writeHour(k.key, &u, hour, k.countsOf(hour))
		} else {
			length := lengths[f.Counters-len(hours)]
			err = w.writeWindow(k.key, length, k.windows[length])
		}
		if err != nil {
			return false, err
		}
	}
	return upTo == all, w.put(row(rowUsage, k.key[:]), u.encode())
}

func (w *usageWriter) put(row, value []byte) error {
	w.written++
	return w.set(row, value)
}

// writeLastUse moves the key to its place in the index by last use.
func (w *usageWriter) writeLastUse(k *keyUses, u *usage, found bool) error {
	if found && !u.last.before(k.last) {
		return nil
	}
	for _, org := range reaches(k.org) {
		if found {
			w.written++
			if err := w.delete(lastUsedRow(org, u.last.at, k.key)); err != nil {
				return err
			}
		}
		if err := w.put(lastUsedRow(org, k.last.at, k.key), nil); err != nil {
			return err
		}
	}
	u.last = k.last
	return nil
}

func lastUsedRow(org [16]byte, at int64, key [16]byte) []byte {
	return row(rowLastUsed, org[:], millis(at), key[:])
}

// writeHour adds the counts of an hour: to the key's row if it is the latest, else to the
// hour's own.
func (w *usageWriter) writeHour(key [16]byte, u *usage, hour int64, c counts) error {
	u.totals.add(c)
	switch {
	case hour == u.hour:
		u.latest.add(c)
		return nil
	case hour < u.hour:
		return w.earlierHour(key, hour, c)
	}
	before, latest := u.hour, u.latest
	u.hour, u.latest = hour, c
	if latest == (counts{}) {
		return nil
	}
	return w.earlierHour(key, before, latest)
}

func (w *usageWriter) earlierHour(key [16]byte, hour int64, c counts) error {
	if hour/hoursPerWeek < w.firstWeek {
		return nil
	}
	at := hourRow(key, hour)
	if _, err := w.get(at, func(v []byte) error {
		var old counts
		old.decode(v)
		c.add(old)
		return nil
	}); err != nil {
		return err
	}
	return w.put(at, c.encode(nil))
}

func hourRow(key [16]byte, hour int64) []byte {
	return row(rowHour, number(uint64(hour/hoursPerWeek)), key[:], []byte{byte(hour % hoursPerWeek)})
}

func (w *usageWriter) writeWindow(key [16]byte, length int64, added window) error {
	at := row(rowWindow, key[:], number(uint64(length)))
	var have window
	found, err := w.get(at, have.decode)
	if err != nil {
		return err
	}
	if found {
		added = have.plus(added)
	}
	return w.put(at, added.encode())
}

// prune deletes hours of weeks that are over, at most about as many rows as were written
// just now and a transaction's more, so that it neither falls behind nor takes long. Until
// then readers pass over them.
func (g *group) prune(r *runner, written int) error {
	first := r.buffer.clock.firstWeek()
	for deleted := 0; deleted <= written; {
		n := 0
		err := g.db.Update(func(tx *badger.Txn) (err error) {
			n, err = pruneSome(rows{tx: tx, table: r.table}, first, flushLimit(g.db))
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		deleted += n
	}
	return nil
}

func pruneSome(r rows, firstWeek int64, limit int) (deleted int, err error) {
	kept := r.key(row(rowHour, number(uint64(firstWeek))))
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{rowHour})})
	defer it.Close()
	for it.Rewind(); it.Valid() && deleted < limit; it.Next() {
		key := it.Item().KeyCopy(nil)
		if string(key) >= string(kept) {
			break
		}
		if err := r.tx.Delete(key); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}
