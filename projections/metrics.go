package projections

import "github.com/prometheus/client_golang/prometheus"

var lagMetric = prometheus.NewDesc("keytrail_projection_lag_messages", "Messages of the ledger that a projection has not applied.", []string{"projection"}, nil)

// lags is the lag of each projection as it is when it is asked for.
type lags struct{ *Store }

// Describe tells the metric's name.
func (lags) Describe(to chan<- *prometheus.Desc) { to <- lagMetric }

// Collect measures. Before Run nothing is known of the ledger.
func (l lags) Collect(to chan<- prometheus.Metric) {
	if l.ledger.Load() == nil {
		return
	}
	for _, p := range l.Status() {
		to <- prometheus.MustNewConstMetric(lagMetric, prometheus.GaugeValue, float64(p.Lag), p.Name)
	}
}
