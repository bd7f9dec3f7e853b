package projections

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A usageBuffer is uses added up in memory, so that a key which is used a thousand times a
// second is written once. A flush writes it to the table from time to time, whole.
type usageBuffer struct {
	index      map[[idSize]byte]int // key → its index in all
	all        []keyUses
	uses       int
	months     map[Meter]int64       // what valid uses cost
	sorted     []Meter               // those of months, in the order of their rows; of a closed buffer
	summed     summedMonths          // of them nothing is counted
	rows       int                   // hours and windows beyond the first hour of each key, and meters of months
	clock      usageClock            // after the last use in it
	checkpoint eventstore.Checkpoint // of the last message in it
	closed     bool                  // it is being flushed: nothing more is added
}

// keyUses is the uses of one key. Most are of one hour.
type keyUses struct {
	key, org [idSize]byte
	last     instant
	hour     int64
	counts   [len(counts{})]uint32
	hours    map[int64]counts     // others than hour
	windows  map[int64]windowUses // by length in milliseconds
}

// What a buffer holds at most: about 120 MB for the keys and as much for their further
// hours and windows. To read so many uses again after a crash takes a few seconds.
const (
	maxBufferedKeys = 1 << 20
	maxBufferedRows = 1 << 20
)

var maxBufferedUses = 4 << 20 // tests lower it

func newUsageBuffer() *usageBuffer {
	return &usageBuffer{index: map[[idSize]byte]int{}, months: map[Meter]int64{}}
}

// full tells that the buffer must be flushed before more is added.
func (b *usageBuffer) full() bool {
	return b.closed || len(b.all) >= maxBufferedKeys || b.rows >= maxBufferedRows || b.uses >= maxBufferedUses
}

// add counts the uses of keys among records. Sessions, of which each log-in makes another one, have no
// counts but those of months.
func (b *usageBuffer) add(records []eventstore.Record, checkpoint eventstore.Checkpoint) error {
	for i := range records {
		u, ok := records[i].Event.(domain.KeyUsed)
		if !ok || records[i].Position <= b.checkpoint.Position {
			continue
		}
		b.countMonth(&records[i], &u)
		if u.Key.IsSession() {
			b.clock.see(max(u.At.UnixMilli(), 0), records[i].Stored.UnixMilli())
			b.uses++
			continue
		}
		if err := b.count(&records[i], &u); err != nil {
			return fmt.Errorf("use %s: %w", records[i].Identity(), err)
		}
	}
	if checkpoint.Position > b.checkpoint.Position {
		b.checkpoint = checkpoint
	}
	return nil
}

func (b *usageBuffer) count(r *eventstore.Record, u *domain.KeyUsed) error {
	at := max(u.At.UnixMilli(), 0)
	b.clock.see(at, r.Stored.UnixMilli())
	key := u.Key.Bytes()
	i, known := b.index[key]
	if !known {
		i = len(b.all)
		b.index[key] = i
		b.all = append(b.all, keyUses{key: key, org: r.Org.Bytes(), hour: at / hourMillis})
	}
	k := &b.all[i]
	if k.org != r.Org.Bytes() {
		return wrongOrganization(u.Key, domain.OrgIDFromBytes(k.org), r.Org)
	}
	before := len(k.hours) + len(k.windows)
	if err := k.count(u, instant{b.clock.epoch, at}); err != nil {
		return err
	}
	b.rows += len(k.hours) + len(k.windows) - before
	b.uses += int(u.Uses())
	return nil
}

func (k *keyUses) count(u *domain.KeyUsed, now instant) error {
	outcome := slices.Index(domain.Outcomes[:], u.Code)
	if outcome < 0 {
		return fmt.Errorf("%w: unknown outcome %q: written by a newer version?", errUnappliable, u.Code)
	}
	if k.last.before(now) {
		k.last = now
	}
	if hour := now.at / hourMillis; hour == k.hour {
		k.counts[outcome] += uint32(u.Uses())
	} else {
		k.countHour(hour, outcome, u.Uses())
	}
	if u.Code != domain.UseValid {
		return nil
	}
	for _, length := range u.Windows {
		if length <= 0 {
			return fmt.Errorf("%w: a window of %d ms", errUnappliable, length)
		}
		if k.windows == nil {
			k.windows = map[int64]windowUses{}
		}
		start := instant{now.epoch, domain.WindowAt(length, now.at).Start}
		k.windows[length] = k.windows[length].plus(windowUses{start, max(u.Cost, 1)})
	}
	return nil
}

func (k *keyUses) countHour(hour int64, outcome int, uses int64) {
	if k.hours == nil {
		k.hours = map[int64]counts{}
	}
	c := k.hours[hour]
	c[outcome] += uint64(uses)
	k.hours[hour] = c
}

// sortedHours are the hours in which the key was used.
func (k *keyUses) sortedHours() []int64 {
	hours := append(slices.Collect(maps.Keys(k.hours)), k.hour)
	slices.Sort(hours)
	return hours
}

func (k *keyUses) countsOf(hour int64) (c counts) {
	if hour != k.hour {
		return k.hours[hour]
	}
	for i, n := range k.counts {
		c[i] = uint64(n)
	}
	return c
}

// close sorts the buffer for a flush.
func (b *usageBuffer) close() {
	b.closed = true // indexes change
	b.sortMonths()
	slices.SortFunc(b.all, func(x, y keyUses) int { return bytes.Compare(x.key[:], y.key[:]) })
}

// from is the index of the first key that is not before key. The buffer is closed.
func (b *usageBuffer) from(key [idSize]byte) int {
	at, _ := slices.BinarySearchFunc(b.all, key, func(k keyUses, key [idSize]byte) int { return bytes.Compare(k.key[:], key[:]) })
	return at
}

// reset forgets all, for what comes after checkpoint. Memory that was of use is kept: to grow it
// again would copy a hundred megabytes.
func (b *usageBuffer) reset(checkpoint eventstore.Checkpoint, clock usageClock) {
	summed := b.summed
	if len(b.all) <= cap(b.all)/4 {
		*b = *newUsageBuffer()
	}
	clear(b.index)
	clear(b.all)
	clear(b.months)
	*b = usageBuffer{index: b.index, months: b.months, all: b.all[:0], summed: summed, checkpoint: checkpoint, clock: clock}
}
