package projections

import (
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
	if err := s.keys.read(func(r rows) error { return totals.load(r) }); err != nil {
		all <- prometheus.NewInvalidMetric(keysMetric, err)
		return
	}
	for state := domain.Active; state <= domain.Revoked; state++ {
		all <- prometheus.MustNewConstMetric(keysMetric, prometheus.GaugeValue, float64(totals[state]), state.String())
	}
}
