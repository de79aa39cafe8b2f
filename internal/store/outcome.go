// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import "github.com/letmepost/letmepost-operator/internal/platform"

// Status is what becomes of the post.
func (o Outcome) Status() Status {
	if o.Failure == nil {
		return Published
	}
	switch o.Failure.Code {
	case platform.CodePreflightFailed, platform.CodeAuthFailed, platform.CodeRejected:
		return Rejected
	default:
		return Failed
	}
}
