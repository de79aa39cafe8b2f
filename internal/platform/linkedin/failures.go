// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Rules of failures, by which callers branch: they never change.
const (
	// Each has its row in docs/errors.md.
	ruleNoAddress   = "linkedin.public_url"
	ruleConsent     = "linkedin.consent_refused"
	ruleScope       = "linkedin.scope"
	ruleCode        = "linkedin.code"
	ruleClient      = "linkedin.client"
	ruleToken       = "linkedin.token"
	ruleDenied      = "linkedin.access_denied"
	ruleSunset      = "linkedin.version.sunset"
	ruleRateLimited = "linkedin.rate_limited"
	ruleUnavailable = "linkedin.unavailable"
	ruleRejected    = "linkedin.rejected"
	ruleDuplicate   = "linkedin.duplicate"
	ruleImage       = "linkedin.image"
	ruleVideo       = "linkedin.media.video_unsupported"
	ruleUnknown     = "publish.outcome_unknown"
	ruleTimeout     = "publish.timeout"
)

const (
	// The first is for a connection that comes to nothing, the second for an account that there is.
	beginAgain = "Connect the account again, from the beginning."
	reconnect  = "Connect the account again. It keeps its id and what is queued for it."
)

// refusedConsent is for whoever came back without having allowed anything (RFC 6749, section 4.1.2.1). What stands in
// an address can be written by anybody, so only codes that are known say more than that it failed.
func refusedConsent(came url.Values) *platform.Failure {
	// Each by the name that RFC 6749 has, and by those that LinkedIn has in its place.
	switch came.Get("error") {
	case "access_denied", "user_cancelled_login", "user_cancelled_authorize":
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleConsent,
			Message:     "The account was not connected: LinkedIn was not allowed to give access to it.",
			Remediation: "Connect the account again, and allow it.",
		}
	case "unauthorized_scope_error", "invalid_scope":
		return &platform.Failure{
			Code: platform.CodeNotEnabled, Rule: ruleScope,
			Message: "LinkedIn does not let this server's app ask for what it needs to post.",
			Remediation: `Tell whoever runs the server: its app at LinkedIn needs the products "Share on LinkedIn" and ` +
				`"Sign In with LinkedIn using OpenID Connect".`,
		}
	}
	return &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleUnavailable,
		Message:     "LinkedIn has sent the browser back with an error: " + short(came.Get("error")),
		Remediation: beginAgain,
	}
}

// notConnected is why an account could not be connected.
func (s *service) notConnected(err error) *platform.Failure {
	if f := s.ofClient(err); f != nil {
		return f
	}
	if refusedBy(err) != nil {
		return withResponse(err, &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleCode,
			Message:     "LinkedIn does not take the code that the browser brought: it is too old, or was used before.",
			Remediation: beginAgain,
		})
	}
	return s.common(err)
}

// notRefreshed is why a token could not be renewed. This server's own app is looked at first: LinkedIn refuses a wrong
// client secret for every account alike, and that must not have everybody connect again.
func (s *service) notRefreshed(err error) *platform.Failure {
	if f := s.ofClient(err); f != nil {
		return f
	}
	if refusedBy(err) != nil {
		return lost(err)
	}
	return s.common(err)
}

// ofClient is the failure of this server's own app; nil: it is not that. No account is to be connected again for it.
func (s *service) ofClient(err error) *platform.Failure {
	r := refusedBy(err)
	if r == nil || r.ErrorCode != "invalid_client" && r.ErrorCode != "unauthorized_client" {
		return nil
	}
	s.Logger.Error("LinkedIn does not take this server's client id and secret",
		"error", r.ErrorCode, "description", short(r.ErrorDescription))
	return withResponse(err, &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleClient,
		Message:     "LinkedIn does not take this server's own credentials.",
		Remediation: "Tell whoever runs the server: the client id or the client secret of its app is wrong.",
	})
}

