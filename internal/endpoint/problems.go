// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/wire"
)

// statusClientGone is what nginx logs for a request whose caller has gone. It is never sent to anybody.
const statusClientGone = 499

// statuses of the kinds of problems. What is not for a caller is NotFound, never Forbidden: a 403 would tell that it is
// there. Each kind must be here: at the status 0 of one that is missing, net/http panics.
var statuses = [...]int{
	problem.Internal:        http.StatusInternalServerError,
	problem.Invalid:         http.StatusBadRequest,
	problem.Unauthenticated: http.StatusUnauthorized,
	problem.Forbidden:       http.StatusForbidden,
	problem.NotFound:        http.StatusNotFound,
	problem.NoMethod:        http.StatusMethodNotAllowed,
	problem.Conflict:        http.StatusConflict,
	problem.TooLarge:        http.StatusRequestEntityTooLarge,
	problem.Unsupported:     http.StatusUnsupportedMediaType,
	problem.RateLimited:     http.StatusTooManyRequests,
	problem.Gone:            statusClientGone,
	problem.Upstream:        http.StatusBadGateway,
	problem.Unavailable:     http.StatusServiceUnavailable,
}

// reply is a problem as it is answered. Allow is here and not in problem.Problem because methods are HTTP's alone.
type reply struct {
	*problem.Problem
	allow string // the Allow header; "": there is none
}

func (p reply) status() int { return statuses[p.Kind] }

// setHeaders sets what the problem says in the header. The keys are net/http's spelling of the names: another one would
// go out as it stands, but be another entry of the map.
func (p reply) setHeaders(h http.Header) {
	if p.Challenge != "" {
		h["Www-Authenticate"] = []string{p.Challenge}
	}
	if p.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.FormatInt(seconds(p.RetryAfter), 10)}
	}
	if p.Kind == problem.Unsupported { // RFC 9110 section 12.5.3: what would be taken
		h["Accept-Encoding"] = []string{wire.Encoding}
	}
	if p.allow != "" {
		h["Allow"] = []string{p.allow}
	}
}

// final tells whether a request that ended so would end so again. Then the answer is one to be stored, so that whoever
// sends it again learns what came of it. What passes by itself (an outage, a rate, a claim that somebody else holds) is
// not, and what nobody was told (Gone) never was an answer.
func (p reply) final() bool {
	return p.status() < http.StatusInternalServerError && p.Kind != problem.Gone && p.Kind != problem.RateLimited &&
		p.Code != problem.CodeIdempotencyConflict
}

// noMethod is for a path that exists and a method that it does not have. RFC 9110 section 15.5.6 wants Allow with it.
type noMethod struct{ reply }

// Unwrap returns the problem, which says all but the Allow header.
func (n noMethod) Unwrap() error { return n.Problem }

// errNoMethod is given the methods that the path has.
func errNoMethod(allow string) error {
	return noMethod{reply{allow: allow, Problem: &problem.Problem{
		Kind: problem.NoMethod, Code: problem.CodeValidationFailed, Rule: "method",
		Message:     "This endpoint does not have this method.",
		Remediation: "Use one of: " + allow + ".",
	}}}
}

// errNoRoute is for a path that is none. It says where to look, since a wrong path is a wrong client, not a missing
// thing.
var errNoRoute = problem.NewNotFound("There is no such endpoint.",
	"GET /v1/openapi.json lists the endpoints. Paths are in small letters, and end without a slash.")

// Problems that any endpoint may have.
var (
	// ErrUnavailable is one for both: a replica that has just started, and one that has lost the cluster, don't know which
	// keys are good. It is no 401: a client would throw a good key away for it.
	ErrUnavailable = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message: "This server does not know at the moment which keys are valid: it has just started, " +
			"or is cut off from its cluster.",
		Remediation: "Try again in a few seconds. Another replica may answer at once.",
		RetryAfter:  5 * time.Second,
	}
	// ErrStorage is for the database, or where media are. What was begun may have been done, where the connection broke on
	// the way; nothing of it is lost.
	ErrStorage = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message:     "This server can't reach its storage at the moment.",
		Remediation: "Try again in a few seconds. Send writes with an Idempotency-Key, so that repeating them is safe.",
		RetryAfter:  5 * time.Second,
	}
	// errBusy is for whoever there is no room for. To wait here would take the room that there is.
	errBusy = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message:     "This server has as many requests as it has room for.",
		Remediation: "Try again in a few seconds. Another replica may answer at once.",
		RetryAfter:  2 * time.Second,
	}
	// errShare is for one organization's calls that keep each other waiting: the storage is there, and others' go on.
	errShare = &problem.Problem{
		Kind: problem.RateLimited, Code: problem.CodeRateLimited,
		Message: "Too many requests of this organization wait for the database at once.",
		Remediation: "Wait the seconds of Retry-After, and send fewer at a time. " +
			"Send writes with an Idempotency-Key, so that repeating them is safe.",
		RetryAfter: 2 * time.Second,
	}
	// ErrDraining is for whoever asks whether to send requests here. Requests that come all the same are answered.
	ErrDraining = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message:     "This server is about to stop.",
		Remediation: "Send new requests to another replica.",
	}
	// What is answered to people alone, who are signed in. That an organization is not theirs is not told from that it is
	// not there.
	errNoOrganization = &problem.Problem{
		Kind: problem.NotFound, Code: problem.CodeNotFound, Rule: organizationParam,
		Message:     "There is no such organization, or not for you: you may not read this in it.",
		Remediation: "Check the name, or have somebody who administers the namespace give you the role view there.",
	}
	errNoneChosen = problem.NewInvalid(organizationParam, "Whose organization is meant is not said.",
		"Choose one in the dashboard, or name it: ?organization=NAME.")
	errUndecided = &problem.Problem{
		Kind: problem.Unavailable, Code: problem.CodeUnavailable,
		Message:     "This server can't tell at the moment who is signed in, or what they may do.",
		Remediation: "Try again in a few seconds. With an API key, requests are answered all the same.",
		RetryAfter:  5 * time.Second,
	}
	// errInternal is whatever is a mistake of ours. Its reason stays in the log: texts of errors may hold anything.
	errInternal = &problem.Problem{
		Kind: problem.Internal, Code: problem.CodeInternalError,
		Message:     "An unexpected error occurred.",
		Remediation: "Try again. If it persists, give the requestId to whoever runs this server.",
	}
	// errClientGone is read by nobody but the log. It is no mistake of ours, which a 5xx would make it.
	errClientGone = &problem.Problem{
		Kind: problem.Gone, Code: problem.CodeUnavailable,
		Message: "The caller did not wait for the answer.",
	}
)

