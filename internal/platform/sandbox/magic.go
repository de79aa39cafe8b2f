// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// MagicText makes the sandbox behave as platforms sometimes do, if a post's text contains it. Callers' tests rely on
// what each does: it stays as docs/http-api.md lists it.
type MagicText struct {
	Text  string
	Code  string // of the failure; "": it is published
	Means string // one sentence, for documentation

	failure platform.Failure
	outcome func(platform.Failure) platform.Outcome // of Publish; nil: there is no failure
}

// slowFor is how long a slow post takes: longer than a caller expects, and shorter than an attempt may take.
const slowFor = 3 * time.Second

// It has no outcome of its own, so Publish asks for it by itself.
var slow = MagicText{Text: "sandbox:slow", Means: "It takes 3 seconds. It goes together with the other texts."}

// preflightFailed is the only failure that Publish never sees.
var preflightFailed = magic("sandbox:preflight_failed", "It is refused before anything is stored.", rejected,
	platform.Failure{
		Code:        platform.CodePreflightFailed,
		Message:     "The sandbox was asked to refuse this post before it is sent.",
		Rule:        "sandbox.preflight_failed",
		Remediation: remediation,
	})

const (
	remediation = "Take the magic text out of the post."
	look        = " With a real platform: look at the account, and retry the post only if it is not there."
)

// What each failure says of where the post is, as a real platform's client would have to. They decide what becomes of
// the post: the first may not be retried unchanged, the second may, and of the third a person has to find out.
func rejected(f platform.Failure) platform.Outcome { return platform.Rejected{Failure: f} }
func notTaken(f platform.Failure) platform.Outcome { return platform.NotTaken{Failure: f} }
func unknown(f platform.Failure) platform.Outcome  { return platform.OutcomeUnknown{Failure: f} }

// Magic lists the magic texts. If a post contains several failures, the first one counts. The codes are those of real
// platforms, and the rules are not, except for the two that package publish gives: callers that handle these handle
// the real ones.
var Magic = []MagicText{
	preflightFailed,
	magic("sandbox:auth_failed", "The account's credentials are no longer good. The post becomes rejected.", rejected,
		platform.Failure{
			Code:             platform.CodeAuthFailed,
			Message:          "The platform does not accept the account's credentials any more.",
			Rule:             "sandbox.auth_failed",
			Remediation:      remediation + " With a real platform: connect the account again.",
			PlatformResponse: json.RawMessage(`{"error":"AuthenticationRequired","message":"Invalid credentials (sandbox)"}`),
		}),
	magic("sandbox:rejected", "The platform says no. The post becomes rejected.", rejected, platform.Failure{
		Code:             platform.CodeRejected,
		Message:          "The platform rejected the post.",
		Rule:             "sandbox.rejected",
		Remediation:      remediation + " With a real platform: platformResponse says why.",
		PlatformResponse: json.RawMessage(`{"error":"InvalidRequest","message":"Rejected (sandbox)"}`),
	}),
	magic("sandbox:unavailable", "The platform can't be reached. The post becomes failed, and may be retried.", notTaken,
		platform.Failure{
			Code:        platform.CodeUnavailable,
			Message:     "The platform could not be reached.",
			Rule:        "sandbox.unavailable",
			Remediation: remediation + " With a real platform: retry later.",
		}),
	magic("sandbox:rate_limited", "The platform asks to slow down. The post becomes failed, and may be retried.", notTaken,
		platform.Failure{
			Code:        platform.CodeRateLimited,
			Message:     "The platform asks to slow down.",
			Rule:        "sandbox.rate_limited",
			Remediation: remediation + " With a real platform: retry later.",
		}),
	magic("sandbox:internal_error", "This server makes a mistake. The post becomes failed, and may be retried.", notTaken,
		platform.Failure{
			Code:        platform.CodeInternalError,
			Message:     "Something went wrong on this server.",
			Rule:        "sandbox.internal_error",
			Remediation: remediation,
		}),
	magic("sandbox:timeout",
		"The platform does not answer in time. The post becomes failed. Whether the platform has it, nobody knows.",
		unknown, platform.Failure{
			Code:        platform.CodeUnavailable,
			Message:     "The platform did not answer in time. Whether it took the post is not known.",
			Rule:        "publish.timeout",
			Remediation: remediation + look,
		}),
	magic("sandbox:outcome_unknown",
		"The server is stopped while it publishes. The post becomes failed. Whether the platform has it, nobody knows.",
		unknown, platform.Failure{
			Code:        platform.CodeInternalError,
			Message:     "The server was stopped while it published the post. Whether the platform took it is not known.",
			Rule:        "publish.outcome_unknown",
			Remediation: remediation + look,
		}),
	slow,
}

// magic takes Code from the failure, so that the two never differ.
func magic(text, means string, outcome func(platform.Failure) platform.Outcome, f platform.Failure) MagicText {
	return MagicText{Text: text, Code: f.Code, Means: means, failure: f, outcome: outcome}
}
