// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"fmt"
	"strconv"

	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/problem"
)

// What is not there for a caller. Others look for these things too, and say the same: from the words, nobody must learn
// whether a thing is somebody else's.
var (
	ErrNoProfile = problem.NewNotFound("There is no profile with this id that the key reaches.",
		"Send the profile's id, not its slug or name: GET /v1/profiles lists those that the key reaches, with all three.")
	ErrNoAccount = problem.NewNotFound("There is no account with this id that the key reaches.",
		"GET /v1/accounts lists the accounts that the key reaches.")
	ErrNoMedia = problem.NewNotFound("There is no media file with this id that the key reaches.",
		"GET /v1/media lists the files that the key reaches.")
	ErrNoPost = problem.NewNotFound("There is no post with this id that the key reaches.",
		"GET /v1/posts lists the posts that the key reaches. "+
			"Of the answer to POST /v1/posts, each results[].postId is one, and id is not.")

	// errTargetGone is for an account or a file that was there when the draft was checked.
	errTargetGone = problem.NewNotFound("An account or a media file of the request has just been deleted.",
		"GET /v1/accounts and GET /v1/media list what the key reaches.")
)

// What is wrong with a draft, or with a change. The rules are the reference's where it has the same one: clients branch
// on them.
var (
	errTargetsRequired = problem.NewInvalid("targets.required", "The request has no targets.",
		fmt.Sprintf("Send 1 to %d of them.", MaxTargets))
	errTargetsMax = problem.NewInvalid("targets.max", fmt.Sprintf("The request has more than %d targets.", MaxTargets),
		"Send several requests.")
	errDraftSize = problem.NewInvalid("targets.size", fmt.Sprintf(
		"The posts that the request asks for have more than %d MiB of text together: each target has its own copy.",
		maxDraftBytes>>20), "Send several requests.")
	errMode = problem.NewInvalid("mode_conflict", "publishNow is true and there is a scheduledAt.",
		"Send one of them.")
	errNoMode = problem.NewInvalid("mode_conflict", "publishNow is false, and there is no scheduledAt.",
		"Send a scheduledAt, or leave publishNow out to publish at once. Nothing keeps drafts here.")
	errScheduledAt = problem.NewInvalid("scheduledAt.future", "scheduledAt is not at least a second from now.",
		"Leave it out to publish at once.")
	errScheduledLate = problem.NewInvalid("scheduledAt.max", "scheduledAt is after 9999-12-31T23:59:59Z.",
		"Send an earlier time.")
	errEditEmpty = problem.NewInvalid("body", "The request changes nothing.", "Send scheduledAt, text or media.")

	errPlatformMismatch = problem.NewInvalid("targets.account.platform_mismatch",
		"A target's account is of another platform than the target.", "Leave platform out: the account has it.")
	errOptionsMismatch = problem.NewInvalid("targets.options.platform_mismatch",
		"A target's options are those of another platform.", "Send the options of the account's platform, or none.")
	errNotConnected = problem.NewInvalid("target.account.not_connected",
		"The key reaches no account of a target's platform.", "Connect one: POST /v1/accounts/connect/{platform}.")
	errAmbiguous = problem.NewInvalid("target.account.ambiguous",
		"The key reaches several accounts of a target's platform.",
		"Send the accountId of the one that is meant; GET /v1/accounts lists them.")
)

// errTwice is for two targets that go to the same account with the same content, which stand at these places. Both are
// named by their index, from 0, as in the rules of other problems.
func errTwice(first, second int) *problem.Problem {
	return problem.NewInvalid("targets.duplicate",
		"Targets "+strconv.Itoa(first)+" and "+strconv.Itoa(second)+" would publish the same to the same account.",
		"Leave one of them out, or give them different texts.")
}

// errCommentEmpty is for the first comment of the target that stands at. An empty comment is no way to leave out the
// draft's: the store could not tell the two apart.
func errCommentEmpty(at string) *problem.Problem {
	return problem.NewInvalid(at+".firstComment.text", "The first comment has no text.",
		"Leave firstComment out for none.")
}

const uploadFirst = "Upload the file with POST /v1/media, and send its mediaId."

// NoPlatform is for a name of a platform that there is none of. rule says where it stands. It lists those that there
// are, so that a typing error needs no second look at the documentation.
func NoPlatform(rule string) *problem.Problem {
	return problem.NewInvalid(rule, "There is no platform of this name.", catalog.All.Sentence())
}

// What can't be done to a post in the state that it is in. They share a status and a code, so each says what can be
// done.
var (
	// After a look at the platform: the post was found there, or somebody else is about to find it.
	errIsOut = problem.NewConflict("post.status", "The post is on its platform already, or is being looked for.",
		"Read the post: its status says which. What is published can be deleted on the platform alone.")
	errNotCancelable = problem.NewConflict("post.status", "The post is not queued any more.",
		"Only queued posts can be canceled.")
	errNotEditable = problem.NewConflict("post.status", "The post is not queued any more, or its time has come.",
		"Only posts that are still to come can be changed.")
	// Its id can't come back, so retrying would end the same each time.
	errMediaGone = problem.NewConflict("post.retry.media", "A media file of the post has been deleted.",
		"Upload it again with POST /v1/media, and make a new post with it.")
	errNotRetryable = problem.NewConflict("post.retry.status", "The post has not failed, or its account is disconnected.",
		"Only posts that are failed, rejected or canceled can be tried again.")
)
