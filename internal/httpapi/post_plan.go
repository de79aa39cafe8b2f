// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/store"
)

const (
	maxTargets = 25
	maxMedia   = 20     // of one target; platforms take fewer
	maxText    = 20_000 // characters; platforms take fewer
)

var (
	errTargetsRequired = errInvalid("targets.required", "The request has no targets.", "Send 1 to 25 of them.")
	errTargetsMax      = errInvalid("targets.max", "The request has more than 25 targets.", "Send several requests.")
	errMode            = errInvalid("mode_conflict", "publishNow is true and there is a scheduledAt.", "Send one of them.")
)

// plan turns a request into the posts that it asks for, as they are to be stored. The error is a problem, or of the
// store.
func (a *API) plan(r *request, in createPosts) ([]store.Post, error) {
	switch {
	case len(in.Targets) == 0:
		return nil, errTargetsRequired
	case len(in.Targets) > maxTargets:
		return nil, errTargetsMax
	case in.PublishNow != nil && *in.PublishNow && in.ScheduledAt != nil:
		return nil, errMode
	}
	if err := a.checkSchedule(in.ScheduledAt); err != nil {
		return nil, err
	}
	view, err := a.viewWithin(r, in.ProfileID)
	if err != nil {
		return nil, err
	}
	find, batchID, now := newFinder(view), a.config.NewID(), a.now()
	posts := make([]store.Post, 0, len(in.Targets))
	for i := range in.Targets {
		at := "targets." + strconv.Itoa(i)
		p, err := a.planTarget(r, find, in, i)
		if err != nil {
			return nil, err
		}
		p.ID, p.BatchID, p.CreatedAt, p.UpdatedAt = a.config.NewID(), batchID, now, now
		p.KeyID, p.Status = string(r.caller().Key.ID()), store.Publishing
		if in.ScheduledAt != nil {
			p.Status, p.ScheduledAt = store.Queued, *in.ScheduledAt
		}
		if err := a.preflight(r, find, p, at+"."); err != nil {
			return nil, err
		}
		posts = append(posts, p)
	}
	return posts, nil
}

// planTarget fills in what a target leaves to the request.
func (a *API) planTarget(r *request, find *finder, in createPosts, i int) (store.Post, error) {
	t, at := in.Targets[i], "targets."+strconv.Itoa(i)
	account, err := accountFor(r, find, t, at)
	if err != nil {
		return store.Post{}, err
	}
	p := store.Post{
		ProfileID: account.ProfileID, AccountID: account.ID, Platform: account.Platform, Options: t.Options,
		Account: &store.AccountRef{
			ID: account.ID, Platform: account.Platform,
			PlatformAccountID: account.PlatformAccountID, DisplayName: account.DisplayName,
		},
		Text: in.Text,
	}
	if t.Text != nil {
		p.Text = *t.Text
	}
	comment := in.FirstComment
	if t.FirstComment != nil {
		comment = t.FirstComment
	}
	if comment != nil {
		if p.FirstComment = comment.Text; p.FirstComment == "" {
			return p, errInvalid(at+".firstComment.text", "The first comment has no text.", "Leave firstComment out for none.")
		}
	}
	items, where := in.Media, "media"
	if t.Media != nil {
		items, where = *t.Media, at+".media"
	}
	p.Media, err = toRefs(where, items)
	return p, err
}

// accountFor finds the account that a target means.
func accountFor(r *request, find *finder, t target, at string) (store.Account, error) {
	if t.Platform != nil && !slices.Contains(platformNames, *t.Platform) {
		return store.Account{}, errInvalid(
			at+".platform",
			"There is no platform of this name.",
			catalog.All.Sentence(),
		)
	}
	account, err := lookUpAccount(r, find, t, at)
	switch {
	case err != nil:
		return account, err
	case t.Platform != nil && *t.Platform != string(account.Platform):
		return account, errInvalid(
			"targets.account.platform_mismatch",
			"A target's account is of another platform than the target.",
			"Leave platform out: the account has it.",
		)
	case t.Options != nil && t.Options.Platform != account.Platform:
		return account, errInvalid("targets.options.platform_mismatch", "A target's options are those of another platform.",
			"Send the options of the account's platform, or none.")
	}
	return account, nil
}

