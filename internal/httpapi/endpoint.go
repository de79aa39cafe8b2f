// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"io"
	"reflect"
)

// endpoint is the handler of a route, with what it takes and what it answers in case of success. One of call, write,
// upload and stream is set.
type endpoint struct {
	request  reflect.Type // of the body that write takes; nil: none
	response reflect.Type // of the value that is returned; nil: none

	call   func(*API, *request) (any, error)
	write  func(*API, *request, []byte) (any, error)
	upload func(*API, *request) (any, error)

	contentType string // of what stream writes; "": the handler says so before it writes
	stream      func(*API, *request, io.Writer) error
}

// succeeds tells whether there is a success.
func (e *endpoint) succeeds() bool { return e.response != nil || e.stream != nil }

// changes tells whether it is a write: then an Idempotency-Key counts.
func (e *endpoint) changes() bool { return e.write != nil || e.upload != nil }

// returns makes an endpoint of a typed handler.
func returns[T any](handle func(*API, *request) (T, error)) endpoint {
	return endpoint{response: reflect.TypeFor[T](), call: func(a *API, r *request) (any, error) { return handle(a, r) }}
}

// nothing is the body of a write that takes none. What is sent all the same is not looked at.
type nothing struct{}

// writes makes an endpoint of a typed handler that changes something. In is the request's JSON body. The handler makes
// its change by commit, so that it passes its commit point and is stored together with its answer.
func writes[In, Out any](handle func(*API, *request, In) (Out, error)) endpoint {
	e := endpoint{request: reflect.TypeFor[In](), response: reflect.TypeFor[Out]()}
	if e.request == reflect.TypeFor[nothing]() {
		e.request = nil
	}
	e.write = func(a *API, r *request, payload []byte) (any, error) {
		var in In
		if e.request != nil {
			if err := decodeJSON(payload, &in); err != nil {
				return nil, err
			}
		}
		return handle(a, r, in)
	}
	return e
}

// uploads makes an endpoint of a typed handler that reads the request's body by itself.
func uploads[Out any](handle func(*API, *request) (Out, error)) endpoint {
	return endpoint{
		response: reflect.TypeFor[Out](),
		upload:   func(a *API, r *request) (any, error) { return handle(a, r) },
	}
}

// streams makes an endpoint of a handler that writes its response while it makes it. What is written is sent at once,
// and the header with the first of it: an error before that becomes an envelope, one after it resets the stream.
// Whatever the handler waits for beside its writes must end with r.context().
//
// There is no HEAD for it: what a stream's header says is known once it begins.
func streams(contentType string, handle func(*API, *request, io.Writer) error) endpoint {
	return endpoint{contentType: contentType, stream: handle}
}

// refusesAll makes an endpoint that has only one answer.
func refusesAll(err error) endpoint {
	return endpoint{call: func(*API, *request) (any, error) { return nil, err }}
}
