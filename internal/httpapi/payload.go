// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxPayload is the size in bytes of the largest JSON body that is read.
const maxPayload = 1 << 20

var (
	errPayloadTooLarge = &problem{
		status: http.StatusRequestEntityTooLarge, code: codeValidationFailed, rule: "body.size",
		message:     "The request's body is larger than 1 MiB.",
		remediation: "Send files with POST /v1/media, and refer to them by mediaId.",
	}
	errPayloadUnread = errInvalid("body", "The request's body is incomplete: it ended early, or took too long.",
		"Send all of it, with the right Content-Length.")
	errNotJSON = errInvalid("body.content_type", "The request's body is not declared to be JSON.",
		"Send it with the header `Content-Type: application/json`.")
)

// payload reads the request's body, if it is JSON and not too large. No body is an empty one.
func (r *request) payload() ([]byte, error) {
	if r.http.ContentLength > maxPayload {
		return nil, errPayloadTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.http.Body, maxPayload))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, errPayloadTooLarge
	case err != nil:
		return nil, errPayloadUnread
	case len(body) > 0 && !declaresJSON(r.http.Header["Content-Type"]):
		return nil, errNotJSON
	}
	return body, nil
}

// declaresJSON tells whether a Content-Type is that of JSON, which is UTF-8 (RFC 8259 section 8.1).
func declaresJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	return err == nil && mediaType == "application/json" &&
		(params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8"))
}

// decodeJSON reads a body into a struct: one JSON value, in valid UTF-8, without members that are unknown or given
// twice. The error is a problem whose rule names the member, in the way of "targets.0.text".
func decodeJSON(payload []byte, into any) error {
	if len(payload) == 0 {
		payload = []byte("{}") // which members are missing is for the handler to say
	}
	err := json.Unmarshal(payload, into, json.RejectUnknownMembers(true))
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return errInvalid(ruleAt(syntactic.JSONPointer), "The request's body has a member twice.", "Send each member once.")
	case errors.As(err, &syntactic):
		return errInvalid("body.json", "The request's body is not one JSON value in valid UTF-8.", "Send a JSON object.")
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return errInvalid(ruleAt(semantic.JSONPointer), "The request's body has a member that this endpoint does not know.",
			"GET /v1/openapi.json lists the members of each request.")
	case errors.As(err, &semantic):
		return errInvalid(ruleAt(semantic.JSONPointer), "A member of the request's body is of the wrong type or form.",
			"GET /v1/openapi.json has the type of each member. Times are RFC 3339, such as 2026-05-08T12:00:00Z.")
	default:
		return errInvalid("body.json", "The request's body is not one JSON value in valid UTF-8.", "Send a JSON object.")
	}
}

// maxRule is the length in bytes above which what a caller made up is no rule.
const maxRule = 100

// ruleAt writes a place in a body as a rule: "targets.0.text", or "body" for the whole. The names of unknown members
// are the caller's own words: what does not look like a name ends the rule, because rules are logged. So does a name
// with dots in it, which would read as several.
func ruleAt(place jsontext.Pointer) string {
	var rule []string
	length := 0
	for name := range place.Tokens() {
		length += len(name) + 1
		if length > maxRule || !validRequestID(name) || strings.Contains(name, ".") {
			break
		}
		rule = append(rule, name)
	}
	if len(rule) == 0 {
		return "body"
	}
	return strings.Join(rule, ".")
}

// unblockReads sees to it that nobody waits for a caller who does not send, once the request's context has ended. The
// connection is good for an answer after that, and then for nothing: net/http takes the failed read for the caller's
// going away, and would hand every later request on it a context that has ended. So the answer's header says that it is
// closed.
func unblockReads(ctx context.Context, c *http.ResponseController, header http.Header) (free func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.SetReadDeadline(time.Unix(1, 0)) // long past
	})
	return func() {
		if !stop() {
			<-done // the connection is net/http's again when the handler returns
			header.Set("Connection", "close")
		}
	}
}
