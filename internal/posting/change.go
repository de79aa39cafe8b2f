// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package posting

import (
	"context"
	"errors"
	"time"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// Change is what somebody wants to be different about a post that is still to come. Nil fields stay as they are. Its
// account, options and first comment can't be changed: whoever wants others cancels it and makes another one.
type Change struct {
	ScheduledAt *time.Time
	Text        *string
	Media       *[]Media
}

// Edit changes a post, and answers it as it is then. Whether it may still be changed is asked in the transaction, not
// when the change is planned: it may be on its way by then.
func (p *Posting) Edit(
	ctx context.Context, by *caller.Caller, op *write.Operation, id string, c Change, answer write.Answer[store.Post],
) (store.Post, error) {
	edit, err := p.planEdit(ctx, by, id, c)
	if err != nil {
		return store.Post{}, err
	}
	edited, err := write.Commit(ctx, op, answer, func(ctx context.Context, tx *store.Tx) (store.Post, error) {
		// The text needs no new reminder: an attempt reads it when it begins (Work.Start), in the transaction that begins it.
		edited, err := tx.EditPost(id, edit)
		if err == nil && edit.ScheduledAt != nil { // the reminder for the old time would come too early, or too late
			err = p.o.Publisher.Enqueue(ctx, tx, []store.Post{edited})
		}
		return edited, err
	})
	// The store says that the state does not allow it; what could be done instead depends on what was wanted.
	if errors.Is(err, store.ErrState) {
		return edited, errNotEditable
	}
	return edited, OrNotFound(err, ErrNoPost)
}

// planEdit turns a change into the one that is to be stored. The post is checked as it would be with the change, and
// not the change alone: whether there may be no text depends on whether there are media, and both on the platform.
// Another change may be committed in between; then the later one wins field by field, as each names only what it
// changes.
func (p *Posting) planEdit(ctx context.Context, by *caller.Caller, id string, c Change) (store.Edit, error) {
	if c.ScheduledAt == nil && c.Text == nil && c.Media == nil { // most likely a misunderstanding of what can be changed
		return store.Edit{}, errEditEmpty
	}
	view := p.o.Store.View(by)
	post, err := view.Post(ctx, id)
	if err != nil {
		return store.Edit{}, OrNotFound(err, ErrNoPost)
	}
	// After the post was found: who does not reach it is told so, whatever else is wrong.
	if err := p.checkSchedule(c.ScheduledAt); err != nil {
		return store.Edit{}, err
	}
	edit := store.Edit{Text: c.Text, ScheduledAt: c.ScheduledAt}
	if c.Text != nil {
		post.Text = *c.Text
	}
	// One finder for both cases, so that preflight finds what is named here without asking again.
	find := newFinder(view)
	switch {
	case c.Media != nil:
		refs, err := checkMedia("media", *c.Media)
		if err != nil {
			return store.Edit{}, err
		}
		edit.Media, post.Media = &refs, refs
	case len(post.Media) > 0: // what the change does not name stays, and counts all the same
		if err := find.addMediaOf(ctx, p.o.Store.Work(), &post); err != nil {
			return store.Edit{}, err
		}
	}
	return edit, p.preflight(ctx, find, post, "")
}

// addMediaOf makes the files of a post known. Its caller reaches the post, and with it these files, even those of
// another profile, which somebody who reaches the whole organization may have chosen. Without this, whoever is confined
// to the post's profile could not change its text, because its files would not be found. They are told of no id of such
// a file, so the post gets it back here.
func (f *finder) addMediaOf(ctx context.Context, work *store.Work, p *store.Post) error {
	files, _, err := work.MediaOf(ctx, p.ID)
	for i, m := range files {
		f.media[m.ID] = m
		if i < len(p.Media) {
			p.Media[i].MediaID = m.ID
		}
	}
	return err
}

// Cancel cancels a queued post. It stays stored. One that is being published can't be canceled any more: the platform
// may have it already. Nothing is planned: the transaction asks for all that counts.
//
// A post may be queued because nobody knows whether its platform has it. Then that is found out first: what is out is
// told as published, and not as canceled. Where it can't be found out, the post fails, and is not sent any more.
func (p *Posting) Cancel(
	ctx context.Context, by *caller.Caller, op *write.Operation, id string, answer write.Answer[store.Post],
) (store.Post, error) {
	// By the caller's view, since Settle goes by the id alone: nobody has a platform asked about somebody else's post. It
	// may be settled, or begun, by the time that Settle looks, which then does nothing.
	unsettled, err := p.o.Store.View(by).Unsettled(ctx, id)
	if err != nil {
		return store.Post{}, err
	}
	if unsettled {
		// As an attempt, it does not end with its caller: its outcome is written down.
		if err := p.o.Publisher.Settle(context.WithoutCancel(ctx), id); err != nil {
			return store.Post{}, err
		}
	}
	canceled, err := write.Commit(ctx, op, answer, func(_ context.Context, tx *store.Tx) (store.Post, error) {
		return tx.CancelPost(id)
	})
	switch {
	case errors.Is(err, store.ErrState) && unsettled:
		return canceled, errIsOut
	case errors.Is(err, store.ErrState):
		return canceled, errNotCancelable
	}
	return canceled, OrNotFound(err, ErrNoPost)
}

// Retry queues a post again that has failed, was rejected or was canceled: for a time, or for at once (nil). From then
// on it is of whoever asks for it, so that a revocation of their key can cancel it.
func (p *Posting) Retry(
	ctx context.Context, by *caller.Caller, op *write.Operation, id string, at *time.Time,
	answer write.Answer[store.Post],
) (store.Post, error) {
	if err := p.checkSchedule(at); err != nil {
		return store.Post{}, err
	}
	var when time.Time // zero: at once
	if at != nil {
		when = *at
	}
	// The post is not checked again: nothing of it has changed, and whether the platform takes it by now, it alone can
	// say.
	queued, err := write.Commit(ctx, op, answer, func(ctx context.Context, tx *store.Tx) (store.Post, error) {
		// With its job in one transaction, as when a post is made: a queued post without one would wait for the upkeep.
		queued, err := tx.RequeuePost(id, by.Actor.Ref(), when)
		if err == nil {
			err = p.o.Publisher.Enqueue(ctx, tx, []store.Post{queued})
		}
		return queued, err
	})
	switch {
	case errors.Is(err, store.ErrMediaGone):
		return queued, errMediaGone
	case errors.Is(err, store.ErrState):
		return queued, errNotRetryable
	}
	return queued, OrNotFound(err, ErrNoPost)
}
