// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Rules of failures, by which callers branch: they never change.
const (
	// Each has its row in docs/errors.md.
	ruleAccountNotFound = "bluesky.account.not_found"
	ruleCredentials     = "bluesky.credentials"
	ruleSecondFactor    = "bluesky.second_factor"
	ruleTakenDown       = "bluesky.account.taken_down"
	ruleDeactivated     = "bluesky.account.deactivated"
	rulePDSForeign      = "bluesky.pds.foreign"
	rulePDSRefused      = "bluesky.pds.refused"
	ruleUnavailable     = "bluesky.unavailable"
	ruleRateLimited     = "bluesky.rate_limited"
	ruleRejected        = "bluesky.rejected"
	ruleOAuth           = "bluesky.oauth"
	ruleDenied          = "bluesky.oauth.denied"
	ruleAnotherAccount  = "bluesky.oauth.another_account"
	ruleImage           = "bluesky.image"
	ruleReply           = "bluesky.reply.not_found"
	ruleReplyUnread     = "bluesky.reply.unavailable"
	ruleUnknown         = "publish.outcome_unknown"
)

// What helps against credentials that are no longer good: app passwords, and grants or whatever they are.
const (
	reconnect    = "Connect the account again, with a new app password."
	connectAgain = "Connect the account again."
)

// invalid names the field as the rule, as the HTTP contract does.
func invalid(field, message string) *platform.Failure {
	return &platform.Failure{Code: platform.CodeInvalid, Message: message, Rule: field}
}

// foreign: a server has spoken for an account that is not its.
func foreign() *platform.Failure {
	return &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: rulePDSForeign,
		Message:     "The server is not that of the account: the account's identity names another one.",
		Remediation: "Leave the address of the PDS out, or give the one that the account is on.",
	}
}

// inactive is the failure of an account that can be opened, and can't be used. Servers give a session for such an
// account all the same, so it is their answer that tells, and no error.
func inactive(of session) *platform.Failure {
	if of.Active == nil || *of.Active {
		return nil
	}
	// Only this one is the owner's doing. Whatever else a server calls it, only the server can say why.
	if of.Status == "deactivated" {
		return standing("AccountDeactivated")
	}
	return standing("AccountTakedown")
}

// standing is the failure of an account that its server has closed, by the name of the error; nil: it is none of
// these. Servers use both names, of the account and of its repository, depending on what was asked.
func standing(name string) *platform.Failure {
	switch name {
	case "AccountTakedown", "RepoTakendown", "AccountSuspended", "RepoSuspended":
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleTakenDown,
			Message:     "The account has been taken down or suspended by its server.",
			Remediation: "Ask the account's server why, and connect the account again when it is back.",
		}
	case "AccountDeactivated", "RepoDeactivated":
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleDeactivated,
			Message:     "The account has been deactivated by its owner.",
			Remediation: "Activate it on Bluesky, and connect it again.",
		}
	}
	return nil
}

// notConnected is why an account could not be connected. What is said of the password is all that a server tells: it
// does not say which of the two was wrong.
func (s *service) notConnected(err error) *platform.Failure {
	if f := s.common(err); f != nil {
		return f
	}
	if named(err, "AuthFactorTokenRequired") {
		return &platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleSecondFactor,
			Message:     "This is the account's own password, and the account asks for a code by e-mail with it.",
			Remediation: "Use an app password, made in Bluesky's settings: it needs no code.",
		}
	}
	f := withResponse(err, &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleCredentials,
		Message:     "The server does not accept this identifier with this app password.",
		Remediation: "Check the handle, and make a new app password in Bluesky's settings, under Privacy and security.",
	})
	return f
}

// notRefreshed is why a session could not be renewed. With CodeAuthFailed all that is queued for the account waits
// for its person, so it is for what only they can mend.
func (s *service) notRefreshed(err error) *platform.Failure {
	if guardRefused(err) {
		return notPublic(platform.CodeAuthFailed)
	}
	if f := s.common(err); f != nil {
		return f
	}
	return lost(err)
}

