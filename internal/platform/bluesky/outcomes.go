// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bluesky

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// soon is how long a post waits whose server does not answer. It is the least: after more attempts, package publish
// waits longer.
const soon = 30 * time.Second

// notTaken is the outcome of a failure before anything was written. err may be nil, and is looked at for when the
// server wants to be asked again.
func (d *delivery) notTaken(f *platform.Failure, err error) error {
	next := d.clock.Now().Add(soon)
	var r *serverError
	if errors.As(err, &r) && !r.again.IsZero() {
		next = r.again
	}
	return ended{platform.NotTaken{Failure: *f, NotBefore: next}}
}

// rejected is the outcome of what is refused for good. With CodeAuthFailed it is not for good: see before.
func rejected(f *platform.Failure) error { return ended{platform.Rejected{Failure: *f}} }

// noSecrets is the outcome where the account can't be opened.
func (d *delivery) noSecrets(err error) error {
	if errors.Is(err, platform.ErrNoSecrets) {
		return rejected(&platform.Failure{
			Code: platform.CodeAuthFailed, Rule: ruleCredentials,
			Message: "Nothing is stored that opens the account.", Remediation: reconnect,
		})
	}
	return d.oursToMend(err)
}

// oursToMend is the outcome of what went wrong here, before anything was sent. Why is nothing for the author.
func (d *delivery) oursToMend(err error) error {
	d.logger.Error("a post could not be sent", "post", d.PostID, "error", err)
	return d.notTaken(&platform.Failure{
		Code:    platform.CodeInternalError,
		Message: "Something went wrong on this server before the post was sent. The platform does not have it.",
	}, nil)
}

// before is the outcome of a call that failed before the post was written. err is call's or do's, or an ended, which
// goes on as it is.
func (d *delivery) before(err error) error {
	var e ended
	if errors.As(err, &e) {
		return err
	}
	var n notRenewed
	if errors.As(err, &n) {
		return d.afterRenewal(n.error)
	}
	if guardRefused(err) {
		return rejected(notPublic(platform.CodeAuthFailed))
	}
	if errors.As(err, new(errOurs)) {
		return d.oursToMend(err)
	}
	switch judge(err) {
	case saysNo:
		return rejected(refusedFailure(err))
	// By this code a scheduled post is kept until somebody has connected the account again (package publish).
	case strange:
		return rejected(lostWith(d.secrets, err))
	}
	return d.notTaken(d.common(err), err)
}

// afterRenewal is the outcome where a token could not be renewed. That only the person can help stands in the account
// by then (package connection), and is the outcome here, too.
func (d *delivery) afterRenewal(err error) error {
	var f *platform.Failure
	switch {
	case errors.As(err, &f) && f.Code == platform.CodeAuthFailed:
		return rejected(f)
	case errors.As(err, &f):
		return d.notTaken(f, nil)
	case errors.Is(err, platform.ErrNoSecrets):
		return d.noSecrets(err)
	}
	return d.oursToMend(err)
}

// notWritten is the outcome of a call that was to write the post. What was sent and not answered, or answered with an
// error of the server's own, may have been written. A refusal is as good as before that call: the server has looked
// at the record and not written it.
func (d *delivery) notWritten(err error) error {
	var r *serverError
	if errors.As(err, new(unsure)) || judge(err) == away && errors.As(err, &r) && r.sent {
		return d.unknown(err)
	}
	if named(err, "BlobNotFound") { // it was uploaded, and is gone: a new attempt uploads it again
		return d.notTaken(refusedFailure(err), err)
	}
	return d.before(err)
}

// unknown is the outcome where nobody can say whether the post is there. The token says nothing: whoever asks finds the
// record by what is known of the post itself, also if the process died before it could say anything. Its rules are
// those that package publish has for the same.
func (d *delivery) unknown(err error) error {
	code, rule := platform.CodeUnavailable, ruleUnknown
	if errors.Is(err, context.DeadlineExceeded) {
		rule = "publish.timeout"
	}
	f := withResponse(err, &platform.Failure{
		Code: code, Rule: rule,
		Message:     "The account's server did not say whether it took the post.",
		Remediation: "Nothing: this server looks whether the post is there, and sends it if it is not.",
	})
	return ended{platform.OutcomeUnknown{Failure: *f, Token: json.RawMessage(`{}`)}}
}

// told is the outcome of an attempt. A second look that has sent nothing knows no more than the first attempt: the
// record of that one may come at any moment, and is known by when it was sent.
//
// Published and Rejected stay: of both it is known.
func (d *delivery) told(o platform.Outcome) platform.Outcome {
	if not, is := o.(platform.NotTaken); is && d.again {
		return platform.OutcomeUnknown{Failure: not.Failure, NotBefore: not.NotBefore}
	}
	return o
}

// unseen is the outcome of what ended before the server was given the record. Whatever was refused on the way, such as
// an image, a second look knows nothing by it of the post: called refused, it would be sent anew, and the first record
// might come beside it. That the account is to be connected again is left as it is: package publish holds such a post,
// and has not settled it either.
func (d *delivery) unseen(err error) error {
	var e ended
	if !d.again || !errors.As(err, &e) {
		return err
	}
	if o, is := e.outcome.(platform.Rejected); is && o.Failure.Code != platform.CodeAuthFailed {
		return ended{platform.OutcomeUnknown{Failure: o.Failure}}
	}
	return err
}

// refusedFailure is what the author is told of a no. The message is the server's own where it has one: it knows its
// limits better than anybody here.
func refusedFailure(err error) *platform.Failure {
	message := ""
	var r *serverError
	if errors.As(err, &r) {
		if message = r.message; message == "" {
			message = r.name
		}
		if message == "" {
			message = fmt.Sprintf("status %d", r.status)
		}
	}
	return withResponse(err, &platform.Failure{
		Code: platform.CodeRejected, Rule: ruleRejected,
		Message:     "Bluesky rejected the post: " + message,
		Remediation: "Change what it objects to, and publish the post again.",
	})
}
