package verify

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

// outcomeCounters count verifications by outcome, from zero on for each.
type outcomeCounters struct {
	total *prometheus.CounterVec
	known map[domain.Outcome]prometheus.Counter // its counters, which cost less than looking one up
}

func newOutcomeCounters() outcomeCounters {
	c := outcomeCounters{known: map[domain.Outcome]prometheus.Counter{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_verifications_total", Help: "Verifications by outcome."}, []string{"outcome"})}
	for _, o := range domain.Outcomes {
		c.known[o] = c.total.WithLabelValues(string(o))
	}
	return c
}

// count counts one verification, also one with an outcome that domain.Outcomes lacks.
func (c *outcomeCounters) count(o domain.Outcome) {
	counter, known := c.known[o]
	if !known {
		counter = c.total.WithLabelValues(string(o))
	}
	counter.Inc()
}
