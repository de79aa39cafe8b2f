// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"sync/atomic"
)

// closing makes every answer of a server that is draining the last one on its connection. Otherwise nothing would tell
// a caller that keeps connections open: Shutdown closes the idle ones, and a request that is on its way on one of them
// is lost. Clients repeat a lost request only if it may be sent twice, which a POST may not.
//
// In HTTP/2, net/http turns the header into a GOAWAY: requests that run are finished, and the next one opens a new
// connection. SetKeepAlivesEnabled would not do, because it closes idle connections at once.
func closing(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
