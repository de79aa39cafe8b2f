// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
)

// Route is one method of one path. The OpenAPI document is made of the same value that requests are answered by, so
// that the two can't disagree on what is asked of a caller.
type Route struct {
	Method string
	Path   string // may hold one parameter, as its last segment or the one before it
	Access admission.Access
	Scope  v1alpha1.Scope // that a key must have; "": every key may
	// Resource, of group letmepost.dev, is what a person must be allowed to list or to get in the organization. Every
	// route that takes a session has one.
	Resource string
	ID       string // operationId, which is the name of the method in generated clients
	Summary  string
	Detail   string      // the rest of the description; may be ""
	Paged    bool        // takes limit and cursor
	Unpaged  bool        // without limit, all there is: up to unpagedLimit
	Query    []Parameter // others that it takes
	// ParamValues are what the path's parameter may be; nil: anything.
	ParamValues []string
	Success     []int  // statuses of a success; nil: 200
	Refuses     []int  // error statuses of its own, beside those that follow from Access, Path, Paged and that it writes
	Cache       string // Cache-Control of a success; "" is no-store
	// AnswerWithin is how long the answer may take once a change has begun that takes long; 0: no longer than others'.
	AnswerWithin time.Duration
	Endpoint

	served  prometheus.Counter // successes with this very method; set in the router's copy, unless there are none
	queries *queries           // what it takes; set in the router's copy
}

// Parameter is a query parameter of a route, for its description.
type Parameter struct {
	Name, Description string
	Values            []string // what it may be; nil: anything
	Format            string   // of OpenAPI; may be ""
	List              bool     // may be repeated, or hold several values with commas between them
}

// Endpoint is the handler of a route, with what it takes and what it answers in case of success. One of append, call,
// change, upload, stream and page is set.
//
// The types are taken from the handler's own signature, by the functions below: what the document says of a body is
// what is decoded and encoded. The handlers themselves lose their types here, since a table of routes can have only
// one.
type Endpoint struct {
	request  reflect.Type // of the body that change takes; nil: none
	response reflect.Type // of the value that is returned; nil: none

	append func(*Request, []byte) []byte
	call   func(*Request) (any, error)
	change func(*Request, []byte) (any, error) // with the body, which has been read and hashed by then
	upload func(*Request) (any, error)

	page func(*Request) (WebPage, error)

	contentType string // of what stream writes; "": the handler says so before it writes
	stream      func(*Request, io.Writer) error
}

// verb is what a person must be allowed to do to the route's resource.
func (t *Route) verb() string {
	if t.Paged {
		return "list"
	}
	return "get"
}

// Succeeds tells whether there is a success.
func (e *Endpoint) Succeeds() bool { return e.response != nil || e.stream != nil || e.page != nil }

// Shown tells whether it answers pages, to browsers.
func (e *Endpoint) Shown() bool { return e.page != nil }

// Changes tells whether it is a write: then an Idempotency-Key counts.
func (e *Endpoint) Changes() bool { return e.change != nil || e.upload != nil }

// Takes returns the type of the JSON body that it reads; nil: it reads none.
func (e *Endpoint) Takes() reflect.Type { return e.request }

// Returns makes an endpoint of a typed handler that changes nothing. It has no commit point: whatever the caller's key
// becomes meanwhile, nothing is left behind.
func Returns[T any](handle func(*Request) (T, error)) Endpoint {
	return Endpoint{
		response: reflect.TypeFor[T](),
		call:     func(r *Request) (any, error) { return handle(r) },
	}
}

// Appends is Returns for a handler that appends its answer's JSON by itself, and has no way to fail. Nothing of it has
// to outlive the call, so it costs no allocation, and that is what it is for. T is the shape, for the document.
func Appends[T any](appendJSON func(*Request, []byte) []byte) Endpoint {
	return Endpoint{response: reflect.TypeFor[T](), append: appendJSON}
}

// Reads is Returns for a handler that reads a body by itself, from HTTP(): one that is bounded, and that changes
// nothing which an Idempotency-Key would be for. In is its JSON, for the document.
func Reads[In, Out any](handle func(*Request) (Out, error)) Endpoint {
	e := Returns(handle)
	e.request = reflect.TypeFor[In]()
	return e
}

// Nothing is the body of a write that takes none. What is sent all the same is not decoded: HTTP libraries send a "{}"
// or a "null" unasked. It counts as JSON and by its hash all the same, as every body does.
type Nothing struct{}

// Writes makes an endpoint of a typed handler that changes something. In is the request's JSON body. The handler makes
// its change by r.Operation, with an answer made by Answer, so that it passes its commit point and is stored together
// with its answer; what it returns then is that same answer.
func Writes[In, Out any](handle func(*Request, In) (Out, error)) Endpoint {
	e := Endpoint{request: reflect.TypeFor[In](), response: reflect.TypeFor[Out]()}
	if e.request == reflect.TypeFor[Nothing]() {
		e.request = nil
	}
	e.change = func(r *Request, payload []byte) (any, error) {
		var in In
		if e.request != nil {
			// Before decoding, which is what costs the memory.
			if err := checkValues(payload); err != nil {
				return nil, err
			}
			if err := decodeJSON(payload, &in); err != nil {
				return nil, err
			}
		}
		return handle(r, in)
	}
	return e
}

// Uploads makes an endpoint of a typed handler that changes something and reads the request's body by itself. It is
// told from Writes by its body, which is not held in memory and so can't be hashed before the claim.
func Uploads[Out any](handle func(*Request) (Out, error)) Endpoint {
	return Endpoint{
		response: reflect.TypeFor[Out](),
		upload:   func(r *Request) (any, error) { return handle(r) },
	}
}

// Streams makes an endpoint of a handler that writes its response while it makes it. What is written is sent at once,
// and the header with the first of it: an error before that becomes an envelope, one after it resets the stream.
// Whatever the handler waits for beside its writes must end with r.Context().
//
// There is no HEAD for it: what a stream's header says is known once it begins.
func Streams(contentType string, handle func(*Request, io.Writer) error) Endpoint {
	return Endpoint{contentType: contentType, stream: handle}
}

// Shows makes an endpoint for a browser, which is answered a page or sent elsewhere. It takes whatever parameters come:
// who sends the browser here adds some. An error becomes a page too.
//
// There is no HEAD for it: such a page may do something once, and whoever looks before they come would have it done.
func Shows(handle func(*Request) (WebPage, error)) Endpoint { return Endpoint{page: handle} }

// RefusesAll makes an endpoint that has only one answer. It stands for what callers look for and is done in another
// way: a 403 that says how helps more than a 404.
func RefusesAll(err error) Endpoint {
	return Endpoint{call: func(*Request) (any, error) { return nil, err }}
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
