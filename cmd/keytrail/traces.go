package main

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

const (
	// maxSpans is how many spans wait to be sent, some 10 MB. Beyond it they are dropped: a slow
	// collector, or sampling all of a busy service, must hold no request up.
	maxSpans = 8192

	// exportTimeout bounds the sending of a batch, and a second try of it, so that a collector that is
	// gone does not use up the time for stopping.
	exportTimeout = 10 * time.Second
)

// traces sends spans to endpoint, "" for none, and returns what sends the last of them.
func traces(ctx context.Context, endpoint string) (stop func(context.Context) error, err error) {
	if endpoint == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"), otlptracehttp.WithTimeout(exportTimeout/2))
	if err != nil {
		return nil, err
	}
	// What the environment says of the service, in OTEL_SERVICE_NAME and
	// OTEL_RESOURCE_ATTRIBUTES, comes before what we say.
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "keytrail"), attribute.String("service.version", programVersion())), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	provider := trace.NewTracerProvider(trace.WithResource(about), trace.WithBatcher(exporter,
		trace.WithMaxQueueSize(maxSpans), trace.WithMaxExportBatchSize(maxSpans/8), trace.WithBatchTimeout(time.Second), trace.WithExportTimeout(exportTimeout)))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	return provider.Shutdown, nil
}
