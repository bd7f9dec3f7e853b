package eventstore

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measure registers the ledger's metrics with to, which may be nil.
func (l *Ledger) measure(to prometheus.Registerer) {
	l.latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keytrail_ledger_append_seconds", Help: "Time until an append was acknowledged or failed.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18), // 0.1 ms to 13 s: Deadline is within
	}, []string{"stream"})
	l.errors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytrail_ledger_append_errors_total", Help: "Appends that failed, by what is known of them: unknown, conflict, unavailable or refused.",
	}, []string{"stream", "failure"})
	for _, s := range Streams {
		for f := Unknown; f <= Refused; f++ {
			l.errors.WithLabelValues(s.String(), f.String()) // so that the first one is an increase
		}
	}
	l.commits.sizes = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "keytrail_ledger_batch_events", Help: "Events of each atomic batch that was acknowledged.",
		Buckets: prometheus.ExponentialBuckets(minBatch, 2, 8), // to 1024: maxAtomicMessages is within
	})
	l.commits.failed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytrail_ledger_batches_failed_total", Help: "Atomic batches that were not acknowledged, and whose events were appended singly.",
	})
	if to == nil {
		return
	}
	to.MustRegister(l.latency, l.errors, l.commits.sizes, l.commits.failed)
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("keytrail_ledger_connected", "1 while there is a connection to the ledger.", nil, func() float64 {
		if l.nc.IsConnected() {
			return 1
		}
		return 0
	})
	gauge("keytrail_ledger_acknowledged_timestamp_seconds", "When an append of this process, or its heartbeat, was last acknowledged.", nil, seconds(&l.acknowledged))
	for s := range l.health {
		gauge("keytrail_ledger_heard_timestamp_seconds", "When the reader of the stream last heard from the server.",
			prometheus.Labels{"stream": Stream(s).String()}, seconds(&l.health[s].heard))
	}
}

// seconds gives a time as Prometheus has it, 0 before it is known.
func seconds(t *atomic.Pointer[time.Time]) func() float64 {
	return func() float64 {
		if at := t.Load(); at != nil {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	}
}
