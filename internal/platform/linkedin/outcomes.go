// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

const (
	// soon is how long a post waits when LinkedIn is away.
	soon = 30 * time.Second
	// newVersion is how long it waits for somebody to set a newer version. A process that is started with one lets the
	// post go at once (Platform.Waits).
	newVersion = time.Hour
)

// ended carries an outcome out of the steps of a delivery. It is an error so that it passes through errgroup and the
// steps in between.
type ended struct{ outcome platform.Outcome }

// Error makes it an error, which nobody gets to see: outcome takes it apart.
func (ended) Error() string { return "the delivery has ended" }

// rejected is the outcome of what is refused for good, or, with CodeAuthFailed, until the account is connected again.
func rejected(f *platform.Failure) error { return ended{platform.Rejected{Failure: *f}} }

// notTaken is the outcome of what LinkedIn certainly does not have: to send it again is safe.
func (d *delivery) notTaken(f *platform.Failure, again time.Time) error {
	return ended{platform.NotTaken{Failure: *f, NotBefore: again}}
}

// notSent is the outcome of what went wrong before the post was written. err is an ended, of the account's secrets,
// or of a request.
func (d *delivery) notSent(err error) error {
	var e ended
	var r *serverError
	var f *platform.Failure
	soon := d.Clock.Now().Add(soon)
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, platform.ErrNoSecrets):
		return rejected(lost(nil))
	case errors.As(err, &f): // a token could not be renewed
		// By this code a scheduled post is kept until somebody has connected the account again (package publish).
		if f.Code == platform.CodeAuthFailed {
			return rejected(f)
		}
		return d.notTaken(f, soon)
	case !errors.As(err, &r), r.status == 0 && !r.sent && isOurs(err):
		// What went wrong here is nothing for the author.
		d.Logger.Error("a post could not be sent", "post", d.PostID, "error", err)
		return d.notTaken(&platform.Failure{
			Code:    platform.CodeInternalError,
			Message: "Something went wrong on this server before the post was sent. LinkedIn does not have it.",
		}, soon)
	}
	// From here on LinkedIn has answered, or could not be reached: r is set, and why is for the author.
	why := d.common(err)
	switch judge(err) {
	case slowDown:
		return d.notTaken(why, r.again)
	case sunset:
		return d.notTaken(why, d.Clock.Now().Add(newVersion))
	case away:
		return d.notTaken(why, soon)
	}
	return rejected(why)
}

// notUploaded is the outcome where images of a post could not be sent. Whatever LinkedIn says of them, it has not
// looked whether the post is there.
func (d *delivery) notUploaded(err error) error {
	err = d.notSent(err)
	var e ended
	if !d.again || !errors.As(err, &e) {
		return err
	}
	if o, is := e.outcome.(platform.Rejected); is {
		return d.unknown(&o.Failure)
	}
	return err
}

// isOurs tells whether a request could not even be made, as when a medium does not open.
func isOurs(err error) bool {
	var network interface{ Timeout() bool } // net.Error, of which every error of an HTTP client is one
	return !errors.As(err, &network)
}

// notWritten is the outcome of the request that was to write the post. What was sent and not answered, or answered with
// an error of LinkedIn's own, may have been written.
func (d *delivery) notWritten(err error) error {
	var r *serverError
	if judge(err) != away || !errors.As(err, &r) || !r.sent {
		return d.notSent(err)
	}
	rule := ruleUnknown
	if errors.Is(err, context.DeadlineExceeded) {
		rule = ruleTimeout
	}
	return d.unknown(withResponse(err, &platform.Failure{
		Code: platform.CodeUnavailable, Rule: rule,
		Message: "LinkedIn did not say whether it took the post.",
		Remediation: "Nothing: this server sends it again. LinkedIn takes no post twice, and says so if it has this one " +
			"already.",
	}))
}

// unknown is the outcome where the post may be there. What was uploaded for it is remembered: only the very same post
// is sure to be recognized.
func (d *delivery) unknown(f *platform.Failure) error {
	return ended{platform.OutcomeUnknown{Failure: *f, Token: d.token()}}
}

// token is what Ask gets. It is stored, and is read by whatever release asks.
func (m memory) token() []byte {
	token, _ := json.Marshal(m) // texts can be encoded
	return token
}

// stillUnknown is the outcome of a second look that has come to nothing: whatever it was that kept LinkedIn from
// answering, the first attempt may have got there. Published, and a refusal of what LinkedIn has compared, end the
// question.
func (d *delivery) stillUnknown(o platform.Outcome) platform.Outcome {
	var why platform.Failure
	var notBefore time.Time
	switch o := o.(type) {
	case platform.NotTaken:
		why, notBefore = o.Failure, o.NotBefore
	case platform.Rejected:
		// Who refuses the token, or says that it may not post, has not compared the post with what is there.
		if o.Failure.Code != platform.CodeAuthFailed && o.Failure.Rule != ruleDenied {
			return o // it looked at the post
		}
		why = o.Failure
	default:
		return o
	}
	return platform.OutcomeUnknown{Failure: why, Token: d.token(), NotBefore: notBefore}
}
