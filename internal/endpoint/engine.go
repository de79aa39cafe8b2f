// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package endpoint is what every endpoint of the HTTP API has in common: how its route is found, who is let in, how a
// payload is read, how a write is run once for each Idempotency-Key, how an answer or an error goes out, and what of it
// is logged, counted, traced and documented. Which endpoints there are, and what they say, is package httpapi's.
//
// A handler returns a value or an error and never writes to the connection itself, so whatever goes wrong on the way, a
// panic included, still becomes one well-formed response with a request id. So does the end of the caller's key: until
// the first byte is sent, a response can still become a 401. Streams are the exception, from their first byte on.
package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
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

// Request is one request on its way through the engine.
//
// Its fields are the engine's, and each group is written by the file that it names; handlers go by the methods. It is
// one goroutine's, the handler's, and is over when ServeHTTP returns: what goes on after that must have copied what it
// needs.
type Request struct {
	engine *Engine
	http   *http.Request
	id     string    // X-Request-Id
	start  time.Time // when its header had been read

	resource *resource // route.go: what the path names; nil: nothing
	route    *Route    // route.go: what path and method name; nil: nothing
	param    string    // route.go: the path's parameter, decoded; "" if it has none

	query url.Values // query.go: the parameters, which the route takes

	admitted admission.Admitted // the zero one if nobody is asked for, or was let in; by value: it costs no allocation
	cut      bool               // it was let in, and the answer was taken back before it went out

	held       int64                    // memory.go: bytes
	answer     answer                   // answer.go
	writing    *writing                 // write.go; nil unless the route changes something: others need no room for it
	connection *http.ResponseController // of a write or a stream
	view       *store.View              // see View
	span       trace.Span               // observe.go; nil: there are no traces
}

// HTTP returns the request as it came. Its body is for uploads to read.
func (r *Request) HTTP() *http.Request { return r.http }

// Start is when the request's header had been read.
func (r *Request) Start() time.Time { return r.start }

// ID returns the request's id, which is in its answer and in the log.
func (r *Request) ID() string { return r.id }

// Param returns the path's parameter, decoded; "" if it has none.
func (r *Request) Param() string { return r.param }

// Caller returns who the request comes from; the zero Caller if the route asks for nobody. It must not be changed.
func (r *Request) Caller() *caller.Caller { return r.admitted.Caller() }

// View returns what the caller reaches of the database. It is made once, and only for those who ask: a request that is
// answered from memory, such as a whoami, has none.
func (r *Request) View() *store.View {
	if r.view == nil {
		r.view = r.engine.config.Store.View(r.Caller())
	}
	return r.view
}

// Operation returns the write that the request is. Only a route that changes something has one.
func (r *Request) Operation() *write.Operation { return &r.writing.Operation }

// Context returns the context for whatever the handler does that takes time. It ends, too, when the caller's key ceases
// to be good; package write commits in it.
//
// It is never net/http's own where a key is asked for: that one knows nothing of revocations, so whatever waited in it
// would go on for a key that is gone.
func (r *Request) Context() context.Context {
	if r.route.Access == admission.Anyone {
		return r.http.Context()
	}
	return r.admitted.Context()
}

// ServeHTTP answers one request. It panics with http.ErrAbortHandler where a stream has to be reset.
func (e *Engine) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := &Request{
		engine: e, http: hr, id: e.requestID(hr.Header["X-Request-Id"]),
		start: e.config.Clock.Now(), answer: answer{body: newBody()},
	}
	// Before anything can go wrong, so that a request that is refused has a span too.
	e.beginSpan(r)
	err := e.run(w, r)
	switch {
	case r.answer.streaming && err != nil:
		// The status has gone out as a success. This one is for metrics and logs, which would else show none of it.
		r.answer.status, r.answer.failure = e.problems.of(err).status(), err
	case r.answer.streaming:
	case err != nil:
		e.fail(w, r, err)
	default:
		e.succeed(w, r)
	}
	// Only now, so that the time includes what it takes a slow caller to read, and each of them sees the final status.
	elapsed := e.config.Clock.Since(r.start)
	e.metrics.count(e, r, elapsed)
	e.log.write(e, r, elapsed)
	e.endSpan(r)
	r.answer.body.free()
	r.release()
	if r.answer.streaming && err != nil {
		// net/http then resets the stream (HTTP/2) or closes the connection without the last chunk (HTTP/1.1). To return
		// would end it as if it were all there.
		panic(http.ErrAbortHandler)
	}
}