// ruleScope is the rule that a caller without a route's scope breaks.
const ruleScope = "api_key.scope"

// panicError is a panic that was caught on its way out of a route. It costs its own request alone, and the log has the
// stack; net/http would close the connection, and the caller would not know whether anything was done.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// panicked makes an error of a recovered value, with the stack, which is gone once the deferred function returns.
// http.ErrAbortHandler goes on: it asks for the connection to be cut.
func panicked(v any) error {
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http itself compares it so: it is never wrapped.
		panic(v)
	}
	return &panicError{v, debug.Stack()}
}

// problems is the one place where an error meets a client. Whatever a handler returns comes out as an envelope of here,
// so that no text of a database, a file system or a library reaches anybody.
type problems struct {
	docs      string // base URL, without a slash at its end
	prefix    string // of the keys that are accepted here
	admission *admission.Admission
	explain   func(error) *problem.Problem // see Config.Explain; not nil
}

// newProblems makes what can be made before the first request: the texts depend on nothing but the configuration.
func newProblems(c Config) problems {
	ps := problems{
		docs:      strings.TrimRight(c.DocsBaseURL, "/"),
		prefix:    c.KeyFormat.Prefix(c.Environment),
		admission: c.Admission, explain: c.Explain,
	}
	if ps.explain == nil {
		ps.explain = func(error) *problem.Problem { return nil }
	}
	return ps
}

// of returns what err is to the caller. What it does not know is errInternal, and its text stays inside.
//
// The order counts where one error holds another. A problem comes first, because whoever made it has decided what the
// caller is told; context.Canceled comes last, because much ends with it that has another cause: a key that was
// revoked, a database that is away.
func (ps problems) of(err error) reply {
	var method noMethod
	var p *problem.Problem
	if errors.As(err, &method) { // before its own problem, which knows of no Allow
		return method.reply
	}
	if errors.As(err, &p) {
		return reply{Problem: p}
	}
	if refusal := ps.admission.Of(err); refusal != nil {
		return reply{Problem: ps.refused(refusal)}
	}
	if p := ps.explain(err); p != nil {
		return reply{Problem: p}
	}
	switch {
	case errors.Is(err, admission.ErrNoOrganization):
		return reply{Problem: errNoOrganization}
	case errors.Is(err, admission.ErrNoneChosen):
		return reply{Problem: errNoneChosen}
	case errors.Is(err, admission.ErrUndecided):
		return reply{Problem: errUndecided}
	case errors.Is(err, store.ErrBusy): // before what it is one of
		return reply{Problem: errShare}
	// What has a deadline here is what goes over the network: the database, the media, a platform.
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return reply{Problem: ErrStorage}
	case errors.Is(err, store.ErrClaimLost): // somebody else runs the request, because this process seemed to be dead
		return reply{Problem: errRunning}
	case errors.Is(err, context.Canceled):
		return reply{Problem: errClientGone}
	default:
		return reply{Problem: errInternal}
	}
}

// Problem returns what a caller is told of an error, for answers that are no envelope.
func (r *Request) Problem(err error) *problem.Problem { return r.engine.problems.of(err).Problem }

// refused is what is said to somebody who is not let in: what admission says, and what to do next at an endpoint.
func (ps problems) refused(r *admission.Refusal) *problem.Problem {
	p := r.Problem()
	switch {
	case r.Code == admission.InsufficientScope:
		p.Rule = ruleScope
		p.Remediation = "GET /v1/whoami lists the key's scopes. Keys are immutable: for more, make a new key."
	case r.Code == admission.RateLimited && r.ByAddress:
		p.Remediation = "Wait the seconds of Retry-After, and send a key that is valid here."
	case r.Code == admission.RateLimited:
		p.Remediation = "Wait the seconds of Retry-After. The headers RateLimit-Policy and RateLimit tell what is left."
	case r.Code == admission.Unauthenticated:
		p.Remediation = "Send one header `Authorization: Bearer KEY`, with a key that begins with " + ps.prefix +
			" and has neither been revoked nor expired."
	default: // admission.Unavailable, and whatever may come to be added
		return ErrUnavailable
	}
	return &p
}

// classOf returns how the audit log names the refusal that err is; "" if it is none. A problem has a class if the
// contract refuses what admission can't know of: a key that asks for keys. A panic on the way is a mistake of ours,
// whatever else it was, and must not be hidden among the refusals.
func (e *Engine) classOf(err error) string {
	var p *problem.Problem
	switch {
	case err == nil || errors.As(err, new(*panicError)):
		return ""
	case errors.As(err, &p):
		return p.Class
	}
	if refusal := e.config.Admission.Of(err); refusal != nil {
		return refusal.Class
	}
	return ""
}
