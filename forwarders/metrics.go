package forwarders

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/eventstore"
)

// maxSinkLabels is how many sinks have series of their own. Beyond it they are summed up by type:
// ten thousand sinks would be more series than all others together.
const maxSinkLabels = 200

// metrics are those of the sinks. What a sink is like is asked of the passes when it is scraped;
// only the process that forwards knows.
type metrics struct {
	retries, rejected *prometheus.CounterVec
	delivered         *prometheus.CounterVec
	seconds           *prometheus.HistogramVec

	mu     sync.Mutex
	tenure *tenure // nil: another process forwards
}

var (
	leader      = prometheus.NewDesc("keytrail_sinks_leader", "1 while this process forwards to sinks.", nil, nil)
	lagEvents   = prometheus.NewDesc("keytrail_sink_lag_events", "Positions of the ledger between a sink and the end; 0 if it has all that it is to get.", []string{"sink", "type"}, nil)
	lagSeconds  = prometheus.NewDesc("keytrail_sink_lag_seconds", "How old the oldest event is that a sink has under way.", []string{"sink", "type"}, nil)
	lastSuccess = prometheus.NewDesc("keytrail_sink_last_success_timestamp_seconds", "When a receiver last took something; of sinks that are summed up, the longest ago of those that took anything.", []string{"sink", "type"}, nil)
	sinkState   = prometheus.NewDesc("keytrail_sink_state", "Sinks in a state: active, failing or paused.", []string{"sink", "type", "state"}, nil)
)

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{
		retries:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_sink_retries_total", Help: "Attempts to deliver that failed and are repeated."}, []string{"type"}),
		rejected:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_sink_rejected_total", Help: "Events that receivers rejected for good: dead letters."}, []string{"type"}),
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_sink_delivered_total", Help: "Events that receivers took."}, []string{"type"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keytrail_sink_send_seconds", Help: "Time of an attempt to deliver.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"type"}), // 1 ms to 65 s: sendTimeout is within
	}
	if to != nil {
		to.MustRegister(m.retries, m.rejected, m.delivered, m.seconds, m)
	}
	return m
}

// follow makes t the tenure that is asked.
func (m *metrics) follow(t *tenure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tenure = t
}

func (m *metrics) sent(of domain.SinkType, took time.Duration, accepted int) {
	m.seconds.WithLabelValues(string(of)).Observe(took.Seconds())
	m.delivered.WithLabelValues(string(of)).Add(float64(accepted))
}

// Describe and Collect make metrics a Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leader, lagEvents, lagSeconds, lastSuccess, sinkState} {
		to <- d
	}
}

// Collect asks each sink.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	t := m.tenure
	m.mu.Unlock()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if t == nil {
		gauge(leader, 0)
		return
	}
	gauge(leader, 1)
	for k, f := range summedUp(t.figures()) {
		gauge(lagEvents, f.lagEvents, k.sink, k.of)
		gauge(lagSeconds, f.lagSeconds, k.sink, k.of)
		gauge(lastSuccess, f.lastSuccess, k.sink, k.of)
		for state, n := range f.states {
			gauge(sinkState, float64(n), k.sink, k.of, state)
		}
	}
}

// A series is the labels of a sink, or of all of a type.
type series struct{ sink, of string }

// figures are what is told of a series.
type figures struct {
	series
	lagEvents, lagSeconds, lastSuccess float64
	states                             map[string]int
}

// summedUp are the figures of each sink, or of each type if there are many.
func summedUp(all []figures) map[series]figures {
	sums := map[series]figures{}
	for _, f := range all {
		k := f.series
		if len(all) > maxSinkLabels {
			k.sink = ""
		}
		sum, ok := sums[k]
		if !ok {
			sums[k] = f
			continue
		}
		sum.lagEvents += f.lagEvents
		sum.lagSeconds = max(sum.lagSeconds, f.lagSeconds)
		if sum.lastSuccess == 0 || f.lastSuccess > 0 && f.lastSuccess < sum.lastSuccess { // 0: never
			sum.lastSuccess = f.lastSuccess
		}
		for state, n := range f.states {
			sum.states[state] += n
		}
		sums[k] = sum
	}
	return sums
}

// figures are those of each sink.
func (t *tenure) figures() (all []figures) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.slots {
		s.now.Lock()
		all = append(all, s.figures())
		s.now.Unlock()
	}
	return all
}

// The states of sinks.
const (
	stateActive  = "active"
	stateFailing = "failing"
	statePaused  = "paused"
)

func (s *slot) figures() figures {
	f := figures{series: series{string(s.now.id), string(s.now.of)}, states: map[string]int{stateActive: 0, stateFailing: 0, statePaused: 0}}
	p := s.now.live
	if p == nil {
		f.states[statePaused]++
		return f
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.checkpoint
	if !c.LastSuccess.IsZero() {
		f.lastSuccess = float64(c.LastSuccess.UnixMilli()) / 1000
	}
	if len(p.underWay) > 0 {
		for _, stream := range eventstore.Streams {
			f.lagEvents += float64(max(p.engine().Ledger.LastEnd(stream), c.Cursor.At[stream]) - c.Cursor.At[stream])
		}
		if oldest := p.underWay[0]; !oldest.IsZero() {
			f.lagSeconds = max(0, p.engine().Now().Sub(oldest).Seconds())
		}
	}
	state := stateActive
	if !c.FailingSince.IsZero() {
		state = stateFailing
	}
	f.states[state]++
	return f
}
