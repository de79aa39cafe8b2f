// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"io"
	"net/http"
	"reflect"

	"github.com/prometheus/client_golang/prometheus"
)

// access says who may call a route.
type access uint8

const (
	// keyOnly: a Bearer key. It is the zero value: a route that does not say who may call it is closed.
	keyOnly access = iota
	// anyone: no credentials are asked for, or looked at.
	anyone
)

// route is one method of one path. The OpenAPI document is made of the same value that requests are answered by.
type route struct {
	method  string
	path    string // may end with a segment {id}; no other parameter is known
	access  access
	id      string // operationId, which is the name of the method in generated clients
	summary string
	detail  string // the rest of the description; may be ""
	paged   bool   // takes limit and cursor
	refuses []int  // error statuses of its own, beside those that follow from access, path and paged
	cache   string // Cache-Control of a success; "" is no-store
	endpoint

	served prometheus.Counter // successes with this very method; set in the router's copy, unless there are none
}

// endpoint is the handler of a route, with what it answers in case of success: a value, a stream, or never anything.
type endpoint struct {
	response reflect.Type // of the value that call returns; nil: none
	call     func(*API, *request) (any, error)

	contentType string // of what stream writes
	stream      func(*API, *request, io.Writer) error
}

// succeeds tells whether there is a success.
func (e *endpoint) succeeds() bool { return e.response != nil || e.stream != nil }

// returns makes an endpoint of a typed handler.
func returns[T any](handle func(*API, *request) (T, error)) endpoint {
	return endpoint{response: reflect.TypeFor[T](), call: func(a *API, r *request) (any, error) { return handle(a, r) }}
}

// streams makes an endpoint of a handler that writes its response while it makes it. What is written is sent at once, and
// the header with the first of it: an error before that becomes an envelope, one after it resets the stream. Whatever the
// handler waits for beside its writes must end with r.context().
//
// There is no HEAD for it: what a stream's header says is known once it begins.
func streams(contentType string, handle func(*API, *request, io.Writer) error) endpoint {
	return endpoint{contentType: contentType, stream: handle}
}

// refusesAll makes an endpoint that has only one answer.
func refusesAll(err error) endpoint {
	return endpoint{call: func(*API, *request) (any, error) { return nil, err }}
}

// routes is all there is.
var routes = []route{
	{
		method: http.MethodGet, path: "/v1/whoami", id: "whoami", access: keyOnly,
		summary:  "Who the key is",
		detail:   "The organization, profile, environment, scopes and expiry of the key that the request was made with.",
		endpoint: returns((*API).whoami),
	},
	{
		method: http.MethodGet, path: "/v1/profiles", id: "listProfiles", access: keyOnly, paged: true,
		summary:  "List profiles",
		detail:   "The profiles that the key reaches, newest first: those of its organization, or its own if it is pinned to one.",
		endpoint: returns((*API).listProfiles),
	},
	{
		method: http.MethodGet, path: "/v1/profiles/{id}", id: "getProfile", access: keyOnly,
		summary:  "Get a profile",
		endpoint: returns((*API).getProfile),
	},
	{
		method: http.MethodGet, path: "/v1/api-keys", id: "listApiKeys", access: keyOnly, paged: true,
		summary: "List API keys",
		detail: "The keys that the key reaches, newest first, of both environments: those of its organization, or those pinned to " +
			"its profile if it is pinned to one. Expired keys are listed until they are deleted.",
		endpoint: returns((*API).listKeys),
	},
	{
		method: http.MethodPost, path: "/v1/api-keys", id: "createApiKey", access: keyOnly,
		summary:  "Create an API key: not with an API key",
		detail:   "Always refused. Keys are ApiKey resources: create them with kubectl, or in the dashboard.",
		refuses:  []int{http.StatusForbidden},
		endpoint: refusesAll(errKeysCannotManageKeys),
	},
	{
		method: http.MethodDelete, path: "/v1/api-keys/{id}", id: "revokeApiKey", access: keyOnly,
		summary:  "Revoke an API key: not with an API key",
		detail:   "Always refused, whether the key exists or not. Revoke a key by deleting its ApiKey resource, or in the dashboard.",
		refuses:  []int{http.StatusForbidden},
		endpoint: refusesAll(errKeysCannotManageKeys),
	},
	{
		method: http.MethodGet, path: "/v1/openapi.json", id: "openapi", access: anyone,
		summary:  "This document",
		cache:    "public, max-age=300",
		endpoint: returns((*API).openAPI),
	},
	{
		method: http.MethodGet, path: "/healthz", id: "healthz", access: anyone,
		summary:  "Is the process alive?",
		endpoint: returns((*API).healthz),
	},
	{
		method: http.MethodGet, path: "/readyz", id: "readyz", access: anyone,
		summary:  "Should requests be sent to this replica?",
		detail:   "503 until the keys have been loaded, and from the moment the process is told to stop.",
		refuses:  []int{http.StatusServiceUnavailable},
		endpoint: returns((*API).readyz),
	},
}
