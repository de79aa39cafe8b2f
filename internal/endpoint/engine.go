// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package endpoint is what every endpoint of the HTTP API has in common: how its route is found, who is let in, how a
// payload is read, how a write is run once for each Idempotency-Key, how an answer or an error goes out, and what of it
// is logged, counted, traced and documented. Which endpoints there are, and what they say, is package httpapi's.
//
// A handler returns a value or an error and never writes to the connection itself, so whatever goes wrong on the way, a
// panic included, still becomes one well-formed response with a request id. So does the end of the caller's key: until
// the first byte is sent, a response can still become a 401. Streams are the exception, from their first byte on.
//
// This file finds the route and lets it run: query.go and payload.go read what came, write.go, upload.go, stream.go
// and page.go are the ways of routes that do more than answer, answer.go and problems.go say what goes out.
// accesslog.go and observe.go tell of it, memory.go bounds what all of them hold, and openapi.go describes the same
// routes.
package endpoint

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Request is one request on its way through the engine.
//
// Its fields are the engine's, and each group is written by this file or by the one that it names; handlers go by the
// methods. It is one goroutine's, the handler's, and is over when ServeHTTP returns: what goes on after that must have
// copied what it needs.
type Request struct {
	engine *Engine
	http   *http.Request
	id     string    // X-Request-Id
	start  time.Time // when its header had been read

	resource *resource // what the path names; nil: nothing
	route    *Route    // what path and method name; nil: nothing
	param    string    // the path's parameter, decoded; "" if it has none

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

// router finds the route of a request. It is not an http.ServeMux because that one answers for itself, in plain text or
// with a redirect, where this API owes an envelope. Every route has one parameter at most, so two maps will do.
type router struct {
	exact     map[string]*resource    // by path
	withParam map[[2]string]*resource // by what stands before the parameter and after it, with their slashes
	metrics   *metrics
}

// resource is a path with its methods. A 405 and the Allow header are of the path, so methods stand together here and
// not in a map of both.
type resource struct {
	pattern  string // as in the route table: it is also the value of the metrics' label
	methods  map[string]*Route
	allow    string // the Allow header
	duration prometheus.Observer
}

// newRouter does all that can be done before the first request, labels of metrics included.
func newRouter(table []Route, m *metrics) router {
	rt := router{exact: map[string]*resource{}, withParam: map[[2]string]*resource{}, metrics: m}
	for i := range table {
		rt.add(table[i])
	}
	return rt
}

// add adds a route, which is a copy of the table's: what it gets here is this router's own.
func (rt *router) add(t Route) {
	t.queries = newQueries(&t)
	if t.Succeeds() {
		t.served = rt.metrics.requests.WithLabelValues(t.Path, t.Method, "200")
	}
	res := rt.resource(t.Path)
	res.methods[t.Method] = &t
	// RFC 9110 section 9.3.2: HEAD is GET without the body, and send leaves that out.
	// A page may be one that does something, once.
	if t.Method == http.MethodGet && t.stream == nil && t.page == nil {
		res.methods[http.MethodHead] = &t
	}
	// Anew for each method of the path. RFC 9110 section 10.2.1 wants all of them in a 405.
	var allowed []string
	for method := range res.methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed) // a map has another order each time, and the header and a message are made of it
	res.allow = strings.Join(allowed, ", ")
}

// resource returns that of a pattern, made if it is new. Patterns that differ in the parameter's name alone are one
// resource, of the first one's name.
func (rt *router) resource(pattern string) *resource {
	before, name, after := cutParam(pattern)
	res := rt.exact[pattern]
	if name != "" {
		res = rt.withParam[[2]string{before, after}]
	}
	if res != nil {
		return res
	}
	res = &resource{
		pattern:  pattern,
		methods:  map[string]*Route{},
		duration: rt.metrics.duration.WithLabelValues(pattern),
	}
	if name == "" {
		rt.exact[pattern] = res
	} else {
		rt.withParam[[2]string{before, after}] = res
	}
	return res
}

// cutParam takes a pattern apart at its parameter; name is "" if there is none.
func cutParam(pattern string) (before, name, after string) {
	before, rest, ok := strings.Cut(pattern, "{")
	if !ok {
		return pattern, "", ""
	}
	name, after, _ = strings.Cut(rest, "}")
	return before, name, after
}

// find sets r's resource, route and param. The error is a problem: there is no such path, or no such method of it.
//
// It looks at the path as it was sent: an encoded slash belongs to its segment, and a path has one spelling.
func (rt *router) find(r *Request) error {
	sent := r.http.URL
	if sent.RawPath == "" { // then a path that needs no escape was sent as it is decoded, and no pattern needs one
		r.resource = rt.exact[sent.Path]
	}
	if r.resource == nil {
		// As it was sent and not decoded: in "/v1/posts/a%2Fb" that would make a segment more.
		path := sent.EscapedPath()
		if r.resource = rt.exact[path]; r.resource == nil {
			r.resource, r.param = rt.findWithParam(path)
		}
	}
	if r.resource == nil {
		return errNoRoute // without a key, too: which endpoints there are is in a document that anyone may read
	}
	if r.route = r.resource.methods[r.http.Method]; r.route == nil {
		return errNoMethod(r.resource.allow)
	}
	return nil
}

// findWithParam takes the last segment of path for a parameter, or the one before it. It must cost little, whatever is
// sent: it is asked before anybody is known. Two lookups at most, whatever the path's length and the number of its
// segments.
func (rt *router) findWithParam(path string) (*resource, string) {
	last := strings.LastIndexByte(path, '/')
	if last < 0 {
		return nil, ""
	}
	if res := rt.withParam[[2]string{path[:last+1], ""}]; res != nil {
		return decodeParam(res, path[last+1:])
	}
	slash := strings.LastIndexByte(path[:last], '/')
	if slash < 0 {
		return nil, ""
	}
	return decodeParam(rt.withParam[[2]string{path[:slash+1], path[last:]}], path[slash+1:last])
}

// decodeParam decodes the parameter of a resource that may be nil. An empty one is none: "/v1/posts/" is not a post
// without an id but a path that does not exist.
func decodeParam(res *resource, segment string) (*resource, string) {
	param, err := url.PathUnescape(segment)
	if res == nil || param == "" || err != nil {
		return nil, ""
	}
	return res, param
}

// cutShort returns what a request ends with that was cut: whatever came of it otherwise is nobody's business any more,
// but a panic is the operator's.
func cutShort(cut, err error) error {
	if errors.As(err, new(*panicError)) {
		return errors.Join(cut, err)
	}
	return cut
}
