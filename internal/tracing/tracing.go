// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tracing makes OpenTelemetry traces of what a process does, and hands them to a collector by OTLP over HTTP.
//
// What is traced never waits for the collector: spans go into a queue of bounded length, and those that find it full
// are dropped. A room that works on what another has begun needs no tracer: Child takes it from the span in the
// context.
//
// No span holds a path, a query, a header or an error's text: keys end up in all of them.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/utils/clock"
)

// Scope is the name of the instrumentation scope of all spans. There is one, so that collectors can filter by it.
const Scope = "github.com/letmepost/letmepost-operator"

// Options say where traces go. All but Endpoint are required.
type Options struct {
	// Endpoint is the collector's base URL, such as http://collector:4318. "/v1/traces" is added to it, as the OTLP
	// specification says of base URLs. "": there are no traces.
	Endpoint string
	// Ratio of the traces that begin here which are recorded, from 0 to 1. Whoever began a trace elsewhere has decided
	// for that trace.
	Ratio float64

	Service  string // service.name, such as "letmepost-api"
	Instance string // service.instance.id, such as the pod's name
	Clock    clock.PassiveClock
	// Logger is told when the collector can't be reached, once a minute at most, and when it can again.
	Logger *slog.Logger
}

// Bounds of what is kept for a collector, and of how long one is waited for.
const (
	// queueLength is how many spans wait for a collector. More are dropped: a busy process that has lost its collector
	// must not grow because of it.
	queueLength = 2048
	batchLength = 512 // spans in one message
	// batchEvery is the age at which spans are sent though their batch is not full: short enough to look at a trace
	// right after the request.
	batchEvery    = 2 * time.Second
	exportTimeout = 10 * time.Second // of one message, with all attempts to send it
	// stopTimeout bounds the end of a process whose collector is away. A pod has other things to do with its grace period.
	stopTimeout = 3 * time.Second
	maxResponse = 64 << 10 // bytes of an answer, which may come from anything that listens there
)

// Check returns what is wrong with Endpoint or Ratio. Its error names the flag.
func (o Options) Check() error {
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" ||
			u.Fragment != "" {
			return errors.New("--otlp-endpoint: want an http or https URL such as http://collector:4318, without credentials")
		}
	}
	if !(o.Ratio >= 0 && o.Ratio <= 1) { // NaN is neither
		return fmt.Errorf("--trace-sample-ratio: want a number from 0 to 1, not %v", o.Ratio)
	}
	return nil
}

// Traces are the traces of one process.
type Traces struct{ provider *sdktrace.TracerProvider }

// New begins to export traces; nil if there are to be none. The error says what is wrong with the options. No collector
// is asked yet: one that is away keeps nobody from starting.
func New(ctx context.Context, o Options) (*Traces, error) {
	if err := o.Check(); err != nil || o.Endpoint == "" {
		return nil, err
	}
	base, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	client, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(base.JoinPath("v1/traces").String()),
		otlptracehttp.WithTimeout(exportTimeout),
		otlptracehttp.WithMaxResponseSize(maxResponse),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces: %w", err)
	}
	return &Traces{sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewWithAttributes(semconv.SchemaURL,
			semconv.ServiceName(o.Service), semconv.ServiceInstanceID(o.Instance))),
		sdktrace.WithBatcher(newExporter(client, o),
			sdktrace.WithMaxQueueSize(queueLength), sdktrace.WithMaxExportBatchSize(batchLength),
			sdktrace.WithBatchTimeout(batchEvery), sdktrace.WithExportTimeout(exportTimeout)),
	)}, nil
}

// Tracer begins traces. It is nil if there are none, also for a nil Traces: Start takes that.
func (t *Traces) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(Scope)
}

// Stop sends what is left, for three seconds at most, and also if ctx has ended: it is called when the process ends,
// which is what ends the contexts.
func (t *Traces) Stop(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what could not be sent is lost, and exporter has said so
}

// none is the span of whatever is not traced. There is one for all, so that no request allocates its own.
var none trace.Span = noop.Span{}

// Start begins a span that may be the first of its trace. Without a tracer it costs nothing.
func Start(
	ctx context.Context, tracer trace.Tracer, name string, attributes ...attribute.KeyValue,
) (context.Context, trace.Span) {
	if tracer == nil {
		return ctx, none
	}
	return tracer.Start(ctx, name, trace.WithAttributes(attributes...))
}

// Child begins a span below that of ctx. If ctx has none, or one that is not recorded, nothing is allocated: most
// requests are not traced, and pay nothing for those that are.
func Child(ctx context.Context, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, none
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name)
}

// End ends a span, as a failed one if there is an error. The error's text does not leave the process: it may hold a
// key, a path or what somebody posted.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
