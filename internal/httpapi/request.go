// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/rate"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// request is one request on its way through the API, and what became of it.
type request struct {
	http  *http.Request
	id    string // X-Request-Id
	start time.Time

	resource *resource // what the path names; nil: nothing
	route    *route    // what path and method name; nil: nothing
	param    string    // the path's parameter, decoded; "" if it has none

	flight authn.Flight // the zero one unless the route takes a key and the caller's was accepted
	cut    bool         // it was accepted, and was cut before it was answered

	span trace.Span // nil: there are no traces

	allowance rate.Allowance // what is left of the key's rate; the zero one if it has none
	view      *store.View    // see API.view

	body        *body  // of the response, unless it is a stream
	encoded     bool   // body is the answer already
	contentType string // of a stream whose route does not say
	size        int64  // of a stream that is a file, in bytes; 0: it is none
	streaming   bool   // the response goes out while it is made, and has begun to
	status      int    // 0: what the route says; of a stream that was reset, what it would have been, had nothing gone out yet
	failure     error  // why status is what it is; nil for a success

	// Of a write.
	connection *http.ResponseController
	hash       string        // of the body; "": not known yet
	claimed    *store.Claim  // nil: it has no Idempotency-Key, or was answered before
	stored     *store.Stored // what was answered before; nil: nothing
	replayed   bool          // stored is the answer
	settled    bool          // the answer is stored, with the change

	values [2]string // of headers that are different for each response
}

// successStatus is the status of a success.
func (r *request) successStatus() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// caller returns who is calling; the zero Caller unless the route takes a key.
func (r *request) caller() *caller.Caller { return r.flight.Caller() }

// context returns the context for whatever the handler does that takes time. It ends, too, when the caller's key ceases
// to be good; authn.Commit takes it.
func (r *request) context() context.Context {
	if r.route.access == anyone {
		return r.http.Context()
	}
	return r.flight.Context()
}

// requestID keeps the caller's id if there is one that is fit to be logged and sent back, and makes one otherwise.
func (a *API) requestID(values []string) string {
	if len(values) == 1 && validRequestID(values[0]) && !a.holdsKey(values[0]) {
		return values[0]
	}
	return a.config.NewRequestID()
}

const maxRequestID = 128 // characters

func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// holdsKey tells whether s could hold a key. Request ids are logged, and a key in the wrong header is still a key.
func (a *API) holdsKey(s string) bool {
	f := a.config.KeyFormat
	return strings.Contains(s, f.Prefix(key.Live)) || strings.Contains(s, f.Prefix(key.Test))
}
