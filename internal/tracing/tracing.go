// Package tracing adds a step to the trace of a request. Where nothing is traced it costs a
// look at the context.
//
// A span has a fixed name, and no text that a caller sent: a secret that was put into a
// path, a query or a header by mistake must not reach a collector.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Start begins a step, if ctx is part of a trace that is recorded. The step ends with end,
// which notes whether it failed, and not why: an error's text may hold what was sent.
func Start(ctx context.Context, name string) (traced context.Context, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := parent.TracerProvider().Tracer("github.com/keytrail/keytrail").Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}
