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
	rowUsage    = 'u' // key → its organization, last use, totals, the counts of its latest hour
	rowHour     = 'h' // week, key, hour of the week → counts of an earlier hour
	rowLastUsed = 'l' // org, last use, key
	rowWindow   = 'w' // key, length of a rate limit's window → its start, valid uses in it
	rowClock    = 'c' // → the time as the uses tell it
)

// counts are numbers of uses, each outcome's at its place in domain.Outcomes.
type counts [len(domain.Outcomes)]uint64

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

// A window counts the valid uses since its start.
type window struct {
	start instant
	count int64
}

// plus adds up what belongs to the same window; of two windows the later one counts.
func (w window) plus(v window) window {
	switch {
	case w.start.before(v.start):
		return v
	case v.start.before(w.start):
		return w
	}
	return window{w.start, w.count + v.count}
}

func (w window) encode() []byte {
	return append(append(number(w.start.epoch), number(uint64(w.start.at))...), number(uint64(w.count))...)
}

func (w *window) decode(v []byte) error {
	w.start = instant{binary.BigEndian.Uint64(v), int64(binary.BigEndian.Uint64(v[8:]))}
	w.count = int64(binary.BigEndian.Uint64(v[16:]))
	return nil
}

// A usage is a key's row.
type usage struct {
	org    [16]byte
	last   instant
	totals counts
	hour   int64 // the latest hour, and its counts
	latest counts
}

func loadUsage(r rows, id domain.KeyID) (u usage, found bool, err error) {
	bits := id.Bytes()
	found, err = r.get(row(rowUsage, bits[:]), u.decode)
	return u, found, err
}

func (u *usage) encode() []byte {
	b := slices.Concat(u.org[:], number(u.last.epoch), number(uint64(u.last.at)), number(uint64(u.hour)))
	return u.latest.encode(u.totals.encode(b))
}

func (u *usage) decode(v []byte) error {
	u.org = [16]byte(v)
	u.last = instant{binary.BigEndian.Uint64(v[16:]), int64(binary.BigEndian.Uint64(v[24:]))}
	u.hour = int64(binary.BigEndian.Uint64(v[32:]))
	u.latest.decode(u.totals.decode(v[40:]))
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

// load finds the row of a key.
func (w usageWalk) load(key [16]byte) (u usage, found bool, err error) {
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
		return u, true, w.it.Item().Value(u.decode)
	}
	return u, false, nil
}

func loadLastUsed(r rows, id domain.KeyID) (time.Time, error) {
	u, found, err := loadUsage(r, id)
	if err != nil || !found {
		return time.Time{}, err
	}
	return time.UnixMilli(u.last.at).UTC(), nil
}

func (s *Store) lastUsed(id domain.KeyID) (at time.Time, err error) {
	err = s.usage.read(func(r rows) (err error) {
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
	err = s.usage.read(func(r rows) error {
		return r.each(row(rowWindow, bits[:]), func(key, v []byte) error {
			var w window
			err := w.decode(v)
			all = append(all, Counter{int64(binary.BigEndian.Uint64(key[17:])), w.start.at, w.count})
			return err
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
	err = s.usage.read(func(r rows) error {
		u, found, err := loadUsage(r, id)
		if err != nil || !found {
			return err
		}
		report.LastUsedAt = time.UnixMilli(u.last.at).UTC()
		report.Totals = u.totals.byOutcome()
		add(u.hour, u.latest)
		return eachHour(r, bits, from.UnixMilli()/hourMillis, to.UnixMilli()/hourMillis, add)
	})
	for at, c := range steps {
		report.Steps = append(report.Steps, UsageStep{time.UnixMilli(at).UTC(), c.byOutcome()})
	}
	slices.SortFunc(report.Steps, func(a, b UsageStep) int { return a.Start.Compare(b.Start) })
	return report, err
}

// eachHour calls f with the earlier hours of a key from one hour to another.
func eachHour(r rows, key [16]byte, from, to int64, f func(hour int64, c counts)) error {
	clock, err := loadUsageClock(r)
	if err != nil {
		return err
	}
	it := r.tx.NewIterator(badger.IteratorOptions{Prefix: r.key([]byte{rowHour})})
	defer it.Close()
	for week := max(from/hoursPerWeek, clock.firstWeek()); week <= to/hoursPerWeek; week++ {
		prefix := r.key(row(rowHour, number(uint64(week)), key[:]))
		for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
			hour := week*hoursPerWeek + int64(it.Item().Key()[len(prefix)])
			err := it.Item().Value(func(v []byte) error {
				var c counts
				c.decode(v)
				f(hour, c)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c counts) byOutcome() map[domain.Outcome]uint64 {
	m := map[domain.Outcome]uint64{}
	for i, n := range c {
		if n > 0 {
			m[domain.Outcomes[i]] = n
		}
	}
	return m
}
