// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"time"
)

// stream is the response of a route that writes it while it makes it.
type stream struct {
	api        *API
	w          http.ResponseWriter
	controller *http.ResponseController
	r          *request
	free       func() // takes back unblock; nil before the first byte
}

// stream lets the route write its answer. Once r.streaming is set, an error can no longer be told to the caller.
func (a *API) stream(w http.ResponseWriter, r *request) error {
	s := &stream{api: a, w: w, controller: http.NewResponseController(w), r: r}
	r.connection = s.controller
	defer func() {
		if s.free != nil {
			s.free()
		}
	}()
	return r.route.stream(a, r, s)
}

// Write sends p at once, unless the caller's key is no longer good.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.r.flight.Err(); err != nil {
		return 0, err
	}
	if !s.r.streaming {
		s.r.streaming = true
		s.free = s.unblock()
		s.api.head(s.w, s.r)
		sendHeader(s.w, s.r)
	}
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.controller.Flush()
}

// unblock sees to it that Write does not wait, once the request's context has ended, for a caller who does not read.
// Only a deadline does that, and the connection is good for nothing after it: so it must not be before the first byte,
// when there may be an error to tell.
func (s *stream) unblock() (free func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(s.r.context(), func() {
		defer close(done)
		_ = s.controller.SetWriteDeadline(time.Unix(1, 0)) // long past
	})
	return func() {
		if !stop() {
			<-done // the connection is net/http's again when the handler returns
		}
	}
}
