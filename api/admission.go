package api

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/internal/inflight"
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

// An admission is the admission control of the API: it counts requests and streams, and
// refuses those beyond the limits.
//
// A request holds an in-flight slot while it is carried out: not while its body arrives, nor
// while its client takes the answer, so that slow clients hold none. It counts towards its
// address's quota over all of that time. A stream holds neither, but one of the slots of streams.
type admission struct {
	Limits
	inFlight, streams atomic.Int64
	byAddress         *inflight.Counts[netip.Addr]
	byKey             *inflight.Counts[string]
	byOrg             *inflight.Counts[domain.OrgID]
	pages, replays    orgSlots
	tiles, tests, sso orgSlots
	refused           *prometheus.CounterVec
}

func newAdmission(l Limits, metrics prometheus.Registerer) *admission {
	a := &admission{Limits: l.withDefaults(), byAddress: inflight.New[netip.Addr](), byKey: inflight.New[string](), byOrg: inflight.New[domain.OrgID](),
		pages: newOrgSlots("pages", maxPages, maxPagesPerOrg, domain.ErrTooManyPages), replays: newOrgSlots("replays", maxReplays, maxReplaysPerOrg, domain.ErrTooManyReplays),
		tiles: newOrgSlots("tiles", maxTiles, maxTilesPerOrg, domain.ErrTooManyPages), tests: newOrgSlots("tests", maxTests, maxTestsPerOrg, domain.ErrTooManyTests), sso: newOrgSlots("sso", maxSSO, maxSSOPerOrg, domain.ErrTooManySSO),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_http_refused_total", Help: "Requests refused because a limit was reached, by limit."}, []string{"limit"})}
	for _, limit := range []string{"in_flight", "in_flight_per_address", "streams", "streams_per_key", "pages", "pages_per_org", "replays", "replays_per_org", "tiles", "tiles_per_org", "tests", "tests_per_org", "sso", "sso_per_org"} {
		a.refused.WithLabelValues(limit)
	}
	gauge := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
	}
	metrics.MustRegister(a.refused, gauge("keytrail_http_in_flight", "Requests being carried out.", &a.inFlight),
		gauge("keytrail_http_streams", "Event streams and long polls.", &a.streams))
	return a
}

func (a *admission) refuse(limit string, e *domain.Error) error {
	a.refused.WithLabelValues(limit).Inc()
	return e
}

// How many pages and replays of events are read, and are on the way to their clients, at once:
// each holds a megabyte or two. maxSlotWait is how long one waits when all slots are taken; an
// organization that has its part is refused at once, so that no tenant keeps the others waiting.
const (
	maxPages         = 64
	maxPagesPerOrg   = 8
	maxReplays       = 32
	maxReplaysPerOrg = 8

	// Tiles of the Merkle logs, and bundles of entries, are for keys of the installation, whose
	// requests wait for each other: an auditor may ask for many at once.
	maxTiles       = 8
	maxTilesPerOrg = 1024

	// A test of a sink waits for its receiver, which may let it wait for seconds, and holds a slot in
	// flight for as long.
	maxTests       = 64
	maxTestsPerOrg = 4
)

var maxSlotWait = 5 * time.Second

// orgSlots are the slots for one kind of request, of which an organization has a part at most.
type orgSlots struct {
	kind    string        // in metrics
	slots   chan struct{} // a semaphore
	perOrg  int
	byOrg   *inflight.Counts[domain.OrgID]
	refusal *domain.Error // of more than perOrg
}

func newOrgSlots(kind string, slots, perOrg int, refusal *domain.Error) orgSlots {
	return orgSlots{kind, make(chan struct{}, slots), perOrg, inflight.New[domain.OrgID](), refusal}
}

// acquireFor takes a slot for an organization, until release is called.
func (a *admission) acquireFor(ctx context.Context, s *orgSlots, org domain.OrgID) (release func(), err error) {
	if s.byOrg.Enter(org) > s.perOrg {
		s.byOrg.Leave(org)
		return nil, a.refuse(s.kind+"_per_org", s.refusal)
	}
	timeout := time.NewTimer(maxSlotWait)
	defer timeout.Stop()
	select {
	case s.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-s.slots; s.byOrg.Leave(org) }), nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = a.refuse(s.kind, domain.ErrOverloaded)
	}
	s.byOrg.Leave(org)
	return nil, err
}

// A slot is what one request holds of the limits. Only its own goroutine uses it.
type slot struct {
	admission *admission
	address   netip.Addr // whose quota it counts towards, if any
	inFlight  bool
}

// acquireAddress counts the request towards the quota of address.
func (s *slot) acquireAddress(address netip.Addr) error {
	if !address.IsValid() {
		return nil // not TCP: a test's request
	}
	s.address = inflight.Holder(address)
	if s.admission.byAddress.Enter(s.address) > s.admission.InFlightPerAddress {
		return s.admission.refuse("in_flight_per_address", domain.ErrTooManyRequests)
	}
	return nil
}

// acquireInFlight takes an in-flight slot.
func (s *slot) acquireInFlight() error {
	s.inFlight = true
	if s.admission.inFlight.Add(1) > int64(s.admission.InFlight) {
		return s.admission.refuse("in_flight", domain.ErrOverloaded)
	}
	return nil
}

func (s *slot) releaseInFlight() {
	if s.inFlight {
		s.inFlight = false
		s.admission.inFlight.Add(-1)
	}
}

// release gives everything back.
func (s *slot) release() {
	s.releaseInFlight()
	if s.address.IsValid() {
		s.admission.byAddress.Leave(s.address)
		s.address = netip.Addr{}
	}
}

// acquireStream makes a request a stream of principal: it gives back what the request holds
// and takes a slot among streams, until release is called. The keys of one organization together
// have at most half of these, so that no tenant cuts off another's auditors.
func (s *server) acquireStream(w http.ResponseWriter, principal domain.Principal) (release func(), err error) {
	a := s.admission
	release = func() {
		a.streams.Add(-1)
		a.byKey.Leave(principal.ID)
		a.byOrg.Leave(principal.Org)
	}
	all, key, org := a.streams.Add(1), a.byKey.Enter(principal.ID), a.byOrg.Enter(principal.Org)
	switch {
	case key > a.StreamsPerKey || !principal.Reach().All && org > max(1, a.Streams/2):
		err = a.refuse("streams_per_key", domain.ErrTooManyKeyStreams)
	case all > int64(a.Streams):
		err = a.refuse("streams", domain.ErrTooManyStreams)
	}
	if err != nil {
		release()
		return nil, err
	}
	recorder := w.(*responseRecorder)
	recorder.release()
	recorder.streaming = true
	return release, nil
}
