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

// access is what the access log says of a request beside what everyone knows of it.
type access struct {
	principal string       // whose management key asked
	key       domain.KeyID // the key that was verified
	outcome   domain.Outcome
}

// verified tells the access log what became of a key. One that is not known has no id.
func (a *access) verified(answer *verify.Answer) {
	a.outcome = answer.Outcome
	if answer.Outcome != domain.UseNotFound {
		a.key = answer.Credential.Key
	}
}

// noteCaller tells the access log who asks.
func noteCaller(w http.ResponseWriter, p domain.Principal) {
	if passage, ok := w.(*passage); ok {
		passage.access.principal = p.ID
	}
}

// logAccess writes a line when a request is over, however it ended. It holds ids alone: a
// path or a query may hold what a client put there by mistake.
func (m *middleware) logAccess(p *passage, r *http.Request, ip netip.Addr) {
	all := []slog.Attr{slog.String("request_id", p.id), slog.String("route", p.route), slog.Int("status", p.status),
		slog.Duration("took", time.Since(p.begun)), slog.String("client", ip.String())}
	for _, a := range []slog.Attr{slog.String("principal", p.access.principal), slog.String("key", string(p.access.key)), slog.String("outcome", string(p.access.outcome)), slog.String("trace_id", traceID(r))} {
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
