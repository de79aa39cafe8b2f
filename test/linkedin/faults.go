// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// Fault is what happens in place of an answer.
type Fault struct {
	On      string // part of the path and query that it is for
	Written bool   // after the request has been done
	Silent  bool   // the connection stays open, and nothing comes until who asked is gone
	Status  int    // 0: the connection breaks
	Header  http.Header
	Body    string
}

// Fail has the next requests fail, each fault once, in this order for each path.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Heal forgets faults that have not come up.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Silent is how many requests got to where nothing comes.
func (s *Server) Silent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silent
}

// unreliable has faults happen.
func (s *Server) unreliable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := s.fault(r)
		switch {
		case f == nil:
			next.ServeHTTP(w, r)
			return
		case f.Written:
			next.ServeHTTP(httptest.NewRecorder(), r)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
		if f.Silent {
			_, _ = io.Copy(io.Discard, r.Body) // else nobody sees that who asked is gone
			s.mu.Lock()
			s.silent++
			s.mu.Unlock()
			<-r.Context().Done()
		}
		if f.Status == 0 {
			panic(http.ErrAbortHandler)
		}
		for name, values := range f.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	})
}

func (s *Server) fault(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	for i, f := range s.faults {
		if strings.Contains(r.URL.RequestURI(), f.On) {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return &f
		}
	}
	return nil
}
