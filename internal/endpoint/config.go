// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Config is what an Engine is made of. All fields are required except where they say otherwise.
type Config struct {
	Admission *admission.Admission
	Store     *store.DB
	Writes    *write.Protocol
	// Explain makes a problem of an error that this package does not know; nil for others. Optional.
	Explain func(error) *problem.Problem

	Environment key.Environment // whose keys Admission lets in
	KeyFormat   key.Format
	DocsBaseURL string // where the documentation of errors is
	// SessionToken takes the token of a session out of a request; "": there is none. Optional: without it, nobody is
	// signed in, and routes that take a key or a session take a key.
	SessionToken func(*http.Request) string
	// TrustedProxies are believed when they say whom they forward for. Optional.
	TrustedProxies []netip.Prefix

	NewRequestID func() string // unique, and valid as an X-Request-Id: 1 to 128 characters of A-Z a-z 0-9 . _ -
	// BytesInFlight is what running requests may hold in memory, about; 0: DefaultBytesInFlight.
	BytesInFlight int64
	Clock         clock.PassiveClock
	Logger        *slog.Logger
	AccessLog     AccessLog
	// Audit is told of each refusal, whatever AccessLog says.
	Audit      *slog.Logger
	Registerer prometheus.Registerer
	// Tracer begins the span of each request. Optional: nil makes none, and costs nothing.
	Tracer trace.Tracer
}

// Engine is the handler of all routes. Make it with New. After that nothing of it changes but policy, so any number of
// requests may run at once. It holds no connection and no goroutine, so there is nothing to close.
type Engine struct {
	config   Config
	router   router
	metrics  *metrics
	memory   *memory
	log      *accessLog
	problems problems
	policy   atomic.Pointer[policy] // of the last response that had one: a cache, see policyOf
}

// New returns the engine of routes. The error says that a route asks for what nobody can have, or that the
// registerer has its metrics already.
func New(c Config, routes []Route) (*Engine, error) {
	for i := range routes {
		if scope := routes[i].Scope; scope != "" && !slices.Contains(v1alpha1.Scopes[:], scope) {
			return nil, fmt.Errorf("%s %s: there is no scope %q", routes[i].Method, routes[i].Path, scope)
		}
		// Without a resource, whoever is signed in would be let in, whatever RBAC says.
		if (routes[i].Access == admission.KeyOrSession) != (routes[i].Resource != "") {
			return nil, fmt.Errorf("%s %s: a route has a resource if it takes a session", routes[i].Method, routes[i].Path)
		}
	}
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, err
	}
	held, err := newMemory(c.BytesInFlight, c.Registerer)
	if err != nil {
		return nil, err
	}
	return &Engine{
		config:   c,
		memory:   held,
		router:   newRouter(routes, m),
		metrics:  m,
		log:      newAccessLog(c),
		problems: newProblems(c),
	}, nil
}
