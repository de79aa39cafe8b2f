// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
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

// canceling is what becomes of a queued post that is not to go out: whoever cancels one says it in these words, be it a
// caller, the end of a key or that of an account. Its arguments are gaveUp and its code.
const canceling = `status = CASE WHEN unsettled = 1 THEN 'failed' ELSE 'canceled' END,
failure = CASE WHEN unsettled = 1 THEN CAST(? AS TEXT) ELSE failure END,
error_code = CASE WHEN unsettled = 1 THEN CAST(? AS TEXT) ELSE error_code END`

// inOrder is a query of the ids of posts that are locked in their order: two who lock several never wait for each
// other.
func inOrder(where string) string {
	return `SELECT p.id FROM posts AS p WHERE ` + where + ` ORDER BY p.id {lock UPDATE}`
}

var (
	cancelPost = declareScoped(`UPDATE posts SET ` + canceling + `, updated_at = ? WHERE id = ? AND {scope}
RETURNING status`)
	cancelQueuedBy = declareGlobal(`UPDATE posts SET ` + canceling + `, updated_at = ?
WHERE status = 'queued' AND id IN (` + inOrder("p.status = 'queued' AND p.key_id = ?") + `)`)
	unsettledPost = declareScoped(`SELECT id FROM posts WHERE id = ? AND status = 'queued' AND unsettled = 1 AND {scope}`)
	// As startPost, for one post and whether or not its turn has come: nothing is sent. It has changed last when the
	// latest attempt ended, of which the caller is told; who finds that it has changed since has come too late.
	startLook = declareGlobal(`UPDATE posts
SET status = 'publishing', attempts = attempts + 1, attempt_id = ?, updated_at = ?
WHERE id = ? AND status = 'queued' AND unsettled = 1 AND updated_at = ?
RETURNING id, first_sent_at, unsettled, ask_token, due_at`)
)

// CancelPost cancels a queued post, and returns what has become of it: Canceled, or Failed if its platform may have it.
// ErrState: it is not queued, so it is too late or has been done already. Its job stays in the queue, and finds nothing
// to do: the step from queued to publishing fails.
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
// repeated: what it has canceled is not queued any more. What is being published by then is not stopped.
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

// Unsettled tells whether a post is queued that its platform may have.
func (v *View) Unsettled(ctx context.Context, id string) (bool, error) {
	if !isID(id) {
		return false, nil
	}
	found, err := read(ctx, v, unsettledPost, scanID, id)
	return len(found) > 0, err
}

// StartLook begins an attempt that only looks whether the platform has a post, as Start does one that sends it. last is
// when the attempt before it ended, which nobody knows the outcome of. ErrState: it is not queued, or its platform
// certainly does not have it.
func (w *Work) StartLook(ctx context.Context, postID string) (p Post, t Try, last time.Time, err error) {
	if !isID(postID) {
		return Post{}, Try{}, last, ErrNotFound
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		r, err := one(readAll(ctx, w.db, s, anyPost, func(rows *sql.Rows) (row, error) { return scanRow(rows) }, postID))
		if err != nil {
			return err
		}
		at, id := w.db.now(), w.db.newID()
		started, err := readAll(ctx, w.db, s, startLook, scanStarted, id, micros(at), postID, micros(r.UpdatedAt))
		if err == nil && len(started) == 0 {
			err = ErrState
		}
		if err != nil {
			return err
		}
		p, t, last = r.Post, started[0], r.UpdatedAt
		p.Status, t.ID, t.Number, t.StartedAt = Publishing, id, r.attempts+1, at
		_, err = s.exec(ctx, addAnyAttempt.text(w.db.engine), []any{t.ID, t.Number, w.db.processID, micros(at), t.PostID})
		return err
	})
	if err != nil {
		return Post{}, Try{}, time.Time{}, fmt.Errorf("start to look for post %s: %w", postID, err)
	}
	return p, t, last, nil
}
