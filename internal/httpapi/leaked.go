// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/leak"
)

// leaked takes a report of a key that has leaked. Nobody is asked who they are: whoever holds a key may end it. Reports
// have an allowance of each address that is theirs alone, so that they take nothing of the one for failed attempts.
func (a *API) leaked(r *endpoint.Request) (leak.Received, error) {
	// Before the report is read: to find out what is no key costs something, too.
	if left := a.config.LeakReports.Take(r.Address(), r.Start()); !left.Allowed {
		return leak.Received{}, leak.TooMany(left.RetryAfter)
	}
	key, err := leak.KeyIn(nil, r.HTTP())
	if err != nil {
		return leak.Received{}, err
	}
	if a.config.Leaks == nil {
		return leak.Received{}, leak.Unavailable
	}
	err = a.config.Leaks.Report(r.Context(), key)
	if errors.Is(err, leak.ErrUnavailable) {
		return leak.Received{}, leak.Unavailable
	}
	return leak.Answer, err
}
