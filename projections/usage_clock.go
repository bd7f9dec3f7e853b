package projections

import (
	"time"
)

// An instant is a time that a node's clock told, in milliseconds since the Unix epoch.
// Clocks are set: of two instants the later one is that of the later clock epoch, whatever
// their times, or else a clock that was ahead for a second would outdo the true time until
// it comes.
type instant struct {
	epoch uint64
	at    int64
}

func (i instant) encode() []byte { return append(number(i.epoch), number(uint64(i.at))...) }

func cutInstant(b []byte) (i instant, rest []byte) {
	epoch, b := cutNumber(b)
	at, b := cutNumber(b)
	return instant{epoch, int64(at)}, b
}

func (i instant) before(j instant) bool {
	return i.epoch < j.epoch || i.epoch == j.epoch && i.at < j.at
}

// A usageClock is the time as the uses on the ledger tell it, in their order. It depends on
// nothing else, so that a rebuild sees the same time.
type usageClock struct {
	epoch  uint64 // how often the time went back by more than clockSlack
	latest int64  // of the uses, in this epoch
	stored int64  // the latest at which the ledger stored one
}

// clockSlack is how far uses may lie out of order without a clock having been set back:
// nodes collect them for moments, repeat them for some seconds, and differ a little.
const clockSlack = int64(15 * time.Minute / time.Millisecond)

// see moves the clock on to a use.
func (c *usageClock) see(at, stored int64) {
	if at < c.latest-clockSlack {
		c.epoch++
		c.latest = at
	}
	c.latest, c.stored = max(c.latest, at), max(c.stored, stored)
}

// usageKept is how long the counts of an hour are kept at least: it is the longest span of
// a usage report, and the default age of uses on the ledger. They go by whole weeks.
var usageKept = 400 * 24 * time.Hour // tests lower it

const hoursPerWeek = 7 * 24

// firstWeek is the first week since the Unix epoch whose hours are kept. The ledger's time
// decides, not that of the nodes, whose clocks may have been wrong for a moment.
func (c usageClock) firstWeek() int64 {
	return max(c.stored-usageKept.Milliseconds(), 0) / hourMillis / hoursPerWeek
}

// storedAt is the ledger's time.
func (c usageClock) storedAt() time.Time { return time.UnixMilli(c.stored) }

func (c usageClock) encode() []byte {
	return append(instant{c.epoch, c.latest}.encode(), number(uint64(c.stored))...)
}

func (c *usageClock) decode(v []byte) error {
	latest, v := cutInstant(v)
	stored, _ := cutNumber(v)
	*c = usageClock{latest.epoch, latest.at, int64(stored)}
	return nil
}

func loadUsageClock(r rows) (c usageClock, err error) {
	_, err = r.get(row(rowClock), c.decode)
	return c, err
}
