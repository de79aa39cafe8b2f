// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// The codes of the error envelope. Each has a page in the documentation.
const (
	codeValidationFailed = "validation_failed"
	codeUnauthenticated  = "unauthenticated"
	codeUnauthorized     = "unauthorized"
	codeNotFound         = "not_found"
	codeInternalError    = "internal_error"
	codeUnavailable      = "unavailable"

	codeIdempotencyConflict = "idempotency_conflict"
	codeRateLimited         = platform.CodeRateLimited
	codeNotEnabled          = platform.CodeNotEnabled
	codePreflightFailed     = platform.CodePreflightFailed
)

// problem is an error as its caller is told of it. Its texts are the same for everyone: they hold nothing of the
// request and nothing of what is stored.
type problem struct {
	status      int
	code        string
	message     string // what is wrong
	rule        string // which rule the request broke, for programs; may be ""
	remediation string // what to do next
	platform    string // whose rule it is; may be ""
	headers     map[string]string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

var (
	errNoRoute = &problem{
		status: http.StatusNotFound, code: codeNotFound,
		message:     "There is no such endpoint.",
		remediation: "GET /v1/openapi.json lists the endpoints.",
	}
	// One for all: a profile of somebody else and one that never was are the same to the caller.
	errNoProfile = &problem{
		status: http.StatusNotFound, code: codeNotFound,
		message:     "There is no profile with this id that the key reaches.",
		remediation: "GET /v1/profiles lists the profiles that the key reaches.",
	}
	errKeysCannotManageKeys = &problem{
		status: http.StatusForbidden, code: codeUnauthorized,
		message: "An API key can neither create nor revoke API keys.",
		remediation: "Create a key with `kubectl apply` of an ApiKey, or in the dashboard; " +
			"revoke it with `kubectl delete apikey NAME`, or in the dashboard.",
	}
	// One for both: a replica that has just started, and one that has lost the cluster, don't know which keys are good.
	errUnavailable = &problem{
		status: http.StatusServiceUnavailable, code: codeUnavailable,
		message:     "This server does not know at the moment which keys are valid: it has just started, or is cut off from its cluster.",
		remediation: "Try again in a few seconds. Another replica may answer at once.",
		headers:     map[string]string{"Retry-After": "5"},
	}
	// The database, or where media are. What was begun may have been done, where the connection broke on the way; nothing
	// of it is lost.
	errStorage = &problem{
		status: http.StatusServiceUnavailable, code: codeUnavailable,
		message:     "This server can't reach its storage at the moment.",
		remediation: "Try again in a few seconds. Send writes with an Idempotency-Key, so that repeating them is safe.",
		headers:     map[string]string{"Retry-After": "5"},
	}
	// It may take as long as it takes somebody to make room.
	errStorageFull = &problem{
		status: http.StatusServiceUnavailable, code: codeUnavailable, rule: "media.storage_full",
		message:     "This server has no room for the file at the moment. Nothing was stored.",
		remediation: "Try again later, or ask whoever runs this server to make room.",
		headers:     map[string]string{"Retry-After": "60"},
	}
	// Nobody reads it.
	errClientGone = &problem{
		status: statusClientGone, code: codeUnavailable,
		message: "The caller did not wait for the answer.",
	}
	errDraining = &problem{
		status: http.StatusServiceUnavailable, code: codeUnavailable,
		message:     "This server is about to stop.",
		remediation: "Send new requests to another replica.",
	}
	errInternal = &problem{
		status: http.StatusInternalServerError, code: codeInternalError,
		message:     "An unexpected error occurred.",
		remediation: "Try again. If it persists, give the requestId to whoever runs this server.",
	}
)

// statusClientGone is what nginx logs for a request whose caller has gone. It is never sent to anybody.
const statusClientGone = 499

// errMethod is for a path that exists and a method that it does not have. allow lists those it has.
func errMethod(allow string) *problem {
	return &problem{
		status: http.StatusMethodNotAllowed, code: codeValidationFailed, rule: "method",
		message:     "This endpoint does not have this method.",
		remediation: "Use one of: " + allow + ".",
		headers:     map[string]string{"Allow": allow},
	}
}

// errInvalid is for a parameter, or a part of the body, that breaks the rule of that name.
func errInvalid(rule, message, remediation string) *problem {
	return &problem{
		status: http.StatusBadRequest, code: codeValidationFailed,
		rule: rule, message: message, remediation: remediation,
	}
}

// panicError is a panic that was caught on its way out of a route.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// panicked makes an error of a recovered value. http.ErrAbortHandler goes on: it asks for the connection to be cut.
func panicked(v any) error {
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http itself compares it so: it is never wrapped.
		panic(v)
	}
	return &panicError{v, debug.Stack()}
}

