// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"encoding/json"

	"github.com/letmepost/letmepost-operator/internal/problem"
)

// Codes of failures. They stand beside the codes of the HTTP contract, in the same place of the same envelope, and
// decide what becomes of a post: see store.Outcome.
const (
	CodePreflightFailed = "preflight_failed"     // it would be refused, and was not sent
	CodeAuthFailed      = "platform_auth_failed" // the account's credentials are no longer good
	CodeRejected        = "platform_rejected"    // the platform took it and said no
	CodeUnavailable     = "platform_unavailable" // the platform could not be asked
	CodeRateLimited     = "rate_limited"         // the platform asks to slow down
	CodeNotEnabled      = "platform_not_enabled" // this server does not offer the platform
	CodeInternalError   = "internal_error"       // a mistake of ours, or an outcome that is unknown
	CodeInvalid         = "validation_failed"    // what was asked makes no sense; the rule names the field
)

// Failure is why a post was not published, or an account not connected. It is shown to its author as it is, so it holds
// nothing that the author may not see: no secret, and nothing of another organization.
type Failure struct {
	Code             string          `json:"code" doc:"What kind of failure it is. Branch on this."`
	Message          string          `json:"message" doc:"What is wrong, for people."`
	Rule             string          `json:"rule,omitempty" doc:"The rule that was broken, where there is one."`
	Remediation      string          `json:"remediation,omitempty" doc:"What to do next, for people."`
	PlatformResponse json.RawMessage `json:"platformResponse,omitempty" doc:"What the platform said, if it said anything."`
}

// Error makes a Failure an error.
func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Problem is the failure as that of a request to a platform: what the caller is told when nothing has been stored that
// could tell it later.
func (f *Failure) Problem(of Name) *problem.Problem {
	return &problem.Problem{
		Kind: f.kind(), Code: f.Code, Rule: f.Rule, Message: f.Message, Remediation: f.Remediation, Platform: string(of),
	}
}

func (f *Failure) kind() problem.Kind {
	switch f.Code {
	case CodeInvalid, CodePreflightFailed, CodeRejected:
		return problem.Invalid
	case CodeAuthFailed, CodeNotEnabled:
		return problem.Forbidden
	case CodeRateLimited:
		return problem.RateLimited
	case CodeUnavailable:
		return problem.Upstream
	// Also a code that nobody has thought of. Who connects an account is not told the text of such a failure: it goes to
	// the log (connecting.Failed).
	default:
		return problem.Internal
	}
}