// lost: the account does not let us in any more. err may be nil: nothing was asked.
func lost(err error) *platform.Failure {
	return withResponse(err, &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleToken,
		Message:     "LinkedIn does not take the account's token any more: it has expired, or was revoked there.",
		Remediation: reconnect,
	})
}

// common is the failure that is the same whatever was asked. err may be any but nil, also of package oauth2. Who has
// a better word for it looks at err before.
func (s *service) common(err error) *platform.Failure {
	var r *serverError
	if !errors.As(err, &r) {
		r = s.asServerError(err)
	}
	switch judge(r) {
	case strange:
		return lost(r)
	// LinkedIn knows the token, so this is not CodeAuthFailed: the account would be marked as to be connected again, and
	// none of its posts would go out, for what may be about one of them.
	case forbidden:
		return withResponse(r, &platform.Failure{
			Code: platform.CodeRejected, Rule: ruleDenied,
			Message: "LinkedIn does not let this server do that for the account.",
			Remediation: "Connect the account again. If that does not help, the server's app at LinkedIn lacks a product, " +
				"or the account is restricted.",
		})
	case slowDown:
		return withResponse(r, &platform.Failure{
			Code: platform.CodeRateLimited, Rule: ruleRateLimited,
			Message: fmt.Sprintf("LinkedIn takes no more today of this account, or of this server. It does again from %s on.",
				r.again.UTC().Format(time.RFC3339)),
			Remediation: "Wait until then.",
		})
	// No account can help it: to connect one again changes nothing, so its posts wait. By the version in the message they
	// are found (Platform.Waits) when a process is started with another one.
	case sunset:
		s.complain()
		return withResponse(r, &platform.Failure{
			Code: platform.CodeUnavailable, Rule: ruleSunset,
			Message:     "LinkedIn does not take " + s.Version.named() + " any more, which this server uses.",
			Remediation: "Tell whoever runs the server: it needs a newer --linkedin-version.",
		})
	// On a first attempt alone. On a second look it is the proof that the post got there, and write adopts it.
	case duplicate:
		return withResponse(r, &platform.Failure{
			Code: platform.CodeRejected, Rule: ruleDuplicate,
			Message:     "LinkedIn rejected the post: the account has posted the same not long ago.",
			Remediation: "Change the text, and publish the post again.",
		})
	case saysNo:
		return withResponse(r, &platform.Failure{
			Code: platform.CodeRejected, Rule: ruleRejected,
			Message:     "LinkedIn rejected it: " + reason(r),
			Remediation: "Change what it objects to, and try again.",
		})
	}
	return unavailable(r)
}

// reason is LinkedIn's own words, or what else it has said.
func reason(r *serverError) string {
	switch {
	case r.message != "":
		return r.message
	case r.code != "":
		return r.code
	}
	return fmt.Sprintf("status %d", r.status)
}

// asServerError is an error of package oauth2 that is none by its protocol, such as a page in place of JSON. Only
// "slow down" means the same wherever it comes from.
func (s *service) asServerError(err error) *serverError {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) && r.Response != nil && r.Response.StatusCode == http.StatusTooManyRequests {
		// By it is found out how long to wait, which the error of package oauth2 does not say.
		return s.serverErrorOf(r.Response, r.Body)
	}
	return &serverError{sent: true, cause: err}
}

// unavailable tells apart what helps to find out why: nothing was reached, or what answered was wrong.
func unavailable(r *serverError) *platform.Failure {
	message := "LinkedIn could not be reached, or did not answer in time."
	switch {
	case r.status > 0:
		message = fmt.Sprintf("LinkedIn answered with an error of its own (status %d).", r.status)
	case r.sent:
		message = "LinkedIn did not answer, or not as it should."
	}
	return withResponse(r, &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleUnavailable, Message: message, Remediation: "Try again later.",
	})
}

// withResponse returns f with what LinkedIn said. It changes f, so f must have been made for this error.
func withResponse(err error, f *platform.Failure) *platform.Failure {
	var r *serverError
	if errors.As(err, &r) {
		f.PlatformResponse = r.body
	}
	return f
}
