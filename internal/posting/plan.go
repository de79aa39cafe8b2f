// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/problem"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// plan turns a draft into the posts that it asks for, as they are to be stored. The error is a problem, or the store's.
//
// What costs nothing to check comes first, and each target is finished before the next: of several mistakes, the one
// that stands first in the draft is told, each time the same. Nothing is locked. What is found here may be gone when
// the posts are stored, and then they are not (errTargetGone).
func (p *Posting) plan(ctx context.Context, by *caller.Caller, d Draft) ([]store.Post, error) {
	if err := checkDraft(d); err != nil {
		return nil, err
	}
	if err := p.checkSchedule(d.ScheduledAt); err != nil {
		return nil, err
	}
	view, err := p.viewFor(by, d.ProfileID)
	if err != nil {
		return nil, err
	}
	// One time for all posts of a batch: in a listing they stand together.
	find, batchID, now := newFinder(view), p.o.NewID(), p.now()
	posts := make([]store.Post, 0, len(d.Targets))
	for i := range d.Targets {
		at := "targets." + strconv.Itoa(i)
		post, err := postFor(ctx, find, d, i, at)
		if err != nil {
			return nil, err
		}
		post.ID, post.BatchID, post.CreatedAt, post.UpdatedAt = p.o.NewID(), batchID, now, now
		// MadeBy, so that the end of the caller's key can take along what it has queued. Publishing, because a post that was
		// stored as queued first could be taken by a job of another process in between.
		post.MadeBy, post.Status = by.Actor.Ref(), store.Publishing
		if d.ScheduledAt != nil {
			post.Status, post.ScheduledAt = store.Queued, *d.ScheduledAt
		}
		if err := p.preflight(ctx, find, post, at+"."); err != nil {
			return nil, err
		}
		if first := slices.IndexFunc(posts, func(p store.Post) bool { return sameContent(p, post) }); first >= 0 {
			return nil, errTwice(first, i)
		}
		posts = append(posts, post)
	}
	return posts, checkSize(posts)
}

// checkSize bounds what is stored for one draft.
func checkSize(posts []store.Post) error {
	size := 0
	for _, p := range posts {
		size += sizeOf(p)
	}
	if size > maxDraftBytes {
		return errDraftSize
	}
	return nil
}

// sizeOf is how many bytes of what its author wrote are stored with a post.
func sizeOf(p store.Post) int {
	n := len(p.Text) + len(p.FirstComment)
	for _, m := range p.Media {
		n += len(m.MediaID) + len(m.AltText)
	}
	if o := p.Options; o != nil {
		n += len(o.ReplyToURI) + len(o.ReplyToCID) + len(o.ReplyRootURI) + len(o.ReplyRootCID)
		n += len(o.QuoteURI) + len(o.QuoteCID) + len(strings.Join(o.Langs, " "))
	}
	return n
}

// checkDraft checks what a draft says by itself.
func checkDraft(d Draft) error {
	now, later := d.PublishNow != nil && *d.PublishNow, d.ScheduledAt != nil
	switch {
	case len(d.Targets) == 0:
		return errTargetsRequired
	case len(d.Targets) > MaxTargets:
		return errTargetsMax
	case now && later:
		return errMode
	case d.PublishNow != nil && !now && !later:
		return errNoMode // to publish at once is what was not wanted
	}
	return nil
}

// samePlace tells whether two posts go to one account of a platform: named by its id and by its platform, or connected
// for two profiles, and so under two ids.
func samePlace(a, b store.Post) bool {
	return a.AccountID == b.AccountID ||
		a.Platform == b.Platform && a.Account.PlatformAccountID == b.Account.PlatformAccountID
}

// sameContent tells whether two posts would look the same where they go: an account would have the same thing published
// twice.
func sameContent(a, b store.Post) bool {
	options := func(p store.Post) platform.Options { // none, and those of the platform that say nothing, are the same
		o := platform.Options{}
		if p.Options != nil {
			o = *p.Options
		}
		o.Platform = p.Platform
		return o
	}
	return samePlace(a, b) && a.Text == b.Text && a.FirstComment == b.FirstComment &&
		slices.Equal(a.Media, b.Media) && reflect.DeepEqual(options(a), options(b))
}

// viewFor is what a caller reaches, narrowed to a profile if one is named (not nil). Of all that it does not show, the
// caller is told that it does not exist.
func (p *Posting) viewFor(by *caller.Caller, profileID *string) (*store.View, error) {
	view := p.o.Store.View(by)
	if profileID == nil {
		return view, nil
	}
	profile := by.FindProfile(p.o.Profiles, *profileID)
	if profile == nil {
		return nil, ErrNoProfile
	}
	return view.Within(profile.ID), nil
}

