// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"fmt"
	"net/http"
)

// Beside has requests that are not this engine's, but are answered beside it on the same port, logged, counted and
// traced as its own: those of pages. patternOf says what a request's path is an example of; what is none of patterns,
// which are all that there are, counts as unmatched, so that no caller makes new time series or writes a path into a
// log.
func (e *Engine) Beside(next http.Handler, patternOf func(*http.Request) string, patterns ...string) http.Handler {
	known := map[string]*resource{}
	for _, p := range patterns {
		known[p] = &resource{pattern: p, duration: e.metrics.duration.WithLabelValues(p)}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		// It never runs through this engine, and so has no route, no caller and no body: it is there to be logged, counted
		// and traced.
		r := &Request{
			engine: e, http: hr, id: e.requestID(hr.Header["X-Request-Id"]), start: e.config.Clock.Now(),
			resource: known[patternOf(hr)],
		}
		w.Header().Set("X-Request-Id", r.id) // unless pages have ids of their own
		e.beginSpan(r)
		seen := &statusSeen{ResponseWriter: w}
		returned := false
		defer func() { // also if it panics, which net/http tells and ends the connection for
			r.id = cmp.Or(w.Header().Get("X-Request-Id"), r.id)
			r.answer.status = cmp.Or(seen.status, http.StatusOK)
			if !returned {
				r.answer.status = http.StatusInternalServerError
			}
			if r.answer.status >= http.StatusBadRequest {
				r.answer.failure = pageFailure(r.answer.status)
			}
			elapsed := e.config.Clock.Since(r.start)
			e.metrics.count(e, r, elapsed)
			e.log.write(e, r, elapsed)
			e.endSpan(r)
		}()
		next.ServeHTTP(seen, r.http)
		returned = true
	})
}

// pageFailure is the status of a page that says what went wrong. Why it did is for whoever made the page to log.
type pageFailure int

func (p pageFailure) Error() string { return fmt.Sprint("answered ", int(p)) }

// statusSeen notes which status goes out.
type statusSeen struct {
	http.ResponseWriter
	status int
}

func (s *statusSeen) WriteHeader(status int) {
	if s.status == 0 && status >= http.StatusOK { // before it, there may be informational ones
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusSeen) Write(b []byte) (int, error) {
	s.status = cmp.Or(s.status, http.StatusOK)
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *statusSeen) Unwrap() http.ResponseWriter { return s.ResponseWriter }
