package projections

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// The kinds of rows of the usage table.
const (
	rowUsage    = 'u' // key → last use, totals, the counts of its latest hour
	rowHour     = 'h' // key, hour → counts of an earlier hour
	rowLastUsed = 'l' // org, last use, key
	rowWindow   = 'w' // key, length of a rate limit's window → its start, valid uses in it
)

// outcomes gives each outcome its place in counts. Entries are added at the end only.
var outcomes = []domain.Outcome{
	domain.UseValid, domain.UseNotFound, domain.UseRevoked, domain.UseExpired, domain.UseDisabled,
	domain.UseInsufficientScope, domain.UseIPNotAllowed, domain.UseRateLimited,
}

type counts [8]uint64

const hourMillis = int64(time.Hour / time.Millisecond)

func (c *counts) add(d counts) {
	for i := range c {
		c[i] += d[i]
	}
}

func (c counts) encode(b []byte) []byte {
	for _, n := range c {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (c *counts) decode(b []byte) []byte {
	for i := range c {
		n, size := binary.Uvarint(b)
		c[i], b = n, b[size:]
	}
	return b
}

type window struct{ start, count int64 }

// plus adds up what belongs to the same window; of two windows the later one counts.
func (w window) plus(v window) window {
	switch {
	case v.start > w.start:
		return v
	case v.start < w.start:
		return w
	}
	return window{w.start, w.count + v.count}
}

// A usage is a key's row.
type usage struct {
	last   int64
	totals counts
	hour   int64 // the latest hour, and its counts
	latest counts
}

func loadUsage(r rows, id domain.KeyID) (u usage, found bool, err error) {
	bits := id.Bytes()
	found, err = r.get(row(rowUsage, bits[:]), u.decode)
	return u, found, err
}

func (u *usage) decode(v []byte) error {
	u.last, u.hour = int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))
	u.latest.decode(u.totals.decode(v[16:]))
	return nil
}

// A usageWalk reads the rows of keys in ascending order. Among many keys the next row is
// mostly some steps away, which is several times cheaper than to look it up.
type usageWalk struct {
	rows
	it *badger.Iterator
}

func (r rows) walkUsage() usageWalk {
	return usageWalk{r, r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{rowUsage})})}
}

// steps is how far it goes before it seeks.
const steps = 8

// load gives the zero usage for a key without a row.
func (w usageWalk) load(key [16]byte) (u usage, err error) {
	full := w.key(row(rowUsage, key[:]))
	if !w.it.Valid() {
		w.it.Seek(full)
	}
	for step := 0; w.it.Valid() && bytes.Compare(w.it.Item().Key(), full) < 0; step++ {
		if step < steps {
			w.it.Next()
		} else {
			w.it.Seek(full)
		}
	}
	if w.it.Valid() && bytes.Equal(w.it.Item().Key(), full) {
		err = w.it.Item().Value(u.decode)
	}
	return u, err
}

