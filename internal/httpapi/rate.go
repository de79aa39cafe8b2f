// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/rate"
)

// admit lets a request in: its key is recognised, has the scope that the route names, and is within its rate. In this
// order: who is not known is told nothing of scopes, and who may not do a thing does not pay for it.
func (a *API) admit(r *request) error {
	if err := a.config.Authenticator.Admit(r.http.Context(), r.http.Header["Authorization"], &r.flight); err != nil {
		return a.refuse(r, err)
	}
	caller := r.caller()
	if r.route.scope != "" && !caller.Scopes.Has(r.route.scope) {
		return a.problems.scopes[r.route.scope]
	}
	r.allowance = a.config.Limits.Take(r.http.Context(), caller, r.start)
	if !r.allowance.Allowed {
		return errRateLimited(r.allowance.RetryAfter, "The key's requests are used up for the moment.",
			"Wait the seconds of Retry-After. The headers RateLimit-Policy and RateLimit tell what is left.")
	}
	return nil
}

// refuse counts a failed authentication against where it came from. A good key is let in from there all the same:
// neighbours behind one address can't lock each other out.
func (a *API) refuse(r *request, err error) error {
	if !errors.As(err, new(authn.Refusal)) {
		return err
	}
	left := a.config.Failures.Take(clientAddress(r.http, a.config.TrustedProxies), r.start)
	if left.Allowed {
		return err
	}
	return errors.Join(
		errRateLimited(left.RetryAfter, "There were too many requests without a valid key from this address.",
			"Wait the seconds of Retry-After, and send a key that is valid here."),
		err,
	)
}

func errRateLimited(retryAfter time.Duration, message, remediation string) *problem {
	return &problem{
		status: http.StatusTooManyRequests, code: codeRateLimited, message: message, remediation: remediation,
		headers: map[string]string{"Retry-After": strconv.FormatInt(seconds(retryAfter), 10)},
	}
}

// seconds rounds up: who waits as long as it says has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// limitHeaders sets RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10), with a policy of the name
// "key".
func limitHeaders(h http.Header, left rate.Allowance) {
	var buffer [64]byte
	policy := append(buffer[:0], `"key";q=`...)
	policy = strconv.AppendInt(policy, left.Rate.Requests, 10)
	policy = append(policy, `;w=`...)
	policy = strconv.AppendInt(policy, seconds(left.Rate.Window), 10)
	end := len(policy)
	limit := append(policy, `"key";r=`...)
	limit = strconv.AppendInt(limit, left.Remaining, 10)
	limit = append(limit, `;t=`...)
	limit = strconv.AppendInt(limit, seconds(left.Reset), 10)
	both := string(limit)
	values := []string{both[:end], both[end:]}
	h["Ratelimit-Policy"], h["Ratelimit"] = values[0:1:1], values[1:2:2]
}
