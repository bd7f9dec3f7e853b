package projections

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// A Meter names what counts the valid uses of one month: of an organization, of an owner, or of a
// key.
type Meter struct {
	Month domain.Month
	Of    domain.UsesOf
	ID    [idSize]byte
}

// MeterOf is the one in which the uses of a key count.
func MeterOf(c *Credential, of domain.UsesOf, month domain.Month) Meter {
	switch of {
	case domain.UsesOfOrganization:
		return Meter{month, of, c.OrgBytes()}
	case domain.UsesOfOwner:
		return Meter{month, of, domain.OwnerBytes(c.Org, c.Owner)}
	}
	return Meter{month, of, c.Key.Bytes()}
}

func (m Meter) row() []byte {
	return row(rowMonth, binary.BigEndian.AppendUint32(nil, uint32(m.Month)), []byte{byte(m.Of)}, m.ID[:])
}

func (m Meter) compare(n Meter) int {
	return cmp.Or(cmp.Compare(m.Month, n.Month), cmp.Compare(m.Of, n.Of), bytes.Compare(m.ID[:], n.ID[:]))
}

// monthsKept is how many months' uses have rows beside the present one's: more than clocks differ,
// and as many as are asked after.
const monthsKept = 12

// MonthlyUses is what the valid uses of a meter cost, by which quotas survive a restart.
func (s *Store) MonthlyUses(m Meter) (uses int64, err error) {
	err = s.usage.read(func(r rows) (err error) { uses, err = loadMeter(r, m); return err })
	return uses, err
}

func loadMeter(r rowMap, m Meter) (uses int64, err error) {
	_, err = r.get(m.row(), func(v []byte) error {
		n, _ := cutNumber(v)
		uses = int64(n)
		return nil
	})
	return uses, err
}

// countMonth counts a use that the plan of an organization had counted.
func (b *usageBuffer) countMonth(r *eventstore.Record, u *domain.KeyUsed) {
	org, month := r.Org, domain.MonthAt(u.At)
	if u.Plan == "" || u.Code != domain.UseValid || b.summed.has(r.Position, month) {
		return
	}
	cost, before := max(u.Cost, 1), len(b.months)
	b.months[Meter{month, domain.UsesOfOrganization, org.Bytes()}] += cost
	if !u.Key.IsSession() {
		b.months[Meter{month, domain.UsesOfKey, u.Key.Bytes()}] += cost
	}
	if u.Owner != "" {
		b.months[Meter{month, domain.UsesOfOwner, domain.OwnerBytes(org, u.Owner)}] += cost
	}
	b.rows += len(b.months) - before
}

// sortMonths fixes the order in which a flush writes the meters.
func (b *usageBuffer) sortMonths() {
	b.sorted = slices.SortedFunc(maps.Keys(b.months), Meter.compare)
}

// flushMonths adds the meters of the buffer to their rows, on from where f is, and reports whether all
// are.
func (w *usageWriter) flushMonths(b *usageBuffer, f *flushProgress) (done bool, err error) {
	for ; f.Months < len(b.sorted); f.Months++ {
		if w.written >= w.limit {
			return false, nil
		}
		m := b.sorted[f.Months]
		have, err := loadMeter(w.rows, m)
		if err != nil {
			return false, err
		}
		if err := w.put(m.row(), number(uint64(have+b.months[m]))); err != nil {
			return false, err
		}
	}
	return true, nil
}

// firstMonth is the first one whose meters have rows, by the ledger's time.
func (c usageClock) firstMonth() domain.Month { return domain.MonthAt(c.storedAt()) - monthsKept }

// pruneMonths deletes the meters of months that are over for long.
func (t *usageTable) pruneMonths() error {
	before := Meter{Month: max(t.buffer.clock.firstMonth(), 0)}.row()
	for more := true; more; {
		err := t.db.Update(func(tx *badger.Txn) (err error) {
			more, err = t.rows(tx).deleteBefore(rowMonth, before, flushLimit(t.db))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
