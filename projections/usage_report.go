package projections

import (
	"slices"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
)

// WindowCounts are the valid uses that the ledger has of a key in the latest window of each
// length, each as often as it costs, by which its rate limits survive a restart.
func (s *Store) WindowCounts(id domain.KeyID) (all []domain.WindowCount, err error) {
	bits := id.Bytes()
	prefix := row(rowWindow, bits[:])
	err = s.usage.read(func(r rows) error {
		return r.each(prefix, func(key, v []byte) error {
			var w windowUses
			err := w.decode(v)
			length, _ := cutNumber(key[len(prefix):])
			all = append(all, domain.WindowCount{Window: domain.Window{Length: int64(length), Start: w.start.at}, Count: w.count})
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
		u, found, err := loadUsage(r, bits)
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
func eachHour(r rows, key [idSize]byte, from, to int64, f func(hour int64, c counts)) error {
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
				_, err := c.decode(v)
				f(hour, c)
				return err
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