// storeTallies adds what is tallied, in the order of keys, to what the table has.
func storeTallies(r rows, some []tally) error {
	walk := r.walkUsage()
	defer walk.it.Close()
	for i := range some {
		u, err := walk.load(some[i].key)
		if err == nil {
			err = storeTally(r, &some[i], u)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storeTally adds t to u, which is what the table has of its key.
func storeTally(r rows, t *tally, u usage) error {
	if t.last > u.last {
		if u.last > 0 {
			if err := r.delete(row(rowLastUsed, t.org[:], number(uint64(u.last)), t.key[:])); err != nil {
				return err
			}
		}
		u.last = t.last
		if err := r.set(row(rowLastUsed, t.org[:], number(uint64(u.last)), t.key[:]), nil); err != nil {
			return err
		}
	}
	for hour, c := range t.eachHour {
		u.totals.add(c)
		if err := u.file(r, t.key[:], hour, c); err != nil {
			return err
		}
	}
	value := append(number(uint64(u.last)), number(uint64(u.hour))...)
	if err := r.set(row(rowUsage, t.key[:]), u.latest.encode(u.totals.encode(value))); err != nil {
		return err
	}
	return storeWindows(r, t.key[:], t.windows)
}

// file adds the counts of an hour: to the row if it is the latest, else to the hour's own.
func (u *usage) file(r rows, key []byte, hour int64, c counts) error {
	switch {
	case hour == u.hour:
		u.latest.add(c)
		return nil
	case hour < u.hour:
		return addHour(r, key, hour, c)
	}
	before, latest := u.hour, u.latest
	u.hour, u.latest = hour, c
	if latest == (counts{}) {
		return nil
	}
	return addHour(r, key, before, latest)
}

func addHour(r rows, key []byte, hour int64, c counts) error {
	at := row(rowHour, key, number(uint64(hour)))
	if _, err := r.get(at, func(v []byte) error {
		var old counts
		old.decode(v)
		c.add(old)
		return nil
	}); err != nil {
		return err
	}
	return r.set(at, c.encode(nil))
}

func storeWindows(r rows, key []byte, windows map[int64]window) error {
	for length, w := range windows {
		at := row(rowWindow, key, number(uint64(length)))
		if _, err := r.get(at, func(v []byte) error {
			w = decodeWindow(v).plus(w)
			return nil
		}); err != nil {
			return err
		}
		if err := r.set(at, append(number(uint64(w.start)), number(uint64(w.count))...)); err != nil {
			return err
		}
	}
	return nil
}

func decodeWindow(v []byte) window {
	return window{int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))}
}

func loadLastUsed(r rows, id domain.KeyID) (time.Time, error) {
	u, found, err := loadUsage(r, id)
	if err != nil || !found {
		return time.Time{}, err
	}
	return time.UnixMilli(u.last).UTC(), nil
}

func (s *Store) lastUsed(id domain.KeyID) (at time.Time, err error) {
	err = s.view(s.usage(), func(r rows) (err error) {
		at, err = loadLastUsed(r, id)
		return err
	})
	return at, err
}

// A Counter is how many valid uses the ledger has of one key in the latest window of one
// length. Times are milliseconds since the Unix epoch.
type Counter struct {
	Window int64 // length
	Start  int64
	Count  int64
}

// Counters are those of a key, by which its rate limits survive a restart.
func (s *Store) Counters(id domain.KeyID) (all []Counter, err error) {
	bits := id.Bytes()
	err = s.view(s.usage(), func(r rows) error {
		return r.each(row(rowWindow, bits[:]), func(key, v []byte) error {
			w := decodeWindow(v)
			all = append(all, Counter{int64(binary.BigEndian.Uint64(key[17:])), w.start, w.count})
			return nil
		})
	})
	return all, err
}

// A UsageReport counts a key's uses by outcome, in steps and in total since its beginning.
type UsageReport struct {
	LastUsedAt time.Time
	Totals     map[domain.Outcome]uint64
	Steps      []UsageStep // those with a use, oldest first
}

// A UsageStep counts what was used from Start on, for one step's length.
type UsageStep struct {
	Start  time.Time
	Counts map[domain.Outcome]uint64
}

// Usage reports the uses from from, rounded down to the hour, until before to. step is a
// whole number of hours; steps are aligned to the Unix epoch.
func (s *Store) Usage(id domain.KeyID, from, to time.Time, step time.Duration) (report UsageReport, err error) {
	bits := id.Bytes()
	steps := map[int64]counts{}
	add := func(hour int64, c counts) {
		at := hour * hourMillis
		if c != (counts{}) && at >= from.Truncate(time.Hour).UnixMilli() && at < to.UnixMilli() {
			at -= at % step.Milliseconds()
			sum := steps[at]
			sum.add(c)
			steps[at] = sum
		}
	}
	err = s.view(s.usage(), func(r rows) error {
		u, found, err := loadUsage(r, id)
		if err != nil || !found {
			return err
		}
		report.LastUsedAt = time.UnixMilli(u.last).UTC()
		report.Totals = u.totals.byOutcome()
		add(u.hour, u.latest)
		return r.each(row(rowHour, bits[:]), func(key, v []byte) error {
			var c counts
			c.decode(v)
			add(int64(binary.BigEndian.Uint64(key[17:])), c)
			return nil
		})
	})
	for at, c := range steps {
		report.Steps = append(report.Steps, UsageStep{time.UnixMilli(at).UTC(), c.byOutcome()})
	}
	slices.SortFunc(report.Steps, func(a, b UsageStep) int { return a.Start.Compare(b.Start) })
	return report, err
}

func (c counts) byOutcome() map[domain.Outcome]uint64 {
	m := map[domain.Outcome]uint64{}
	for i, n := range c {
		if n > 0 {
			m[outcomes[i]] = n
		}
	}
	return m
}
