package projections

import (
	"github.com/keytrail/keytrail/domain"
)

// keyTotals are the numbers of keys by state. They are a row of the keys table.
type keyTotals [domain.Revoked + 1]int64

// stateOnLedger is the state that the ledger tells of k, without a clock.
func stateOnLedger(k domain.Key) domain.State {
	if (k.State == domain.Active || k.State == domain.Disabled) && k.ExpiryRecorded() {
		return domain.Expired
	}
	return k.State
}

// move counts a key that has changed. The count of Absent goes below zero; no metric has it.
func (t *keyTotals) move(before, after domain.Key) {
	t[stateOnLedger(before)]--
	t[stateOnLedger(after)]++
}

func (t *keyTotals) load(r rowMap) error {
	_, err := r.get(row(rowKeyTotals), func(v []byte) error {
		for i := 0; i < len(t) && len(v) > 0; i++ { // a row that was written before a state was added has fewer
			var n uint64
			n, v = cutNumber(v)
			t[i] = int64(n)
		}
		return nil
	})
	return err
}

// add changes the row by t.
func (t keyTotals) add(r rowMap) error {
	var sum keyTotals
	if err := sum.load(r); err != nil {
		return err
	}
	for i := range sum {
		sum[i] += t[i]
	}
	return r.set(row(rowKeyTotals), sum.encode())
}

func (t keyTotals) encode() (value []byte) {
	for i := range t {
		value = append(value, number(uint64(t[i]))...)
	}
	return value
}
