package api

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins a request's span, in the caller's trace if it named one.
func (w *responseRecorder) startSpan(r *http.Request) *http.Request {
	ctx := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, w.span = otel.Tracer("github.com/keytrail/keytrail").Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx)
}

// endSpan names the span after the route. Path, query and headers do not go into it: a
// secret may have been put there by mistake.
func (w *responseRecorder) endSpan(r *http.Request) {
	if w.span == nil {
		return
	}
	method := r.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "_OTHER" // as the conventions have it, and a method can be any text
	}
	_, route, named := strings.Cut(w.route, " ")
	if !named {
		route = w.route
	}
	w.span.SetName(method + " " + route)
	w.span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.Int("http.response.status_code", w.status), attribute.String("keytrail.request_id", w.id))
	if w.status >= http.StatusInternalServerError {
		w.span.SetStatus(codes.Error, "")
	}
	w.span.End()
}