// postFor makes the post of target i, and fills in what the target leaves to the draft. at is where the target stands,
// for the rules of problems. A post belongs to the profile of its account, whoever makes it: so all that an account has
// published is seen by those who see the account.
func postFor(ctx context.Context, find *finder, d Draft, i int, at string) (store.Post, error) {
	t := d.Targets[i]
	account, err := accountFor(ctx, find, t, at)
	if err != nil {
		return store.Post{}, err
	}
	p := store.Post{
		ProfileID: account.ProfileID, AccountID: account.ID, Platform: account.Platform, Options: t.Options,
		// Not stored with the post: it is for those who show the post before it is read again.
		Account: &store.AccountRef{
			ID: account.ID, Platform: account.Platform,
			PlatformAccountID: account.PlatformAccountID, DisplayName: account.DisplayName,
		},
		Text: d.Text,
	}
	if t.Text != nil {
		p.Text = *t.Text
	}
	comment := d.FirstComment
	if t.FirstComment != nil {
		comment = t.FirstComment
	}
	if comment != nil { // "" is none to the store, so one without text can't be told from that later, nor be seen
		if p.FirstComment = *comment; platform.IsBlank(p.FirstComment) {
			return p, errCommentEmpty(at)
		}
	}
	items, where := d.Media, "media" // a mistake in what all targets share is told where it stands, not at a target
	if t.Media != nil {
		items, where = *t.Media, at+".media"
	}
	p.Media, err = checkMedia(where, items)
	return p, err
}

// checkMedia checks the media of a target, as far as that goes without looking for them. at is where they stand. Of the
// three ways to name a file, two are known and not taken: to fetch a URL of a caller's is to reach what this server
// reaches (SSRF), and what comes inline would be in memory as a whole.
func checkMedia(at string, items []Media) ([]store.MediaRef, error) {
	if len(items) > MaxMedia {
		return nil, problem.NewInvalid(at, fmt.Sprintf("There are more than %d media.", MaxMedia),
			"Platforms take fewer still.")
	}
	refs := make([]store.MediaRef, 0, len(items))
	for i, m := range items {
		here := at + "." + strconv.Itoa(i)
		switch {
		case m.Kind != platform.Image && m.Kind != platform.Video:
			return nil, problem.NewInvalid(here+".kind", "A medium is neither an image nor a video.",
				"Send the kind image or video.")
		case m.URL != "":
			return nil, problem.NewInvalid(here+".url", "Media are not fetched from URLs.", uploadFirst)
		case m.BytesBase64 != "":
			return nil, problem.NewInvalid(here+".bytesBase64", "Media are not taken inline.", uploadFirst)
		case m.MediaID == "":
			return nil, problem.NewInvalid(here+".mediaId", "A medium has no mediaId.", uploadFirst)
		case tooLong(m.AltText, MaxAltBytes):
			return nil, problem.NewInvalid(here+".altText", fmt.Sprintf(
				"An alternative text is longer than %d bytes of UTF-8, or holds characters that are no text.", MaxAltBytes),
				"Send less.")
		}
		refs = append(refs, store.MediaRef{Kind: m.Kind, MediaID: m.MediaID, AltText: m.AltText})
	}
	return refs, nil
}

// tooLong also finds NUL, which databases don't take for text. It counts characters (code points), as people do; what a
// platform counts, its own rules say.
func tooLong(text string, most int) bool {
	return len(text) > most || utf8.RuneCountInString(text) > MaxText || strings.ContainsRune(text, 0)
}

func errTooLong(at, what string) error {
	return problem.NewInvalid(at, fmt.Sprintf("%s is longer than %d characters or %d bytes, or holds characters that are "+
		"no text.", what, MaxText, MaxTextBytes), "Send less.")
}

