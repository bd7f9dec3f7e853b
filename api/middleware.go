package api

import (
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytrail/keytrail/domain"
)

const (
	verifyPath  = "/v1/verify"
	verifyScope = "keys:verify"
)

// A middleware is what every request passes on its way to its route: it gets an id and an
// in-flight slot, and on its way out it is counted and logged, and a panic is recovered.
type middleware struct {
	*server
	ids      *requestIDs
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec

	// Of verifications and what gateways ask, with status 200: looking them up would cost as much
	// as a decision.
	frequent map[string]routeMetrics
}

// routeMetrics are those of one route and status.
type routeMetrics struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

const verifyRoute = "POST " + verifyPath

func (s *server) middleware() http.Handler {
	m := &middleware{server: s, ids: newRequestIDs(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keytrail_http_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keytrail_http_request_seconds", Help: "Time to answer by route.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}, []string{"route"})}
	m.frequent = map[string]routeMetrics{}
	for _, route := range []string{verifyRoute, authorizeRoute} {
		m.frequent[route] = routeMetrics{m.requests.WithLabelValues(route, "200"), m.latency.WithLabelValues(route)}
	}
	s.Registry.MustRegister(m.requests, m.latency)
	return m
}

// isHealth tells whether a path is one of the health checks and metrics, which are answered
// however busy the service is.
func isHealth(path string) bool { return path == "/livez" || path == "/readyz" || path == "/metrics" }

func (m *middleware) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w := &responseRecorder{ResponseWriter: to, slot: slot{admission: m.admission}, id: m.ids.of(r), route: "none", begun: time.Now()}
	w.Header()["X-Request-Id"] = []string{w.id}
	if m.Tracing {
		r = w.startSpan(r)
	}
	ip := m.clientIP(r)
	if m.AccessLog != nil {
		defer m.logAccess(w, r, ip)
	}
	defer m.leave(w, r)
	switch path := r.URL.Path; {
	case path == verifyPath && r.Method == http.MethodPost:
		// Matching a pattern costs as much as deciding about a key, as does a context.
		w.route = verifyRoute
		m.verify(w, r, ip)
	case strings.HasPrefix(path, authorizePrefix):
		w.route = authorizeRoute
		m.authorize(w, r, ip)
	default:
		m.routed(w, r.WithContext(withRequestID(r, w.id)), ip)
	}
}

// routed answers a request by the route that its path and method have.
func (m *middleware) routed(w *responseRecorder, r *http.Request, ip netip.Addr) {
	handler, pattern := m.mux.Handler(r)
	if !isClean(routedPath(r.URL)) {
		handler, pattern = http.NotFoundHandler(), "" // the router would redirect, or take %2F or %2E for part of a name
	}
	if pattern != "" {
		w.route = pattern
	}
	var err error
	if !isHealth(r.URL.Path) {
		err = m.admit(w, ip)
	}
	if err == nil {
		_, err = parseQuery(r)
	}
	switch {
	case err != nil:
		m.problem(w, r, err)
	case pattern == "":
		m.noRoute(w, r, handler)
	default:
		m.mux.ServeHTTP(w, r)
	}
}

// admit counts the request towards its address's quota and takes an in-flight slot.
func (m *middleware) admit(w *responseRecorder, ip netip.Addr) error {
	if err := m.admitAddress(w, ip); err != nil {
		return err
	}
	return w.acquireInFlight()
}

// admitAddress counts the request towards its address's quota, unless that is a proxy's: then
// the clients behind it are not known.
func (m *middleware) admitAddress(w *responseRecorder, ip netip.Addr) error {
	if m.trusted(ip) {
		return nil
	}
	return w.acquireAddress(ip)
}

// routedPath is the path that must be clean: that of an owner as it is sent, because a name of an
// owner, which is percent-encoded, may have any characters.
func routedPath(u *url.URL) string {
	if strings.HasPrefix(u.Path, "/v1/owners/") {
		return u.EscapedPath()
	}
	return u.Path
}

func isClean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}

// leave must be deferred itself, to recover.
func (m *middleware) leave(w *responseRecorder, r *http.Request) {
	w.release()
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause) // breaks the connection off, as it is meant to
	default:
		m.Logger.ErrorContext(r.Context(), "panic", "request_id", w.id, "route", w.route, "panic", cause, "stack", string(debug.Stack()))
		if w.status == 0 {
			m.problem(w, r, domain.ErrInternal)
		}
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.endSpan(r)
	took := time.Since(w.begun)
	if metrics, ok := m.frequent[w.route]; ok && w.status == http.StatusOK {
		metrics.requests.Inc()
		metrics.latency.Observe(took.Seconds())
		return
	}
	m.requests.WithLabelValues(w.route, strconv.Itoa(w.status)).Inc()
	m.latency.WithLabelValues(w.route).Observe(took.Seconds())
	m.Logger.DebugContext(r.Context(), "request", "request_id", w.id, "route", w.route, "status", w.status, "took", took)
}

// noRoute is the mux's refusal as a problem.
func (s *server) noRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	answer := newBufferedResponse()
	h.ServeHTTP(answer, r) // 405 or 404
	if answer.status == http.StatusMethodNotAllowed {
		allow := answer.header.Get("Allow")
		w.Header().Set("Allow", allow)
		s.problem(w, r, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+allow))
		return
	}
	s.problem(w, r, domain.ErrRouteNotFound)
}