func lookUpAccount(r *request, find *finder, t target, at string) (store.Account, error) {
	switch {
	case t.AccountID != nil:
		account, err := find.account(r.context(), *t.AccountID)
		return account, orNotFound(err, errNoAccount)
	case t.Platform == nil:
		return store.Account{}, errInvalid(
			at+".accountId",
			"A target has neither accountId nor platform.",
			"Send one of them, or both.",
		)
	}
	accounts, err := find.accountsOf(r.context(), platform.Name(*t.Platform))
	switch {
	case err != nil:
		return store.Account{}, err
	case len(accounts) == 0:
		return store.Account{}, errInvalid(
			"target.account.not_connected",
			"The key reaches no account of a target's platform.",
			"Connect one: POST /v1/accounts/connect/{platform}.",
		)
	case len(accounts) > 1:
		return store.Account{}, errInvalid(
			"target.account.ambiguous",
			"The key reaches several accounts of a target's platform.",
			"Send the accountId of the one that is meant; GET /v1/accounts lists them.",
		)
	}
	return accounts[0], nil
}

// toRefs checks the media of a target, as far as that goes without looking for them. at is where they stand.
func toRefs(at string, items []mediaInput) ([]store.MediaRef, error) {
	if len(items) > maxMedia {
		return nil, errInvalid(at, "There are more than 20 media.", "Platforms take fewer still.")
	}
	refs := make([]store.MediaRef, 0, len(items))
	for i, m := range items {
		here := at + "." + strconv.Itoa(i)
		switch {
		case m.Kind != platform.Image && m.Kind != platform.Video:
			return nil, errInvalid(here+".kind", "A medium is neither an image nor a video.", "Send the kind image or video.")
		case m.URL != "":
			return nil, errInvalid(
				here+".url",
				"Media are not fetched from URLs.",
				"Upload the file with POST /v1/media, and send its mediaId.",
			)
		case m.BytesBase64 != "":
			return nil, errInvalid(
				here+".bytesBase64",
				"Media are not taken inline.",
				"Upload the file with POST /v1/media, and send its mediaId.",
			)
		case m.MediaID == "":
			return nil, errInvalid(
				here+".mediaId",
				"A medium has no mediaId.",
				"Upload the file with POST /v1/media, and send its mediaId.",
			)
		case tooLong(m.AltText):
			return nil, errInvalid(
				here+".altText",
				"An alternative text is too long, or holds characters that are no text.",
				"Send less.",
			)
		}
		refs = append(refs, store.MediaRef{Kind: m.Kind, MediaID: m.MediaID, AltText: m.AltText})
	}
	return refs, nil
}

// tooLong also finds NUL, which databases don't take for text.
func tooLong(text string) bool {
	return utf8.RuneCountInString(text) > maxText || strings.ContainsRune(text, 0)
}

// preflight checks a post against the rules of its platform. at is where it stands in the request, with a dot at its
// end.
func (a *API) preflight(r *request, find *finder, p store.Post, at string) error {
	switch {
	case tooLong(p.Text):
		return errInvalid(
			at+"text",
			"A text is longer than 20000 characters, or holds characters that are no text.",
			"Send less.",
		)
	case tooLong(p.FirstComment):
		return errInvalid(
			at+"firstComment.text",
			"A first comment is longer than 20000 characters, or holds characters that are no text.",
			"Send less.",
		)
	}
	content := platform.Content{Text: p.Text, FirstComment: p.FirstComment}
	if p.Options != nil {
		content.Options = *p.Options
	}
	for i, ref := range p.Media {
		m, err := find.medium(r.context(), ref.MediaID)
		if err != nil {
			return orNotFound(err, errNoMedia)
		}
		if !strings.HasPrefix(m.ContentType, ref.Kind+"/") {
			return errInvalid(
				fmt.Sprintf("%smedia.%d.kind", at, i),
				"A medium is of another kind than its file.",
				"The file's contentType tells.",
			)
		}
		content.Media = append(content.Media, platform.Media{
			Kind: ref.Kind, AltText: ref.AltText, ID: m.ID, ContentType: m.ContentType, SizeBytes: m.SizeBytes,
		})
	}
	if f := a.config.Publisher.Preflight(p.Platform, content); f != nil {
		return problemOf(p.Platform, f)
	}
	return nil
}
