// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package problem is what is wrong with what somebody asks for, in words for them.
//
// A Problem is made where the mistake is found and shown by whatever carries the answer: the HTTP contract makes a
// status and an envelope of it, a page a sentence. It knows neither.
package problem

import (
	"strings"
	"time"
)

// Kind is what sort of problem it is. It decides how an answer is marked: HTTP has a status for each.
type Kind uint8

// The kinds. The zero Kind is a mistake of ours.
const (
	Internal        Kind = iota
	Invalid              // the request makes no sense, or breaks a rule
	Unauthenticated      // nobody was recognised
	Forbidden            // whoever it is may not do this
	NotFound             // it is not there, or not for them
	NoMethod             // it is there, and can't be asked for this
	Conflict             // its state does not allow it
	TooLarge             // it is more than is taken
	Unsupported          // it is written in a way that is not read
	RateLimited          // they have asked too often, or have as much as they may
	Gone                 // they did not wait for the answer, and nobody reads it
	Upstream             // a platform could not be asked
	Unavailable          // this server can't do it at the moment
)

// Codes of problems that any room may have. Platforms have more: see package platform.
const (
	CodeValidationFailed    = "validation_failed"
	CodeUnauthenticated     = "unauthenticated"
	CodeUnauthorized        = "unauthorized"
	CodeNotFound            = "not_found"
	CodeIdempotencyConflict = "idempotency_conflict"
	CodeRateLimited         = "rate_limited"
	CodeQuotaExceeded       = "quota_exceeded"
	CodeInternalError       = "internal_error"
	CodeUnavailable         = "unavailable"
)

// Problem is one thing that is wrong. Its texts are the same for everyone: they hold nothing of the request and nothing
// of what is stored, so that neither a key nor somebody else's data can end up in an answer or a log. Numbers of what
// an organization has are the exception, for those who reach all of it.
type Problem struct {
	Kind        Kind
	Code        string // what programs branch on
	Rule        string // which rule was broken, for programs; may be ""
	Message     string // what is wrong
	Remediation string // what to do next
	Platform    string // whose rule it is; "": it is no platform's

	// Challenge is that of RFC 6750, section 3; "" for none.
	Challenge string
	// RetryAfter is when it is worth trying again; 0: that is not known.
	RetryAfter time.Duration
	// Class is how the audit log names a refusal; "": it is no refusal, or package admission has named it.
	Class string
}

// DocPath is where a code is documented, below the base of the documentation.
func DocPath(code string) string { return "/errors/" + code }

// RulePath is where a rule is, alike: "mode_conflict" at /preflight/mode_conflict, "media.type" at
// /preflight/media-type.
func RulePath(rule string) string {
	return "/preflight/" + strings.ToLower(strings.ReplaceAll(rule, ".", "-"))
}

// Error implements error. It is for logs, and says no more than the caller is told.
func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// NewInvalid is for a part of a request that breaks the rule of that name.
func NewInvalid(rule, message, remediation string) *Problem {
	return &Problem{Kind: Invalid, Code: CodeValidationFailed, Rule: rule, Message: message, Remediation: remediation}
}

// NewNotFound is for what is not there, or not for who asks: one for both, to the byte.
func NewNotFound(message, remediation string) *Problem {
	return &Problem{Kind: NotFound, Code: CodeNotFound, Message: message, Remediation: remediation}
}

// NewConflict is for a thing whose state does not allow what is asked.
func NewConflict(rule, message, remediation string) *Problem {
	return &Problem{Kind: Conflict, Code: CodeValidationFailed, Rule: rule, Message: message, Remediation: remediation}
}
