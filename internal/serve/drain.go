// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"sync/atomic"
)

// closing makes every answer of a server that is draining the last one on its connection. A caller that keeps
// connections open would otherwise be told by nothing: Shutdown closes those that are idle, and a request that is just
// being sent on one of them is lost. Clients send it again only if it may be sent twice, which a POST may not.
//
// net/http makes a GOAWAY of it in HTTP/2: what is running there is finished, the next request opens a new connection.
// It is not done by SetKeepAlivesEnabled, which closes idle connections at once.
func closing(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
