// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// entrance stands before the handler of a server: it bounds how many requests run at once, and sees to it that whoever
// is answered before all of their request was read gets to see the answer.
type entrance struct {
	next    http.Handler
	limits  Limits
	metrics *metrics
	running atomic.Int64
}

// connectionKey is where a request's context has its connection.
type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(c))
}

// ServeHTTP implements http.Handler.
func (e *entrance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	if c != nil {
		c.is(served)
	}
	// Of HTTP/2, one connection has many requests: to bound connections is not enough.
	running := e.running.Add(1)
	defer e.running.Add(-1)
	next := e.next
	switch {
	case running > int64(e.limits.Connections):
		e.metrics.refused[byRequests].Inc()
		next = e.limits.full()
	case e.limits.Overloaded():
		e.metrics.refused[byMemory].Inc()
		next = e.limits.full()
	}
	// HTTP/2 ends one stream and keeps the others, so that nothing is left over there (RFC 9113 section 8.1).
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		next.ServeHTTP(w, r)
		return
	}
	connection := http.NewResponseController(w)
	// Otherwise net/http reads up to 256 KiB of what is left before it sends the header, and closes if there is more.
	_ = connection.EnableFullDuplex()
	next.ServeHTTP(w, r)
	if connection.Flush() != nil {
		return
	}
	if r.ContentLength > 0 {
		if _, err := r.Body.Read(nil); err != nil {
			return // all has been read, mostly
		}
	}
	if c != nil {
		c.is(lingers)
	}
	discard(r.Body, connection.SetReadDeadline, e.limits.leftover(r))
}
