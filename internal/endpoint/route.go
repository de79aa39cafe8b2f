// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"io"
	"reflect"
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
	// ClaimLate is for a write whose handler does nothing that is seen outside before its Operation commits or begins: see
	// write.Operation. It may be run twice.
	ClaimLate bool
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
// The types are taken from the handler's own signature, by Returns, Writes and their like: what the document says of a
// body is what is decoded and encoded. The handlers themselves lose their types here, since a table of routes can have
// only one.
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
