// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// Code is how a refusal is to be answered.
type Code uint8

// The codes, with what they are in HTTP and in gRPC.
const (
	Unavailable       Code = iota + 1 // 503, UNAVAILABLE: this replica can't say who is good at the moment
	Unauthenticated                   // 401, UNAUTHENTICATED: nobody was recognised; one answer for all reasons
	InsufficientScope                 // 403, PERMISSION_DENIED: the caller lacks the scope
	RateLimited                       // 429, RESOURCE_EXHAUSTED
)

// Refusal is why a request was not let in, or why its answer may not go out. It holds nothing of what was sent.
type Refusal struct {
	Code Code
	// Reason is why nobody was recognised; "" if somebody was. It is for metrics and logs: those who are refused are told
	// one thing for all reasons.
	Reason Reason
	// Class is how the audit log names the refusal: the reason, or what was lacking; "": it is not in there.
	Class string
	// Scope that is lacking; "" unless that is why.
	Scope v1alpha1.Scope
	// Challenge is that of RFC 6750, section 3; "": there is none.
	Challenge string
	// RetryAfter is when the next request may be let in; 0: that is not known.
	RetryAfter time.Duration
	// ByAddress tells that it is failed attempts from one address that are too many, and not a caller's requests.
	ByAddress bool
}

// Error implements error.
func (r *Refusal) Error() string {
	switch r.Code {
	case Unavailable:
		return authn.ErrUnavailable.Error()
	case InsufficientScope:
		return "unauthorized: insufficient_scope"
	case RateLimited:
		return "rate_limited"
	default:
		return r.Reason.Error()
	}
}

// Problem is what whoever is refused is told, the same whatever carries the answer. Those who were not recognised are
// all told one thing, so that nobody learns from it what a key was or is: whoever finds a key in an old commit can't
// tell whether it was ever good.
//
// What to do next depends on what was asked, and how; that is left to whoever carries the answer. So is the message of
// Unavailable, which stands also for whatever code may come to be added: then nobody is let in by mistake.
func (r *Refusal) Problem() problem.Problem {
	p := problem.Problem{Challenge: r.Challenge, RetryAfter: r.RetryAfter}
	switch r.Code {
	case Unauthenticated:
		p.Kind, p.Code = problem.Unauthenticated, problem.CodeUnauthenticated
		p.Message = "The request has no API key that is valid here."
	case InsufficientScope:
		p.Kind, p.Code = problem.Forbidden, problem.CodeUnauthorized
		p.Message = "The key does not have the scope " + string(r.Scope) + "."
	case RateLimited:
		p.Kind, p.Code = problem.RateLimited, problem.CodeRateLimited
		p.Message = "The key's requests are used up for the moment."
		if r.ByAddress {
			p.Message = "There were too many requests without a valid key from this address."
		}
	default:
		p.Kind, p.Code = problem.Unavailable, problem.CodeUnavailable
	}
	return p
}

// Classes of refusals in the audit log, beside the reasons of package authn: the caller is known, and may not do this.
const (
	ClassScope         = "insufficient_scope"
	ClassKeyManagement = "key_management" // keys can't manage keys
)

// Classes lists every class that a refusal may have.
func Classes() []string {
	classes := []string{ClassScope, ClassKeyManagement}
	for _, reason := range authn.Refusals {
		classes = append(classes, string(reason))
	}
	return classes
}

// Reason is why nobody was recognised.
type Reason = authn.Refusal

// NotRenewed is the reason that people are told: they were signed in, and have been signed out by their provider.
const NotRenewed Reason = authn.NotRenewed

// Reasons lists why nobody may be recognised, for the labels of a metric.
func Reasons() []Reason { return authn.Refusals }

// The challenges of RFC 6750, section 3. They tell one thing apart that the caller knows: whether there were
// credentials. What a key was or is, nobody learns from them.
const (
	challenge             = `Bearer realm="letmepost"`
	challengeInvalidToken = challenge + `, error="invalid_token"`
)

var unavailable = &Refusal{Code: Unavailable}

// unauthenticated are the refusals of those who were not recognised, made once: anyone can cause them.
func unauthenticated() map[authn.Refusal]*Refusal {
	all := make(map[authn.Refusal]*Refusal, len(authn.Refusals))
	for _, reason := range authn.Refusals {
		r := &Refusal{Code: Unauthenticated, Reason: reason, Class: string(reason), Challenge: challengeInvalidToken}
		if reason == authn.Missing {
			r.Challenge = challenge
		}
		all[reason] = r
	}
	return all
}

// insufficientScopes are the refusals of those who lack a scope of the API's, made once, with the challenge of RFC
// 6750, section 3.1.
func insufficientScopes() map[v1alpha1.Scope]*Refusal {
	all := make(map[v1alpha1.Scope]*Refusal, len(v1alpha1.Scopes))
	for _, scope := range v1alpha1.Scopes {
		all[scope] = insufficientScope(scope)
	}
	return all
}

func insufficientScope(scope v1alpha1.Scope) *Refusal {
	return &Refusal{
		Code: InsufficientScope, Class: ClassScope, Scope: scope,
		Challenge: challenge + `, error="insufficient_scope", scope="` + string(scope) + `"`,
	}
}

// lacks is the refusal of whoever lacks a scope. Those of somebody's own are as many as routes ask for.
func (a *Admission) lacks(scope v1alpha1.Scope) *Refusal {
	if known := a.scopes[scope]; known != nil {
		return known
	}
	return insufficientScope(scope)
}

// Of returns the Refusal that an error is: one of Admit, of Admitted's Err or End, or what ended its context. Nil: it
// is none.
func (a *Admission) Of(err error) *Refusal {
	var refusal *Refusal
	var reason authn.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.As(err, &reason):
		return a.unrecognised[reason]
	case errors.Is(err, authn.ErrUnavailable):
		return unavailable
	}
	return nil
}
