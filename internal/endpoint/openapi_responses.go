// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/letmepost/letmepost-operator/internal/admission"
)

// successes are the statuses of a success. Generated clients make a branch of each, so a status that can't come has no
// place in it.
func (t *Route) successes() []int {
	switch {
	case !t.Succeeds():
		return nil
	case t.Success == nil:
		return []int{http.StatusOK}
	default:
		return t.Success
	}
}

// successOf describes a success. The headers of a rate are part of it, so that clients look at them before a 429.
func successOf(registry huma.Registry, t *Route) *huma.Response {
	var response *huma.Response
	switch {
	case t.response != nil:
		response = responseOf(registry, t.response, "Success.")
	case t.page != nil:
		response = pageResponse("A page for a person, or where their browser goes on.")
	default: // a stream, of which no type is known here

		contentType := t.contentType
		if contentType == "" {
			contentType = "*/*"
		}
		response = &huma.Response{
			Description: "Success. The response is sent while it is made. " +
				"It is cut short if the key is revoked or expires meanwhile.",
			Headers: responseHeaders(),
			Content: map[string]*huma.MediaType{contentType: {}},
		}
	}
	if t.Access != admission.Anyone {
		response.Headers["RateLimit-Policy"] = stringHeader(
			"The key's rate: `\"key\";q=REQUESTS;w=SECONDS`. Absent if it has none.",
		)
		response.Headers["RateLimit"] = stringHeader(
			"What is left of it: `\"key\";r=REQUESTS;t=SECONDS`, t until all of it is back.",
		)
	}
	if t.Changes() {
		response.Headers["Idempotency-Replayed"] = stringHeader("true if this is the stored answer of an earlier request.")
	}
	return response
}

// pageResponse describes what a browser is answered.
func pageResponse(description string) *huma.Response {
	return &huma.Response{
		Description: description, Headers: responseHeaders(), Content: map[string]*huma.MediaType{"text/html": {}},
	}
}

// responseOf describes a response whose body is JSON. A named type becomes a reference, so that clients get one type
// for all its uses.
func responseOf(registry huma.Registry, body reflect.Type, description string) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers:     responseHeaders(),
		Content:     map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(body, true, "")}},
	}
}

// responseHeaders describes what every response has. It is another map each time: callers add to it.
func responseHeaders() map[string]*huma.Param {
	return map[string]*huma.Param{
		"X-Request-Id": stringHeader("The caller's id of the request if it sent a valid one, or a new one."),
	}
}

func stringHeader(description string) *huma.Param {
	return &huma.Param{Description: description, Schema: &huma.Schema{Type: huma.TypeString}}
}

// errorStatuses are the statuses that a route can fail with. They follow from what the route is, so that no row of the
// table can forget one; Refuses has what its handler alone knows. A 405 is of the path, not of any operation.
func (t *Route) errorStatuses() []int {
	statuses := append([]int{http.StatusInternalServerError}, t.Refuses...)
	if t.Access != admission.Anyone {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	}
	if t.Scope != "" {
		statuses = append(statuses, http.StatusForbidden)
	}
	// A parameter of another name is one of a few values: what is none of them is a 400.
	if _, name, _ := cutParam(t.Path); t.Succeeds() && name == "id" {
		statuses = append(statuses, http.StatusNotFound)
	}
	if t.Succeeds() { // for a parameter that it does not know, if for nothing else
		statuses = append(statuses, http.StatusBadRequest)
	}
	if t.Changes() {
		statuses = append(statuses,
			http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return statuses
}

// errorDescriptions say for each status which codes come with it: a status alone does not tell a mistake in the request
// from one of a platform's rules. Whatever errorStatuses may return must be here, Refuses of routes included: otherwise
// it would be described by nothing.
var errorDescriptions = map[int]string{
	http.StatusBadRequest: "validation_failed: a parameter or a part of the body breaks the rule named in `rule`; " +
		"preflight_failed: a platform's rule.",
	http.StatusUnauthorized: "unauthenticated: there is no valid key; one body for every reason.",
	http.StatusForbidden: "unauthorized: the key is valid and may not do this. " +
		"platform_not_enabled, platform_auth_failed: the platform.",
	http.StatusNotFound:              "not_found: it does not exist, or not for this key.",
	http.StatusConflict:              "validation_failed: its state does not allow it; idempotency_conflict: see `rule`.",
	http.StatusRequestEntityTooLarge: "validation_failed: the body is too large.",
	http.StatusUnsupportedMediaType:  "validation_failed: the body is compressed.",
	http.StatusTooManyRequests: "rate_limited: the key's requests are used up for the moment; " +
		"or `platform` asks to slow down. quota_exceeded: the organization has as much as it may of what `rule` says.",
	http.StatusInternalServerError: "internal_error: an unexpected error.",
	http.StatusBadGateway:          "platform_unavailable: the platform could not be asked.",
	http.StatusServiceUnavailable:  "unavailable: this replica cannot answer now; try again, or another one.",
}
