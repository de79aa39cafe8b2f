// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// RuleOutcomeUnknown is the rule of failures after which a platform may have a post. Callers branch on it.
const RuleOutcomeUnknown = "publish.outcome_unknown"

// gaveUp is why a post has failed that was to be canceled when its platform may have had it: "canceled" would say that
// it is not out.
var gaveUp = &platform.Failure{
	Code: platform.CodeUnavailable, Rule: RuleOutcomeUnknown,
	Message:     "The post was canceled while it was not known whether the platform has it. It is not sent any more.",
	Remediation: "Look at the account on the platform. Retry the post only if it is not there.",
}

// Edit changes a queued post that is still to come. One that is due may be on its way already. Nil fields stay as they
// are. ErrState: it is not queued any more, or is due.
type Edit struct {
	Text        *string
	Media       *[]MediaRef
	ScheduledAt *time.Time
}

// canceling is what becomes of a queued post that is not to go out: whoever cancels one says it in these words, be it a
// caller, the end of a key or that of an account. Its arguments are gaveUp and its code.
const canceling = `status = CASE WHEN unsettled = 1 THEN 'failed' ELSE 'canceled' END,
failure = CASE WHEN unsettled = 1 THEN CAST(? AS TEXT) ELSE failure END,
error_code = CASE WHEN unsettled = 1 THEN CAST(? AS TEXT) ELSE error_code END`

var (
	deletePostMedia = declareScoped(`DELETE FROM post_media
WHERE post_id IN (SELECT p.id FROM posts AS p WHERE p.id = ? AND {scope p})`)
	mediaOfOwnPost = declareScoped(`SELECT m.id FROM post_media AS u JOIN media AS m ON m.id = u.media_id
WHERE u.post_id = ? AND {organization m} ORDER BY m.id {lock SHARE OF m}`)
	// OF p: PostgreSQL can't lock the nullable side of an outer join, which the account is.
	lockPost = declareScoped(selectPosts + ` WHERE p.id = ? AND {scope p} {lock UPDATE OF p}`)
	// The two below have no condition on status: lock has found it, and holds the row until the transaction ends.
	editPost = declareScoped(`UPDATE posts SET text = ?, media = ?, scheduled_at = ?, due_at = ?, updated_at = ?
WHERE id = ? AND {scope}`)
	requeuePost = declareScoped(`UPDATE posts SET status = 'queued', key_id = ?, scheduled_at = ?, due_at = ?,
not_before = 0, failure = '', error_code = '', updated_at = ? WHERE id = ? AND {scope}`)
	cancelPost = declareScoped(`UPDATE posts SET ` + canceling + `, updated_at = ? WHERE id = ? AND {scope}
RETURNING status`)
	cancelQueuedBy = declareGlobal(`UPDATE posts SET ` + canceling + `, updated_at = ?
WHERE status = 'queued' AND id IN (` + inOrder("p.status = 'queued' AND p.key_id = ?") + `)`)
	// One look, which finds a post that is on its way, or has just come back from there. In two parts, as each has an
	// index of its own.
	pendingOf = declareGlobal(`SELECT pending.id FROM (
SELECT p.id FROM posts AS p WHERE p.status = 'queued' AND p.key_id = ? UNION ALL
SELECT p.id FROM posts AS p WHERE p.status = 'publishing' AND p.key_id = ?) AS pending LIMIT 1`)
	unsettledPost = declareScoped(`SELECT id FROM posts WHERE id = ? AND status = 'queued' AND unsettled = 1 AND {scope}`)
)

// EditPost makes an edit, and returns the post as it is after it. Media are replaced as a whole, for posts refer to
// them by position. A medium that the view does not reach is ErrNotFound. A *QuotaError: there is no room for what it
// has become.
func (tx *Tx) EditPost(id string, e Edit) (Post, error) {
	r, err := tx.lock(id)
	if err != nil {
		return Post{}, err
	}
	p, now := r.Post, tx.view.db.now()
	// One without a time is to go at once, and its job may be running: the zero time is not after now either.
	if p.Status != Queued || !p.ScheduledAt.After(now) {
		return Post{}, ErrState
	}
	if e.Text != nil {
		p.Text = *e.Text
	}
	if e.ScheduledAt != nil {
		// To the microsecond: what is returned now is what will be read later.
		p.ScheduledAt = fromMicros(micros(*e.ScheduledAt))
	}
	if err := checkText(p.Text); err != nil {
		return Post{}, fmt.Errorf("edit post %s: %w", id, err)
	}
	if e.Media != nil {
		p.Media = slices.Clone(*e.Media)
		if len(p.Media) == 0 {
			p.Media = nil // as it is read
		}
		if err := tx.replaceMedia(p); err != nil {
			return Post{}, fmt.Errorf("edit post %s: %w", id, err)
		}
	}
	p.UpdatedAt = now
	if err := tx.storeEdit(r.Post, p); err != nil {
		return Post{}, fmt.Errorf("edit post %s: %w", id, err)
	}
	shown := []Post{p}
	err = tx.view.conceal(shown, func(s *scoped, ids ...any) ([]string, error) { return inTx(tx, s, scanID, ids...) })
	return shown[0], err
}

// storeEdit writes what a post has become, if there is room for what has come to it.
func (tx *Tx) storeEdit(old, edited Post) error {
	before, err := encodeMedia(old.Media)
	if err != nil {
		return err
	}
	media, err := encodeMedia(edited.Media)
	if err != nil {
		return err
	}
	scheduled, now := micros(edited.ScheduledAt), micros(edited.UpdatedAt)
	if _, err := tx.exec(editPost, edited.Text, media, scheduled, cmp.Or(scheduled, now), now, edited.ID); err != nil {
		return err
	}
	grown := len(edited.Text) + len(media) - len(old.Text) - len(before)
	if grown <= 0 { // whoever has too much may still make it less
		return nil
	}
	return tx.checkQuota(Amounts{Bytes: int64(grown)}, nil)
}

