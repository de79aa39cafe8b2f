// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/http"
	"time"
)

// stream is the response of a route that writes it while it makes it. It is an io.Writer for the handler, and lets
// nothing else of the response be reached.
type stream struct {
	w    http.ResponseWriter
	r    *Request
	stop func() bool // of unblock; nil before the first byte
}

// SetFile says that a stream is a file: its type, and its size in bytes. It counts until the first byte is written. A
// browser that is shown the address downloads it, and shows nothing of it. With a size, a client can tell a file that
// was cut off from one that is shorter.
func (r *Request) SetFile(contentType string, size int64) {
	r.answer.contentType, r.answer.size = contentType, size
}

// SetWriteDeadline sets until when the caller has to have taken what a stream writes next, in place of the server's
// time for a whole response, which a large file would not keep to. Once the request was cut it must not be called any
// more: it would put off the deadline that ends the write. Write refuses by itself then, so calling it right before is
// fine.
func (r *Request) SetWriteDeadline(next time.Time) { _ = r.connection.SetWriteDeadline(next) }

// stream lets the route write its answer. Once r.answer.streaming is set, an error can no longer be told to the caller.
// stop runs before the connection is net/http's again, whatever the handler ended with.
func (e *Engine) stream(w http.ResponseWriter, r *Request) error {
	if err := r.reserve(streamBytes); err != nil {
		return err
	}
	r.connection = http.NewResponseController(w)
	s := &stream{w: w, r: r}
	defer func() {
		if s.stop != nil {
			s.stop()
		}
	}()
	return r.route.stream(r, s)
}

// Write sends p at once, unless the caller's key is no longer good.
//
// From the first byte on, Write does not wait for a caller who does not read once the request's context has ended. Only
// a deadline can see to that, and nothing can be sent after it. So it is not set before the first byte, when there may
// still be an error to tell.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.r.admitted.Err(); err != nil {
		return 0, err
	}
	if !s.r.answer.streaming {
		s.r.answer.streaming = true
		s.stop = unblock(s.r.Context(), s.r.connection.SetWriteDeadline)
		s.r.setHead(s.w)
		s.r.sendHeader(s.w, 0) // a file has said its size already
	}
	// A byte that is in net/http's buffer is one that may go out after the revocation: so each write is flushed.
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.r.connection.Flush()
}
