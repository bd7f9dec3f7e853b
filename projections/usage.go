package projections

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/keytrail/keytrail/domain"
)

// The kinds of rows of the usage table.
const (
	rowUsage    = 'u' // key → its organization, last use, totals, the counts of its latest hour
	rowHour     = 'h' // week, key, hour of the week → counts of an earlier hour
	rowLastUsed = 'l' // org, last use, key
	rowWindow   = 'w' // key, length of a rate limit's window → its start, valid uses in it
	rowMonth    = 'm' // month, whose, id → valid uses of it, of organizations with a plan; see Meter
	rowClock    = 'c' // → the time as the uses tell it
	rowSummed   = 's' // → up to where the meters are not counted here; see summedMonths
)

// counts are numbers of uses, each outcome's at its place in domain.Outcomes.
type counts [len(domain.Outcomes)]uint64

const hourMillis = int64(time.Hour / time.Millisecond)

func (c *counts) add(d counts) {
	for i := range c {
		c[i] += d[i]
	}
}

// encode says first how many counts follow, so that a new outcome, which comes last, needs
// no new version of the rows: those written before have none of it.
func (c counts) encode(b []byte) []byte {
	b = append(b, byte(len(c)))
	for _, n := range c {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (c *counts) decode(b []byte) (rest []byte, err error) {
	outcomes := int(b[0])
	if outcomes > len(c) {
		return nil, fmt.Errorf("a row counts %d outcomes, and only %d are known: written by a newer version?", outcomes, len(c))
	}
	*c = counts{}
	b = b[1:]
	for i := range outcomes {
		n, size := binary.Uvarint(b)
		c[i], b = n, b[size:]
	}
	return b, nil
}

// windowUses counts the valid uses in a window of a rate limit since its start, each as often as it
// costs.
type windowUses struct {
	start instant
	count int64
}

// plus adds up what belongs to the same window; of two windows the later one counts.
func (w windowUses) plus(v windowUses) windowUses {
	switch {
	case w.start.before(v.start):
		return v
	case v.start.before(w.start):
		return w
	}
	return windowUses{w.start, w.count + v.count}
}

func (w windowUses) encode() []byte { return append(w.start.encode(), number(uint64(w.count))...) }

func (w *windowUses) decode(v []byte) error {
	w.start, v = cutInstant(v)
	n, _ := cutNumber(v)
	w.count = int64(n)
	return nil
}

// A usage is a key's row.
type usage struct {
	org    [idSize]byte
	last   instant
	hour   int64 // the latest hour in which it was used
	totals counts
	latest counts // of that hour
}

func loadUsage(r rowMap, key [idSize]byte) (u usage, found bool, err error) {
	found, err = r.get(row(rowUsage, key[:]), u.decode)
	return u, found, err
}

func (u *usage) encode() []byte {
	b := slices.Concat(u.org[:], u.last.encode(), number(uint64(u.hour)))
	return u.latest.encode(u.totals.encode(b))
}

func (u *usage) decode(v []byte) (err error) {
	u.org, v = [idSize]byte(v), v[idSize:]
	u.last, v = cutInstant(v)
	hour, v := cutNumber(v)
	u.hour = int64(hour)
	if v, err = u.totals.decode(v); err != nil {
		return err
	}
	_, err = u.latest.decode(v)
	return err
}

func loadLastUsed(r rows, id domain.KeyID) (time.Time, error) {
	u, found, err := loadUsage(r, id.Bytes())
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