// lost: the account does not let us in any more.
func lost(err error) *platform.Failure {
	var r *serverError
	if errors.As(err, &r) {
		if f := standing(r.name); f != nil {
			return withResponse(err, f)
		}
	}
	return withResponse(err, &platform.Failure{
		Code: platform.CodeAuthFailed, Rule: ruleCredentials,
		Message: "Bluesky does not accept the account's credentials any more: " +
			"its app password has been deleted, perhaps.",
		Remediation: reconnect,
	})
}

// lostWith is lost, for an account that was connected in either way. What helps depends on the way: a new app
// password, or the browser.
func lostWith(with platform.Secrets, err error) *platform.Failure {
	f := lost(err)
	if isGrant(with) && f.Rule == ruleCredentials {
		f.Message = "Bluesky does not take what the account was connected by any more: " +
			"the session is over, or its owner has taken the access back."
		f.Remediation = connectAgain
	}
	return f
}

// grantNotRefreshed is why tokens could not be renewed. Only where the server says that they are over are they lost: it
// may have other reasons to refuse, such as that it could not fetch this server's metadata.
func (s *service) grantNotRefreshed(err error) error {
	var f *platform.Failure
	switch {
	case errors.As(err, &f):
		return f
	case guardRefused(err):
		return notPublic(platform.CodeAuthFailed)
	case named(err, "invalid_grant", "access_denied"):
		// For its words lostWith looks whether there is a key, and at nothing of it.
		return lostWith(platform.Secrets{platform.SecretDPoPKey: "one"}, err)
	}
	if f := s.common(err); f != nil {
		return f
	}
	f = &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleUnavailable,
		Message:     "The account's authorization server did not renew the connection, and does not say that it is over.",
		Remediation: "Nothing: this is tried again.",
	}
	return withResponse(err, f)
}

// common is the failure that is the same whatever was asked; nil: the server has said no.
func (s *service) common(err error) *platform.Failure {
	if guardRefused(err) {
		return notPublic(platform.CodeInvalid)
	}
	var r *serverError
	if !errors.As(err, &r) {
		r = &serverError{cause: err}
	}
	// Before the verdict, which is that of a token that is not taken: a new app password would not open the account.
	if f := standing(r.name); f != nil {
		return withResponse(err, f)
	}
	switch judge(err) {
	case slowDown:
		return s.tooFast(r)
	case away:
		return unavailable(r)
	}
	return nil
}

// tooFast is the failure of a server that wants to be asked again at r.again.
func (s *service) tooFast(r *serverError) *platform.Failure {
	wait := r.again.Sub(s.clock.Now()).Round(time.Second)
	return withResponse(r, &platform.Failure{
		Code: platform.CodeRateLimited, Rule: ruleRateLimited,
		Message:     fmt.Sprintf("Bluesky asks to slow down, and to be asked again in %s.", wait),
		Remediation: "Wait until then.",
	})
}

// unavailable tells apart what helps to find out why: nothing was reached, it answered with an error, or something
// answered that is no server of the protocol.
func unavailable(r *serverError) *platform.Failure {
	message := "The account's server could not be reached."
	switch {
	case r.status > 0:
		message = fmt.Sprintf("The account's server answered with an error of its own (status %d).", r.status)
	case r.sent:
		message = "The account's server did not answer as a server of the AT Protocol does."
	}
	return withResponse(r, &platform.Failure{
		Code: platform.CodeUnavailable, Rule: ruleUnavailable, Message: message,
		Remediation: "Try again later. If this goes on, look whether the server is up, and whether its address is right.",
	})
}

// withResponse returns f with what the server said. It changes f, so f must have been made for this error.
func withResponse(err error, f *platform.Failure) *platform.Failure {
	var r *serverError
	if errors.As(err, &r) {
		f.PlatformResponse = r.body
	}
	return f
}
