// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// Values of labels for what has no name of its own, so that no caller can make new ones: each is a time series that
// this process and Prometheus keep. _OTHER is what OpenTelemetry's semantic conventions call such a method.
const (
	unmatchedRoute = "unmatched"
	otherMethod    = "_OTHER"
)

// metrics are what a dashboard shows of the API. Names, labels and help are an interface: docs/observability.md has a
// row for each, and alerts are made of them.
type metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	unmatched prometheus.Observer // durations of requests without a route, found beforehand as those of each resource are
	// One a reason. None is added later, so that it can be read without a lock.
	refusals map[admission.Reason]prometheus.Counter
	cut      prometheus.Counter
}

// newMetrics registers them; the error says that somebody has registered one of that name before.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_http_requests_total",
			Help: "Requests answered, by route pattern, method and status code.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lmp_http_request_duration_seconds",
			Help: "Time from a request's header to the end of its response, by route pattern.",
			// From what a whoami takes to what a batch of posts takes; beyond ten seconds it is the platforms' time.
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		refusals: map[admission.Reason]prometheus.Counter{},
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmp_http_requests_cut_total",
			Help: "Requests that were accepted and did not get their answer: " +
				"their key was revoked or expired meanwhile, or this replica was cut off from its cluster.",
		}),
	}
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_authn_refusals_total",
		Help: "Requests refused as unauthenticated, by reason. Callers are not told the reason.",
	}, []string{"reason"})
	// All of them from the start: a rate over a series that begins with its first event misses that event.
	for _, reason := range admission.Reasons() {
		m.refusals[reason] = refusals.WithLabelValues(string(reason))
	}
	m.unmatched = m.duration.WithLabelValues(unmatchedRoute)
	return m, errors.Join(registerer.Register(m.requests), registerer.Register(m.duration), registerer.Register(refusals),
		registerer.Register(m.cut))
}

// count takes in a request that has been answered. A refusal by the rate or for a scope has no reason, since somebody
// was recognised, and is counted by its status alone.
func (m *metrics) count(e *Engine, r *Request, elapsed time.Duration) {
	m.counter(r).Inc()
	if r.resource == nil {
		m.unmatched.Observe(elapsed.Seconds())
	} else {
		r.resource.duration.Observe(elapsed.Seconds())
	}
	if r.answer.failure == nil { // nearly all: what follows takes errors apart
		return
	}
	if r.cut {
		m.cut.Inc()
	}
	if refusal := e.config.Admission.Of(r.answer.failure); refusal != nil && m.refusals[refusal.Reason] != nil {
		m.refusals[refusal.Reason].Inc()
	}
}

// counter finds the counter of a request. What happens most is found without hashing three labels. Labels are checked
// and hashed by the library each time, which is most of what counting costs.
func (m *metrics) counter(r *Request) prometheus.Counter {
	// Without a route, the status is never 200, except of what is answered beside the engine.
	if r.route != nil && r.answer.status == http.StatusOK && r.http.Method == r.route.Method {
		return r.route.served
	}
	pattern := unmatchedRoute
	if r.resource != nil {
		pattern = r.resource.pattern
	}
	return m.requests.WithLabelValues(pattern, methodLabel(r.http.Method), strconv.Itoa(r.answer.status))
}

// methodLabel is a method as labels and logs name it: those of RFC 9110 and PATCH, and one name for what callers make
// up. A method may be any token (RFC 9110 section 9.1), so what callers make up is bounded here.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	default:
		return otherMethod
	}
}

// beginSpan begins the span of a request, as part of the caller's trace if there is a traceparent (W3C Trace Context).
// Its tracestate is left out: callers write in there what they like. Of two traceparents neither is taken.
func (e *Engine) beginSpan(r *Request) {
	if e.config.Tracer == nil {
		return
	}
	ctx := r.http.Context()
	if values := r.http.Header["Traceparent"]; len(values) == 1 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": values[0]})
	}
	// Its name is set at the end, when the route is known.
	ctx, r.span = e.config.Tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	r.http = r.http.WithContext(ctx)
}

// endSpan ends the span of a request that has been answered. It is named by method and route, as OpenTelemetry's
// semantic conventions for HTTP have it, but says nothing of the path: keys end up there.
func (e *Engine) endSpan(r *Request) {
	if r.span == nil {
		return
	}
	defer r.span.End()
	// What is not sampled pays for no attributes.
	if !r.span.IsRecording() {
		return
	}
	method := methodLabel(r.http.Method)
	name := method
	if method == otherMethod {
		name = "HTTP" // as the semantic conventions have it for methods that are not known
	}
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method),
		semconv.HTTPResponseStatusCode(r.answer.status),
		attribute.String("lmp.environment", string(e.config.Environment)),
		attribute.String("lmp.request.id", r.id),
	}
	if r.resource != nil {
		name += " " + r.resource.pattern
		attributes = append(attributes, semconv.HTTPRoute(r.resource.pattern))
	}
	// By its UID, which is no secret. People have no attribute: a trace may be read by more than an audit log is.
	if a := r.Caller().Actor; a.Kind == caller.Key {
		attributes = append(attributes, attribute.String("lmp.key.id", a.ID))
	}
	if class := e.classOf(r.answer.failure); class != "" {
		attributes = append(attributes, attribute.String("lmp.refusal", class))
	}
	if r.cut {
		attributes = append(attributes, attribute.Bool("lmp.cut", true))
	}
	// As the semantic conventions have it, a 4xx is no error of a server's span: the server has done what it should.
	if r.answer.status >= http.StatusInternalServerError {
		attributes = append(attributes, semconv.ErrorTypeKey.String(strconv.Itoa(r.answer.status)))
		r.span.SetStatus(codes.Error, "") // without the error's text: traces leave the cluster, and the log has it
	}
	r.span.SetName(name)
	r.span.SetAttributes(attributes...)
}

// requestID keeps the caller's id if there is one that is fit to be logged and sent back, and makes one otherwise. An
// unfit one is no error: proxies and libraries add it by themselves, and a request must not fail for it.
func (e *Engine) requestID(values []string) string {
	if len(values) == 1 && validRequestID(values[0]) && !e.holdsKey(values[0]) {
		return values[0]
	}
	return e.config.NewRequestID()
}

const maxRequestID = 128 // characters

// validRequestID takes letters, digits, dot, underscore and hyphen: what needs no quoting in a log, a header or a
// shell, so that an id can neither forge a log entry nor split a header.
func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
