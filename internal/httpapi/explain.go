// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/internal/endpoint"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/posting"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// errStorageFull may last as long as it takes somebody to make room, so callers are to wait for longer than in an
// outage. It is a 503 and no 507 (RFC 4918): clients and proxies that know of Retry-After look for it there. Its minute
// is a guess, as nobody knows when that is.
var errStorageFull = &problem.Problem{
	Kind: problem.Unavailable, Code: problem.CodeUnavailable, Rule: "media.storage_full",
	Message:     "This server has no room for the file at the moment. Nothing was stored.",
	Remediation: "Try again later, or ask whoever runs this server to make room.",
	RetryAfter:  time.Minute,
}

// explain makes a problem of an error of the rooms below that package endpoint does not know; nil for others. What is
// wrong with a file is not among them: see fileProblem. Whatever it returns nil for, and the engine does not know
// either, becomes an internal error: its text stays in the log.
func explain(err error) *problem.Problem {
	var quota *store.QuotaError
	switch {
	case errors.As(err, &quota):
		return posting.ErrQuota(quota)
	case errors.Is(err, media.ErrFull):
		return errStorageFull
	case errors.Is(err, media.ErrUnavailable):
		return endpoint.ErrStorage
	}
	return nil
}
