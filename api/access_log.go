package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/keytrail/keytrail/domain"
	"github.com/keytrail/keytrail/verify"
)

// An accessEntry is what the access log says of a request that only its handler knows.
type accessEntry struct {
	principal string       // the management key that asked
	key       domain.KeyID // the key that was verified
	outcome   domain.Outcome
}

// verified adds the outcome of a verification, and the key, unless there is none.
func (a *accessEntry) verified(answer *verify.Answer) {
	a.outcome = answer.Outcome
	if answer.Outcome != domain.UseNotFound {
		a.key = answer.Credential.Key
	}
}

// logCaller adds the caller to the access log's entry.
func logCaller(w http.ResponseWriter, p domain.Principal) {
	w.(*responseRecorder).access.principal = p.ID
}

// logAccess writes a line when a request is over, however it ended. It holds ids alone: a
// path or a query may hold what a client put there by mistake.
func (m *middleware) logAccess(w *responseRecorder, r *http.Request, ip netip.Addr) {
	all := []slog.Attr{slog.String("request_id", w.id), slog.String("route", w.route), slog.Int("status", w.status),
		slog.Duration("took", time.Since(w.begun)), slog.String("client", ip.String())}
	for _, a := range []slog.Attr{slog.String("principal", w.access.principal), slog.String("key", string(w.access.key)), slog.String("outcome", string(w.access.outcome)), slog.String("trace_id", traceID(r))} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	m.AccessLog.LogAttrs(r.Context(), slog.LevelInfo, "access", all...)
}

// traceID is that of the request's span, or of the traceparent that it came with.
func traceID(r *http.Request) string {
	span := trace.SpanContextFromContext(r.Context())
	if !span.IsValid() {
		span = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
	}
	if !span.IsValid() {
		return ""
	}
	return span.TraceID().String()
}
