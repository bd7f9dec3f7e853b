package projections

import (
	"encoding/binary"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

var (
	lagMetric = prometheus.NewDesc("keytrail_projection_lag_messages",
		"Messages of the ledger, as last heard of it, that a projection has not applied.", []string{"projection"}, nil)
	keysMetric = prometheus.NewDesc("keytrail_keys",
		"Keys by state. A key counts as expired once that is on the ledger.", []string{"state"}, nil)
)

// collector computes the metrics when they are asked for, from memory and one row: it does
// not ask the ledger, of which nothing is known before Run.
type collector struct{ *Store }

// Describe is part of prometheus.Collector.
func (collector) Describe(all chan<- *prometheus.Desc) {
	all <- lagMetric
	all <- keysMetric
}

// Collect is part of prometheus.Collector.
func (s collector) Collect(all chan<- prometheus.Metric) {
	if s.ledger.Load() != nil {
		for _, p := range s.Status() {
			all <- prometheus.MustNewConstMetric(lagMetric, prometheus.GaugeValue, float64(p.Lag), p.Name)
		}
	}
	var totals keyTotals
	if err := s.view(s.keys(), totals.load); err != nil {
		all <- prometheus.NewInvalidMetric(keysMetric, err)
		return
	}
	for state := domain.Active; state <= domain.Revoked; state++ {
		all <- prometheus.MustNewConstMetric(keysMetric, prometheus.GaugeValue, float64(totals[state]), state.String())
	}
}

// keyTotals are the numbers of keys by state. They are a row of the keys table.
type keyTotals [domain.Revoked + 1]int64

// stateOnLedger is the state that the ledger tells of k, without a clock.
func stateOnLedger(k domain.Key) domain.State {
	if (k.State == domain.Active || k.State == domain.Disabled) && k.ExpiryRecorded() {
		return domain.Expired
	}
	return k.State
}

// move counts a key that has changed. Of absent ones there are fewer and fewer.
func (t *keyTotals) move(before, after domain.Key) {
	t[stateOnLedger(before)]--
	t[stateOnLedger(after)]++
}

func (t *keyTotals) load(r rows) error {
	_, err := r.get(row(rowKeyTotals), func(v []byte) error {
		for i := range t {
			t[i] = int64(binary.BigEndian.Uint64(v[8*i:]))
		}
		return nil
	})
	return err
}

// add changes the row by t.
func (t keyTotals) add(r rows) error {
	var sum keyTotals
	if err := sum.load(r); err != nil {
		return err
	}
	var value []byte
	for i := range sum {
		value = append(value, number(uint64(sum[i]+t[i]))...)
	}
	return r.set(row(rowKeyTotals), value)
}