// preflight checks a post against the rules of its platform, so that most of what a platform would refuse is told
// before anything is stored. at is where the post stands in the request, with a dot at its end.
func (p *Posting) preflight(ctx context.Context, find *finder, post store.Post, at string) error {
	switch {
	case tooLong(post.Text, MaxTextBytes):
		return errTooLong(at+"text", "A text")
	case tooLong(post.FirstComment, MaxTextBytes):
		return errTooLong(at+"firstComment.text", "A first comment")
	}
	content := platform.Content{Text: post.Text, FirstComment: post.FirstComment}
	if post.Options != nil { // otherwise the zero Options, which are those of any platform
		content.Options = *post.Options
	}
	for i, ref := range post.Media {
		m, err := find.medium(ctx, ref.MediaID)
		if err != nil {
			return OrNotFound(err, ErrNoMedia)
		}
		// The kind is the caller's word, the type is what the file's bytes say. A platform is asked by the kind.
		if !strings.HasPrefix(m.ContentType, ref.Kind+"/") {
			return problem.NewInvalid(fmt.Sprintf("%smedia.%d.kind", at, i),
				"A medium is of another kind than its file.", "The file's contentType tells.")
		}
		content.Media = append(content.Media, platform.Media{
			Kind: ref.Kind, AltText: ref.AltText, ID: m.ID, ContentType: m.ContentType, SizeBytes: m.SizeBytes,
		})
	}
	if f := p.o.Publisher.Preflight(post.Platform, content); f != nil {
		return f.Problem(post.Platform)
	}
	return nil
}

// accountFor finds the account that a target means. at is where the target stands. A target may say one thing twice, by
// accountId, platform and options: if they don't agree, one of them is a mistake, and nobody knows which.
func accountFor(ctx context.Context, find *finder, t Target, at string) (store.Account, error) {
	if t.Platform != nil {
		// First, so that a typing error is told as such, and not as a platform of which no account is connected.
		if _, known := catalog.All.Get(*t.Platform); !known {
			return store.Account{}, NoPlatform(at + ".platform")
		}
	}
	if t.Options != nil {
		if _, known := catalog.All.Get(t.Options.Platform); !known {
			return store.Account{}, NoPlatform(at + ".options.platform")
		}
	}
	account, err := lookUpAccount(ctx, find, t, at)
	switch {
	case err != nil:
		return account, err
	case t.Platform != nil && *t.Platform != account.Platform:
		return account, errPlatformMismatch
	case t.Options != nil && t.Options.Platform != account.Platform:
		return account, errOptionsMismatch
	}
	return account, nil
}

// lookUpAccount finds the account by its id or, without one, by its platform. With several of a platform none is
// chosen: the wrong one would publish under somebody else's name.
func lookUpAccount(ctx context.Context, find *finder, t Target, at string) (store.Account, error) {
	switch {
	case t.AccountID != nil:
		account, err := find.account(ctx, *t.AccountID)
		return account, OrNotFound(err, ErrNoAccount)
	case t.Platform == nil:
		return store.Account{}, problem.NewInvalid(at+".accountId", "A target has neither accountId nor platform.",
			"Send one of them, or both.")
	}
	accounts, err := find.accountsOf(ctx, *t.Platform)
	switch {
	case err != nil:
		return store.Account{}, err
	case len(accounts) == 0:
		return store.Account{}, errNotConnected
	case len(accounts) > 1:
		return store.Account{}, errAmbiguous
	}
	return accounts[0], nil
}

// finder looks up what one draft names, each thing once: 25 targets may name one file 500 times.
type finder struct {
	view      *store.View // nothing beyond it is found, whatever is named
	accounts  map[string]store.Account
	platforms map[platform.Name][]store.Account
	media     map[string]store.Media // beside what the view reaches, what addMediaOf has made known
}

// newFinder returns a finder that knows nothing yet. It is for one request: what it remembers is not looked at again,
// so a longer life would make it a cache of what others may have deleted.
func newFinder(view *store.View) *finder {
	return &finder{
		view:      view,
		accounts:  map[string]store.Account{},
		platforms: map[platform.Name][]store.Account{},
		media:     map[string]store.Media{},
	}
}

// once remembers what was found. What was not found ends the request, so that is not worth remembering.
func once[K comparable, V any](known map[K]V, name K, find func() (V, error)) (V, error) {
	if v, ok := known[name]; ok {
		return v, nil
	}
	v, err := find()
	if err == nil {
		known[name] = v
	}
	return v, err
}

// account finds an account that the caller reaches.
func (f *finder) account(ctx context.Context, id string) (store.Account, error) {
	return once(f.accounts, id, func() (store.Account, error) { return f.view.Account(ctx, id) })
}

// accountsOf returns one account of a platform, or two if there are several: how many there are is of no interest, only
// whether the platform's name is enough to know which one is meant.
func (f *finder) accountsOf(ctx context.Context, name platform.Name) ([]store.Account, error) {
	return once(f.platforms, name, func() ([]store.Account, error) { return f.view.AccountsOf(ctx, name, 2) })
}

// medium finds a file that the caller reaches, by themselves or by addMediaOf.
func (f *finder) medium(ctx context.Context, id string) (store.Media, error) {
	return once(f.media, id, func() (store.Media, error) { return f.view.Media(ctx, id) })
}