// replaceMedia notes the media of a post that had others before.
func (tx *Tx) replaceMedia(p Post) error {
	if err := tx.lockMedia(p.Media); err != nil {
		return err
	}
	if _, err := tx.exec(deletePostMedia, p.ID); err != nil {
		return err
	}
	return tx.addMediaOf(p)
}

// RequeuePost queues a post again, for a time; zero is at once. ErrState: it is not failed, rejected or canceled, or
// its account is gone. ErrMediaGone: one of its media is. A *QuotaError: there is no room for it in the queue, or for
// another attempt. madeBy is the reference of whoever asks for it, whose the post is from now on. As with CancelPost,
// nothing is concealed in what is returned.
func (tx *Tx) RequeuePost(id, madeBy string, at time.Time) (Post, error) {
	r, err := tx.lock(id)
	switch {
	case err != nil:
		return Post{}, err
	case !isID(madeBy):
		return Post{}, ErrNotFound
	case r.Status != Failed && r.Status != Rejected && r.Status != Canceled, r.AccountID == "":
		return Post{}, ErrState
	}
	// A post that is over does not keep its media from being deleted. They are counted, and locked, before it needs them
	// again.
	if len(r.Media) > 0 {
		media, err := inTx(tx, mediaOfOwnPost, scanID, id)
		if err != nil {
			return Post{}, fmt.Errorf("find the media of post %s: %w", id, err)
		}
		if len(media) != len(r.Media) {
			return Post{}, ErrMediaGone
		}
	}
	r.Status, r.MadeBy, r.ScheduledAt = Queued, madeBy, fromMicros(micros(at))
	r.Failure, r.UpdatedAt = nil, tx.view.db.now()
	now := micros(r.UpdatedAt)
	if _, err := tx.exec(requeuePost, madeBy, micros(at), cmp.Or(micros(at), now), now, id); err != nil {
		return Post{}, fmt.Errorf("requeue post %s: %w", id, err)
	}
	ahead := Amounts{}
	if r.attempts > 0 { // its first attempt counts with the post, and each other one when it begins
		ahead[Posts] = 1
	}
	return r.Post, tx.checkQuota(Amounts{QueuedPosts: 1}, ahead)
}

// lock returns a post that stays as it is until the transaction ends.
func (tx *Tx) lock(id string) (row, error) {
	if !isID(id) {
		return row{}, ErrNotFound
	}
	return one(inTx(tx, lockPost, func(rows *sql.Rows) (row, error) { return scanRow(rows) }, id))
}

// CancelPost cancels a queued post, and returns what has become of it: Canceled, or Failed if its platform may have
// it. ErrState: it is not queued, so it is too late or has been done already. Its job stays in the queue, and finds
// nothing to do: the step from queued to publishing fails. The files of what is returned are not concealed, as they
// are by EditPost: whoever comes to show them has to do that first.
func (tx *Tx) CancelPost(id string) (Post, error) {
	r, err := tx.lock(id)
	if err != nil {
		return Post{}, err
	}
	if r.Status != Queued {
		return Post{}, ErrState
	}
	why, code, err := encodeFailure(gaveUp)
	if err != nil {
		return Post{}, fmt.Errorf("cancel post %s: %w", id, err)
	}
	r.UpdatedAt = tx.view.db.now()
	status, err := one(inTx(tx, cancelPost, scanID, why, code, micros(r.UpdatedAt), id))
	if err != nil {
		return Post{}, fmt.Errorf("cancel post %s: %w", id, err)
	}
	if r.Status = Status(status); r.Status == Failed {
		r.Failure = gaveUp
	}
	return r.Post, nil
}

// CancelQueuedBy cancels all queued posts that were made with a key, as CancelPost does, and returns how many there
// were. It is for the deletion of a key that asks for it, which comes from the cluster and not from a caller. It may be
// repeated: what it has canceled is not queued any more. What is being published by then is not stopped, and may come
// back: see HasPending.
func (w *Work) CancelQueuedBy(ctx context.Context, keyID string) (n int, err error) {
	if !isID(keyID) {
		return 0, nil
	}
	why, code, err := encodeFailure(gaveUp)
	if err == nil {
		err = w.db.transact(ctx, func(ctx context.Context, s session) error {
			args := []any{why, code, micros(w.db.now()), keyID}
			n, err = s.exec(ctx, cancelQueuedBy.text(w.db.engine), args)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("cancel what key %s has queued: %w", keyID, err)
	}
	return n, nil
}

// HasPending tells whether a post that was made with a key is queued or on its way.
func (w *Work) HasPending(ctx context.Context, keyID string) (bool, error) {
	if !isID(keyID) {
		return false, nil
	}
	found, err := readAll(ctx, w.db, session{pool: w.db.writer}, pendingOf, scanID, keyID, keyID)
	if err != nil {
		return false, fmt.Errorf("look what key %s has queued: %w", keyID, err)
	}
	return len(found) > 0, nil
}

// Unsettled tells whether a post is queued that its platform may have.
func (v *View) Unsettled(ctx context.Context, id string) (bool, error) {
	if !isID(id) {
		return false, nil
	}
	found, err := read(ctx, v, unsettledPost, scanID, id)
	return len(found) > 0, err
}
