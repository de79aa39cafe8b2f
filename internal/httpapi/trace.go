// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/caller"
)

// beginSpan begins the span of a request, as part of the caller's trace if there is a traceparent (W3C Trace Context).
// Its tracestate is left out: callers write in there what they like.
func (a *API) beginSpan(r *request) {
	if a.config.Tracer == nil {
		return
	}
	ctx := r.http.Context()
	if values := r.http.Header["Traceparent"]; len(values) == 1 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": values[0]})
	}
	ctx, r.span = a.config.Tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	r.http = r.http.WithContext(ctx)
}

// endSpan ends the span of a request that has been answered. It is named by method and route, as OpenTelemetry's
// semantic conventions for HTTP have it, but says nothing of the path: keys end up there.
func (a *API) endSpan(r *request) {
	if r.span == nil {
		return
	}
	defer r.span.End()
	if !r.span.IsRecording() {
		return
	}
	method := methodLabel(r.http.Method)
	name := method
	if method == otherMethod {
		name = "HTTP"
	}
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method),
		semconv.HTTPResponseStatusCode(r.status),
		attribute.String("lmp.environment", string(a.config.Environment)),
		attribute.String("lmp.request.id", r.id),
	}
	if r.resource != nil {
		name += " " + r.resource.pattern
		attributes = append(attributes, semconv.HTTPRoute(r.resource.pattern))
	}
	if a := r.caller().Actor; a.Kind == caller.Key {
		attributes = append(attributes, attribute.String("lmp.key.id", a.ID))
	}
	if class := refusalOf(r.failure); class != "" {
		attributes = append(attributes, attribute.String("lmp.refusal", class))
	}
	if r.cut {
		attributes = append(attributes, attribute.Bool("lmp.cut", true))
	}
	if r.status >= http.StatusInternalServerError {
		attributes = append(attributes, semconv.ErrorTypeKey.String(strconv.Itoa(r.status)))
		r.span.SetStatus(codes.Error, "")
	}
	r.span.SetName(name)
	r.span.SetAttributes(attributes...)
}
