package reactions

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/eventstore"
)

// metrics are those of the process that has the lease; others only tell that they have it not.
type metrics struct {
	effects  *prometheus.CounterVec
	failures prometheus.Counter
	now      func() time.Time

	mu      sync.Mutex
	leads   bool
	failing bool
	lag     uint64
	oldest  time.Time // of what is being reacted to; zero: nothing is
}

var (
	leader     = prometheus.NewDesc("keytrail_reactions_leader", "1 while this process reacts to events.", nil, nil)
	failing    = prometheus.NewDesc("keytrail_reactions_failing", "1 while the last attempt to react has failed.", nil, nil)
	lagEvents  = prometheus.NewDesc("keytrail_reactions_lag_events", "Events about people and keyspaces that are not reacted to yet, as last heard.", nil, nil)
	lagSeconds = prometheus.NewDesc("keytrail_reactions_lag_seconds", "How old the oldest event is that is being reacted to.", nil, nil)
)

func newMetrics(to prometheus.Registerer, now func() time.Time) *metrics {
	m := &metrics{now: now,
		effects:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_reactions_total", Help: "What followed from events: keys that were issued, keys that were revoked, commands that were refused."}, []string{"effect"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "keytrail_reactions_failures_total", Help: "Attempts to react that failed and are repeated."}),
	}
	for _, effect := range []string{"issued", "revoked", "refused"} {
		m.effects.WithLabelValues(effect)
	}
	if to != nil {
		to.MustRegister(m.effects, m.failures, m)
	}
	return m
}

func (m *metrics) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *metrics) lead(leads bool) {
	m.set(func() { m.leads, m.failing, m.lag, m.oldest = leads, false, 0, time.Time{} })
}

func (m *metrics) fail() {
	m.failures.Inc()
	m.set(func() { m.failing = true })
}

// begin notes what is being reacted to.
func (m *metrics) begin(b *eventstore.Batch) {
	m.set(func() { m.lag, m.oldest = uint64(len(b.Messages))+b.Pending, b.Records[0].Time })
}

// done notes what became of it, and what else is there.
func (m *metrics) done(d done, pending uint64) {
	m.effects.WithLabelValues("issued").Add(float64(d.issued))
	m.effects.WithLabelValues("revoked").Add(float64(d.revoked))
	m.effects.WithLabelValues("refused").Add(float64(len(d.refusals)))
	m.set(func() { m.failing, m.lag, m.oldest = false, pending, time.Time{} })
}

// Failing reports whether this process reacts to events and the last attempt has failed.
func (e *Engine) Failing() (fails bool) {
	e.metrics.set(func() { fails = e.metrics.leads && e.metrics.failing })
	return fails
}

// Describe and Collect make metrics a Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leader, failing, lagEvents, lagSeconds} {
		to <- d
	}
}

// Collect tells what is known of the last batch.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	m.set(func() {
		gauge(leader, flag(m.leads))
		gauge(failing, flag(m.failing))
		if !m.leads {
			return
		}
		gauge(lagEvents, float64(m.lag))
		age := 0.0
		if !m.oldest.IsZero() {
			age = max(0, m.now().Sub(m.oldest).Seconds())
		}
		gauge(lagSeconds, age)
	})
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
