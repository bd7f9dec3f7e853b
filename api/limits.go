package api

import (
	"cmp"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/quota"
)

// Limits are how much work the API takes on at once. A zero field stands for its default.
type Limits struct {
	InFlight           int           // requests being carried out; 4096
	InFlightPerAddress int           // of them and of their bodies and answers on the way, from one address; half of InFlight
	Streams            int           // event streams and long polls; 1024
	StreamsPerKey      int           // of them for one key; 64
	WriteTimeout       time.Duration // until an answer, or a piece of a stream, is taken by its client; 10 s
}

func (l Limits) withDefaults() Limits {
	l.InFlight = cmp.Or(l.InFlight, 4096)
	l.InFlightPerAddress = cmp.Or(l.InFlightPerAddress, max(1, l.InFlight/2))
	l.Streams = cmp.Or(l.Streams, 1024)
	l.StreamsPerKey = cmp.Or(l.StreamsPerKey, 64)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, 10*time.Second)
	return l
}

// A gate counts requests and streams, and refuses those beyond the limits.
//
// A request holds a place in flight while it is carried out: not while its body arrives,
// nor while its client takes the answer, so that slow clients hold none. Its address holds
// a share over all of that time. A stream holds neither, but a place among streams.
type gate struct {
	Limits
	inFlight, streams atomic.Int64
	byAddress         *quota.Counts[netip.Addr]
	byKey             *quota.Counts[string]
	byOrg             *quota.Counts[domain.OrgID]
	refused           *prometheus.CounterVec
}

func newGate(l Limits, metrics prometheus.Registerer) *gate {
	g := &gate{Limits: l.withDefaults(), byAddress: quota.New[netip.Addr](), byKey: quota.New[string](), byOrg: quota.New[domain.OrgID](),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_http_refused_total", Help: "Requests refused because a limit was reached, by limit."}, []string{"limit"})}
	for _, limit := range []string{"in_flight", "in_flight_per_address", "streams", "streams_per_key"} {
		g.refused.WithLabelValues(limit)
	}
	gauge := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
	}
	metrics.MustRegister(g.refused, gauge("keytrail_http_in_flight", "Requests being carried out.", &g.inFlight),
		gauge("keytrail_http_streams", "Event streams and long polls.", &g.streams))
	return g
}

func (g *gate) refuse(limit string, e *domain.Error) error {
	g.refused.WithLabelValues(limit).Inc()
	return e
}

// A place is what one request holds. Only its own goroutine uses it.
type place struct {
	gate    *gate
	address netip.Addr // that holds a share, if any does
	holds   bool       // a place in flight
}

// takeShare takes a share of address.
func (p *place) takeShare(address netip.Addr) error {
	if !address.IsValid() {
		return nil // not TCP: a test's request
	}
	p.address = quota.Holder(address)
	if p.gate.byAddress.Enter(p.address) > p.gate.InFlightPerAddress {
		return p.gate.refuse("in_flight_per_address", domain.ErrTooManyRequests)
	}
	return nil
}

// takePlace takes a place in flight.
func (p *place) takePlace() error {
	p.holds = true
	if p.gate.inFlight.Add(1) > int64(p.gate.InFlight) {
		return p.gate.refuse("in_flight", domain.ErrOverloaded)
	}
	return nil
}

// freePlace gives the place in flight back.
func (p *place) freePlace() {
	if p.holds {
		p.holds = false
		p.gate.inFlight.Add(-1)
	}
}

// freeAll gives everything back.
func (p *place) freeAll() {
	p.freePlace()
	if p.address.IsValid() {
		p.gate.byAddress.Leave(p.address)
		p.address = netip.Addr{}
	}
}

// whileReading gives a request's place in flight back while read reads its body, and takes
// one again.
func whileReading(w http.ResponseWriter, read func()) error {
	p := w.(*passage)
	p.freePlace()
	read()
	return p.takePlace()
}

// stream makes a request a stream of principal: it gives back what the request holds and
// takes a place among streams, until done is called. The keys of one organization together have
// at most half of these places, so that no tenant cuts off another's auditors.
func (s *server) stream(w http.ResponseWriter, principal domain.Principal) (done func(), err error) {
	g := s.gate
	done = func() {
		g.streams.Add(-1)
		g.byKey.Leave(principal.ID)
		g.byOrg.Leave(principal.Org)
	}
	all, key, org := g.streams.Add(1), g.byKey.Enter(principal.ID), g.byOrg.Enter(principal.Org)
	switch {
	case key > g.StreamsPerKey || !principal.Reach().All && org > max(1, g.Streams/2):
		err = g.refuse("streams_per_key", domain.ErrTooManyKeyStreams)
	case all > int64(g.Streams):
		err = g.refuse("streams", domain.ErrTooManyStreams)
	}
	if err != nil {
		done()
		return nil, err
	}
	p := w.(*passage)
	p.freeAll()
	p.streaming = true
	return done, nil
}
