// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"encoding/json"
	"fmt"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Rules of failures that are this server's own. By them callers tell whether the platform may have the post, and
// whether to retry it, so they never change.
const (
	// RuleOutcomeUnknown says that the attempt was cut off: the platform may have the post.
	RuleOutcomeUnknown = store.RuleOutcomeUnknown
	// RuleTimeout says that the platform did not answer in time: it may have the post.
	RuleTimeout = "publish.timeout"
	// RuleNotSent says that the platform was not asked: it does not have the post.
	RuleNotSent = "publish.not_sent"
	// RuleNotConnected says that the account was disconnected meanwhile.
	RuleNotConnected = "target.account.not_connected"
)

// look is what to do if the platform may have the post.
const look = "Look at the account on the platform. Retry the post only if it is not there."

// outcomeUnknown is what becomes of an attempt that was cut off, by the death of its process or otherwise.
func outcomeUnknown() *platform.Failure {
	return &platform.Failure{
		Code:        platform.CodeInternalError,
		Message:     "The server was stopped while it published the post. Whether the platform took it is not known.",
		Rule:        RuleOutcomeUnknown,
		Remediation: look,
	}
}

// timedOut has the code of the platform's failures, not of ours: it is the platform that took too long.
func timedOut(name platform.Name) *platform.Failure {
	return &platform.Failure{
		Code:        platform.CodeUnavailable,
		Message:     fmt.Sprintf("The platform %s did not answer in time. Whether it took the post is not known.", name),
		Rule:        RuleTimeout,
		Remediation: look,
	}
}

// isGone is why a platform can't be asked about a post whose account was disconnected meanwhile.
const isGone = "The account was disconnected."

// mayBeThere is how a post ends that its platform may have, and that it could not be asked about. response is what the
// platform said to that.
func mayBeThere(why string, response json.RawMessage) *platform.Failure {
	return &platform.Failure{
		Code:             platform.CodeUnavailable,
		Message:          "It is not known whether the platform has the post, and it could not be asked. " + why,
		Rule:             RuleOutcomeUnknown,
		Remediation:      look,
		PlatformResponse: response,
	}
}

// notEnabled names no reason, which only the operator could do something about.
func notEnabled(name platform.Name) *platform.Failure {
	return &platform.Failure{
		Code:        platform.CodeNotEnabled,
		Message:     fmt.Sprintf("This server does not publish to %s.", name),
		Remediation: "Ask whoever runs the server to enable the platform.",
	}
}

// These are shared between attempts: nobody changes them. None repeats an error of ours, which goes to the log, because
// whoever wrote the post can't act on it, and it may tell what is none of their business.
var (
	// mistake: what a platform's client had done when it failed is not known, so the worst is assumed.
	mistake = &platform.Failure{
		Code: platform.CodeInternalError,
		Message: "Something went wrong on this server while it published the post. " +
			"Whether the platform took it is not known.",
		Rule:        RuleOutcomeUnknown,
		Remediation: look,
	}
	// notSent: it failed before the platform was asked, so that the post may be retried without looking.
	notSent = &platform.Failure{
		Code:        platform.CodeInternalError,
		Message:     "Something went wrong on this server before the post was sent. The platform does not have it.",
		Rule:        RuleNotSent,
		Remediation: "Retry the post.",
	}
	// stopped: the process ended before it was the post's turn.
	stopped = &platform.Failure{
		Code:        platform.CodeInternalError,
		Message:     "The server was stopped before the post was sent. The platform does not have it.",
		Rule:        RuleNotSent,
		Remediation: "Retry the post.",
	}
	// disconnected has an auth failure's code: a retry without a new connection comes to the same.
	disconnected = &platform.Failure{
		Code:        platform.CodeAuthFailed,
		Message:     "The account was disconnected before the post was sent.",
		Rule:        RuleNotConnected,
		Remediation: "Connect the account again, and make the post anew.",
	}
)
