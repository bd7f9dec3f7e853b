package projections

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A flushProgress is how far a flush has come. A flush writes the usage buffer to the table:
//
//  1. The keys are sorted, and their rows written, some thousands in a transaction, which
//     also says in the catalog up to which message this flush goes and how far it has come.
//     After a crash the table holds a part of it.
//  2. The last transaction moves the checkpoint on to that message, and the flush is over.
//
// A restart reads from the checkpoint again. If a flush was cut off it adds up the very
// same messages first and writes only what lacks, so that no use counts twice.
type flushProgress struct {
	Checkpoint eventstore.Checkpoint `json:"checkpoint"` // of the last message in the buffer
	Key        [idSize]byte          `json:"key"`        // the last key in the table; those before it are whole
	Counters   int                   `json:"counters"`   // of that key in the table: its hours, then its windows, each ascending
	Months     int                   `json:"months"`     // meters of months in the table, ascending; they come after all keys
}

// flushRows is how many rows one transaction of a flush writes: about 20 ms of work, and
// far from Badger's limits, see flushLimit.
var flushRows = 10_000

// largestUsageRow is more than the size of a key's row and its name, with what Badger adds.
const largestUsageRow = 96 + 2*len(domain.Outcomes)*binary.MaxVarintLen64

// flushLimit is the number of rows in a transaction: flushRows, unless Badger takes fewer.
func flushLimit(db *badger.DB) int {
	return min(flushRows, int(db.MaxBatchCount()/2), int(db.MaxBatchSize()/2)/largestUsageRow)
}

// rowsPerKey is what a key needs beside its counters: its row, and the old and the new
// places in the index by last use, of its organization and of all.
const rowsPerKey = 5

// flushBuffer brings the buffer into the table, and takes as many rows of weeks that are over
// out of it. If it fails it can be tried again.
func (t *usageTable) flushBuffer() error {
	t.buffer.close()
	written := 0
	for done := false; !done; {
		var n int
		var err error
		if n, done, err = t.flushSome(); err != nil {
			return err
		}
		written += n
	}
	return errors.Join(t.prune(written), t.pruneMonths())
}

// flushSome writes one transaction's rows.
func (t *usageTable) flushSome() (written int, done bool, err error) {
	next := flushProgress{Checkpoint: t.buffer.checkpoint}
	if t.unfinished != nil {
		next = *t.unfinished
	}
	err = t.db.Update(func(tx *badger.Txn) error {
		w := usageWriter{rows: t.rows(tx), limit: flushLimit(t.db), firstWeek: t.buffer.clock.firstWeek()}
		if done, err = w.flush(t.buffer, &next); err == nil && done {
			done, err = w.flushMonths(t.buffer, &next)
		}
		if err != nil {
			return fmt.Errorf("projection %s: %w", t.name, err)
		}
		written = w.written
		if !done {
			return t.save(tx, t.checkpoint, &next)
		}
		if err := w.set(row(rowClock), t.buffer.clock.encode()); err != nil {
			return err
		}
		return t.save(tx, t.buffer.checkpoint, nil)
	})
	if err == nil {
		t.unfinished = &next
	}
	return written, done, err
}

// A usageWriter writes a part of the buffer in one transaction.
type usageWriter struct {
	rows
	limit, written int
	firstWeek      int64 // hours of weeks before it are not kept
}

// flush writes on from where f is, and reports whether all is written.
func (w *usageWriter) flush(b *usageBuffer, f *flushProgress) (done bool, err error) {
	walk := w.ascending(rowUsage)
	defer walk.it.Close()
	for at := b.from(f.Key); at < len(b.all); at++ {
		k := &b.all[at]
		if f.Key != k.key {
			f.Key, f.Counters = k.key, 0
		}
		u, found, err := loadUsage(walk, k.key)
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

// writeKey writes what lacks of k, and reports whether that is all: there may be no room for it.
// u is what the table has of the key.
func (w *usageWriter) writeKey(k *keyUses, u usage, found bool, f *flushProgress) (whole bool, err error) {
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
	for _, org := range indexedUnder(k.org) {
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

func lastUsedRow(org [idSize]byte, at int64, key [idSize]byte) []byte {
	return row(rowLastUsed, org[:], millis(at), key[:])
}

// writeHour adds the counts of an hour: to the key's row if it is the latest, else to the
// hour's own.
func (w *usageWriter) writeHour(key [idSize]byte, u *usage, hour int64, c counts) error {
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

func (w *usageWriter) earlierHour(key [idSize]byte, hour int64, c counts) error {
	if hour/hoursPerWeek < w.firstWeek {
		return nil
	}
	at := hourRow(key, hour)
	if _, err := w.get(at, func(v []byte) error {
		var old counts
		_, err := old.decode(v)
		c.add(old)
		return err
	}); err != nil {
		return err
	}
	return w.put(at, c.encode(nil))
}

func hourRow(key [idSize]byte, hour int64) []byte {
	return row(rowHour, number(uint64(hour/hoursPerWeek)), key[:], []byte{byte(hour % hoursPerWeek)})
}

func (w *usageWriter) writeWindow(key [idSize]byte, length int64, added windowUses) error {
	at := row(rowWindow, key[:], number(uint64(length)))
	var have windowUses
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
func (t *usageTable) prune(written int) error {
	first := t.buffer.clock.firstWeek()
	for deleted := 0; deleted <= written; {
		n := 0
		err := t.db.Update(func(tx *badger.Txn) (err error) {
			n, err = pruneSome(t.rows(tx), first, flushLimit(t.db))
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