// problems is the one place where an error meets a client.
type problems struct {
	docs     string // base URL, without a slash at its end
	noHeader *problem
	badKey   *problem
	scopes   map[v1alpha1.Scope]*problem // a key lacks it
}

// newProblems is given the documentation's base URL, the prefix of the keys that are accepted here, and the routes.
func newProblems(docs, prefix string, routes []route) problems {
	ps := problems{
		docs:     strings.TrimRight(docs, "/"),
		noHeader: unauthenticated(prefix, `Bearer realm="letmepost"`),
		badKey:   unauthenticated(prefix, `Bearer realm="letmepost", error="invalid_token"`),
		scopes:   map[v1alpha1.Scope]*problem{},
	}
	for i := range routes {
		if scope := routes[i].scope; scope != "" {
			ps.scopes[scope] = lacking(scope)
		}
	}
	return ps
}

// ruleScope is the rule that a key without a route's scope breaks.
const ruleScope = "api_key.scope"

// lacking has the challenge of RFC 6750 section 3.1.
func lacking(scope v1alpha1.Scope) *problem {
	return &problem{
		status: http.StatusForbidden, code: codeUnauthorized, rule: ruleScope,
		message:     "The key does not have the scope " + string(scope) + ".",
		remediation: "GET /v1/whoami lists the key's scopes. Keys are immutable: for more, make a new key.",
		headers: map[string]string{
			"Www-Authenticate": `Bearer realm="letmepost", error="insufficient_scope", scope="` + string(scope) + `"`,
		},
	}
}

// of returns the problem that err is to the caller. What it does not know is errInternal, and its text stays inside.
func (ps problems) of(err error) *problem {
	var p *problem
	var refusal authn.Refusal
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal) && refusal == authn.Missing:
		return ps.noHeader
	case errors.As(err, &refusal):
		return ps.badKey
	case errors.Is(err, authn.ErrUnavailable):
		return errUnavailable
	case errors.Is(err, media.ErrFull):
		return errStorageFull
	case errors.Is(err, store.ErrUnavailable),
		errors.Is(err, media.ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded):
		return errStorage
	case errors.Is(err, store.ErrClaimLost):
		return errRunning
	case errors.Is(err, context.Canceled):
		return errClientGone
	default:
		return errInternal
	}
}

// unauthenticated has one body for all refusals, so that nobody learns from it what a key was or is. The challenge
// tells one thing apart, which the caller knows: whether there was a header (RFC 6750 section 3).
func unauthenticated(prefix, challenge string) *problem {
	return &problem{
		status: http.StatusUnauthorized, code: codeUnauthenticated,
		message: "The request has no API key that is valid here.",
		remediation: "Send one header `Authorization: Bearer KEY`, with a key that begins with " + prefix +
			" and has neither been revoked nor expired.",
		headers: map[string]string{"Www-Authenticate": challenge}, // net/http's spelling of the name
	}
}

// errorEnvelope is the body of every response that is not a success.
type errorEnvelope struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Code        string `json:"code" doc:"What kind of error it is. Branch on this."`
	Message     string `json:"message" doc:"What is wrong, for people."`
	Rule        string `json:"rule,omitempty" doc:"The rule that the request broke, where there is one."`
	Platform    string `json:"platform,omitempty" doc:"The platform whose rule it is, if it is one's."`
	Remediation string `json:"remediation,omitempty" doc:"What to do next, for people."`
	DocURL      string `json:"docUrl" format:"uri" doc:"Where this code is documented."`
	RuleURL     string `json:"ruleUrl,omitempty" format:"uri" doc:"Where the rule is documented, if there is one."`
	RequestID   string `json:"requestId" doc:"The value of the X-Request-Id header, for support."`
}

func (ps problems) envelope(p *problem, requestID string) errorEnvelope {
	ruleURL := ""
	if p.rule != "" {
		ruleURL = ps.docs + "/preflight/" + strings.ToLower(strings.ReplaceAll(p.rule, ".", "-"))
	}
	return errorEnvelope{errorBody{
		Code:        p.code,
		Message:     p.message,
		Rule:        p.rule,
		Platform:    p.platform,
		Remediation: p.remediation,
		DocURL:      ps.docs + "/errors/" + p.code,
		RuleURL:     ruleURL,
		RequestID:   requestID,
	}}
}