// run lets the route answer, and puts the answer into r.answer, unless it is a stream. When the route is done, and not
// before, the request leaves the registry of flights: if the key was revoked meanwhile, the answer is dropped, and the
// caller is told 401 (the fourth promise of docs/revocation.md).
//
// The order is the same for every route: admission (see there), parameters, Idempotency-Key, handler. So whoever has no
// key learns neither whether a thing exists nor whether a body is well-formed, and costs no transaction.
func (e *Engine) run(w http.ResponseWriter, r *Request) (err error) {
	defer func() {
		v := recover()
		cut := r.admitted.End() // first, and in any case: who is not taken off the registry stays there
		if v != nil {
			err = panicked(v)
		}
		if cut != nil {
			r.cut = true
			err = cutShort(cut, err)
		}
	}()
	// Before admission: what the caller needs depends on the route, and which routes there are is no secret.
	if err := e.router.find(r); err != nil {
		return err
	}
	// Probes and the document are for those without a key, too, and must work while no key can be checked.
	if r.route.Access != admission.Anyone {
		if err := e.admit(r); err != nil {
			return err
		}
	}
	if err := r.readQuery(); err != nil {
		return err
	}
	switch {
	case r.route.stream != nil:
		return e.stream(w, r)
	case r.route.Changes():
		return e.write(w, r)
	case r.route.page != nil:
		return r.openPage()
	}
	return r.answerCall()
}

// answerCall lets a route answer that changes nothing.
func (r *Request) answerCall() error {
	if r.route.append != nil {
		b := &r.answer.body.buffer
		b.Reset()
		b.Write(append(r.route.append(r, b.AvailableBuffer()), '\n'))
		return r.holdAnswer()
	}
	result, err := r.route.call(r)
	if err != nil {
		return err
	}
	if text, ok := result.(json.RawMessage); ok { // not a copy for each: no key is needed to ask for it
		r.answer.made = text
		return nil
	}
	if err := r.answer.body.encode(result); err != nil {
		return err
	}
	return r.holdAnswer()
}

// admit lets the caller in, in r.http's context: r.Context is made of what comes of it.
func (e *Engine) admit(r *Request) error {
	// All values of the header: two of them are refused. Get would take the first, and a proxy may have looked at the
	// second.
	credentials := admission.Credentials{Authorization: r.http.Header["Authorization"], From: r}
	need := admission.Need{Access: r.route.Access, Scope: r.route.Scope}
	// A key decides if there is one, whatever a browser adds to it.
	if len(credentials.Authorization) == 0 && r.route.Access == admission.KeyOrSession && e.config.SessionToken != nil {
		credentials.Session = e.config.SessionToken(r.http)
		if credentials.Session != "" && r.http.URL.RawQuery != "" {
			credentials.Organization = r.http.URL.Query().Get(organizationParam)
		}
		need.Verb, need.Resource = r.route.verb(), r.route.Resource
	}
	return e.config.Admission.Admit(r.http.Context(), r.start, credentials, need, &r.admitted)
}

// cutShort returns what a request ends with that was cut: whatever came of it otherwise is nobody's business any more,
// but a panic is the operator's.
func cutShort(cut, err error) error {
	if errors.As(err, new(*panicError)) {
		return errors.Join(cut, err)
	}
	return cut
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
