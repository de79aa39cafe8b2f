// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/internal/authn"
)

// Values of labels for what has no name of its own, so that no caller can make new ones.
const (
	unmatchedRoute = "unmatched"
	otherMethod    = "_OTHER"
)

// metrics are what a dashboard shows of the API.
type metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	unmatched prometheus.Observer
	refusals  map[authn.Refusal]prometheus.Counter
	cut       prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lmp_http_requests_total",
			Help: "Requests answered, by route pattern, method and status code.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lmp_http_request_duration_seconds",
			Help:    "Time from a request's header to the end of its response, by route pattern.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		refusals: map[authn.Refusal]prometheus.Counter{},
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lmp_http_requests_cut_total",
			Help: "Requests that were accepted and did not get their answer: their key was revoked or expired meanwhile, or this " +
				"replica was cut off from its cluster.",
		}),
	}
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lmp_authn_refusals_total",
		Help: "Requests refused as unauthenticated, by reason. Callers are not told the reason.",
	}, []string{"reason"})
	for _, reason := range authn.Refusals {
		m.refusals[reason] = refusals.WithLabelValues(string(reason))
	}
	m.unmatched = m.duration.WithLabelValues(unmatchedRoute)
	return m, errors.Join(registerer.Register(m.requests), registerer.Register(m.duration), registerer.Register(refusals),
		registerer.Register(m.cut))
}

// count takes in a request that has been answered.
func (m *metrics) count(r *request, elapsed time.Duration) {
	m.counter(r).Inc()
	if r.resource == nil {
		m.unmatched.Observe(elapsed.Seconds())
	} else {
		r.resource.duration.Observe(elapsed.Seconds())
	}
	if r.failure == nil {
		return
	}
	if r.cut {
		m.cut.Inc()
	}
	var refusal authn.Refusal
	if errors.As(r.failure, &refusal) && m.refusals[refusal] != nil {
		m.refusals[refusal].Inc()
	}
}

func (m *metrics) counter(r *request) prometheus.Counter {
	// What happens most is found without hashing three labels.
	if r.status == http.StatusOK && r.http.Method == r.route.method {
		return r.route.served
	}
	pattern := unmatchedRoute
	if r.resource != nil {
		pattern = r.resource.pattern
	}
	return m.requests.WithLabelValues(pattern, methodLabel(r.http.Method), strconv.Itoa(r.status))
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	default:
		return otherMethod
	}
}
