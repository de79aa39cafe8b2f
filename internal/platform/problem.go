// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package platform

import "github.com/letmepost/letmepost-operator/internal/problem"

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
	default:
		return problem.Internal
	}
}
