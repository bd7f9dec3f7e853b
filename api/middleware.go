package api

import (
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

const verifyPath = "/v1/verify"

// A middleware is what every request passes on its way to its route: an id, a place among
// those in flight, and on its way out a count, a log line and whatever panicked.
type middleware struct {
	*server
	ids      *requestIDs
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec

	// Of verifications that succeed: looking them up would cost as much as a decision.
	verified   prometheus.Counter
	verifyTime prometheus.Observer
}

const verifyRoute = "POST " + verifyPath

func (s *server) middleware() http.Handler {
	m := &middleware{server: s, ids: newRequestIDs(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_http_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keytrail_http_request_seconds", Help: "Time to answer by route.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}, []string{"route"})}
	m.verified, m.verifyTime = m.requests.WithLabelValues(verifyRoute, "200"), m.latency.WithLabelValues(verifyRoute)
	s.Registry.MustRegister(m.requests, m.latency)
	return m
}

// isHealth tells whether a path is for those who watch the service: they are answered
// however busy it is.
func isHealth(path string) bool { return path == "/livez" || path == "/readyz" || path == "/metrics" }

func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := &passage{ResponseWriter: w, place: place{gate: m.gate}, id: m.ids.of(r), route: "none", begun: time.Now()}
	w.Header()["X-Request-Id"] = []string{p.id}
	if m.Tracing {
		r = p.startSpan(r)
	}
	ip := m.clientIP(r)
	if m.AccessLog != nil {
		defer m.logAccess(p, r, ip)
	}
	defer m.leave(p, r)
	switch path := r.URL.Path; {
	case path == verifyPath && r.Method == http.MethodPost:
		// Matching a pattern costs as much as deciding about a key, as does a context.
		p.route = verifyRoute
		m.verify(p, r, ip)
	case strings.HasPrefix(path, authorizePrefix):
		p.route = authorizeRoute
		m.authorize(p, withRequestID(r, p.id), ip)
	default:
		m.routed(p, withRequestID(r, p.id), ip)
	}
}

// routed answers a request by the route that its path and method have.
func (m *middleware) routed(p *passage, r *http.Request, ip netip.Addr) {
	handler, pattern := m.mux.Handler(r)
	if !isClean(r.URL.Path) {
		handler, pattern = http.NotFoundHandler(), "" // the router would redirect, or take %2F or %2E for part of a name
	}
	if pattern != "" {
		p.route = pattern
	}
	var err error
	if !isHealth(r.URL.Path) {
		err = m.admit(p, ip)
	}
	if err == nil {
		_, err = parseQuery(r)
	}
	switch {
	case err != nil:
		m.problem(p, r, err)
	case pattern == "":
		m.noRoute(p, r, handler)
	default:
		m.mux.ServeHTTP(p, r)
	}
}

// admit takes a share of the client's address and a place in flight.
func (m *middleware) admit(p *passage, ip netip.Addr) error {
	if err := m.share(p, ip); err != nil {
		return err
	}
	return p.takePlace()
}

// share takes a share of the client's address, unless that is a proxy's: then the clients
// behind it are not known.
func (m *middleware) share(p *passage, ip netip.Addr) error {
	if m.trusted(ip) {
		return nil
	}
	return p.takeShare(ip)
}

func isClean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}

// leave must be deferred itself, to recover.
func (m *middleware) leave(p *passage, r *http.Request) {
	p.freeAll()
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause) // breaks the connection off, as it is meant to
	default:
		m.Logger.ErrorContext(r.Context(), "panic", "request_id", p.id, "route", p.route, "panic", cause, "stack", string(debug.Stack()))
		if p.status == 0 {
			m.problem(p, r, domain.ErrInternal)
		}
	}
	if p.status == 0 {
		p.WriteHeader(http.StatusOK)
	}
	p.endSpan(r)
	took := time.Since(p.begun)
	if p.route == verifyRoute && p.status == http.StatusOK {
		m.verified.Inc()
		m.verifyTime.Observe(took.Seconds())
		return
	}
	m.requests.WithLabelValues(p.route, strconv.Itoa(p.status)).Inc()
	m.latency.WithLabelValues(p.route).Observe(took.Seconds())
	m.Logger.DebugContext(r.Context(), "request", "request_id", p.id, "route", p.route, "status", p.status, "took", took)
}

// noRoute says in our shape what the mux would say in text.
func (s *server) noRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	told := &silent{header: http.Header{}}
	h.ServeHTTP(told, r) // it tells a wrong method from a wrong path
	if told.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", told.header.Get("Allow"))
		s.problem(w, r, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+told.header.Get("Allow")))
		return
	}
	s.problem(w, r, domain.ErrRouteNotFound)
}

// silent takes an answer without sending it.
type silent struct {
	header http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) WriteHeader(status int)      { s.status = status }
func (s *silent) Write(b []byte) (int, error) { return len(b), nil }
