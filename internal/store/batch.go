// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

// What a request for posts writes: AddPosts stores them, each with its first attempt, and Finish how these ended; Undo
// takes back what nobody knows to be stored.
//
// Whoever changes several posts locks them first, in the order of their ids (inOrder): some are counted as they change,
// and whoever holds a row of usage waits for no other row. A transaction of one post has nothing to lock ahead.
const (
	// Two times: started_at is by this process's clock and is shown; begun_at is by the database's, and tells whether
	// the attempt is still its process's (see alive).
	addAttemptText = `INSERT INTO attempts (id, post_id, number, process_id, started_at, begun_at, finished_at, failure)
SELECT CAST(? AS TEXT), p.id, CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS BIGINT), {now}, 0, ''
FROM posts AS p WHERE p.id = ? AND {scope p}`
	// The post first: only those who find it waiting for this very attempt may say how that ended.
	finishPostText = `UPDATE posts
SET status = ?, published_at = ?, receipt = ?, failure = ?, error_code = ?, updated_at = ?, not_before = ?,
unsettled = ?, ask_token = ?, first_sent_at = CASE WHEN ? = 1 THEN first_sent_at ELSE 0 END
WHERE id = ? AND attempt_id = ? AND status = 'publishing' AND {scope}`
	lockOneText       = `SELECT id FROM posts WHERE id = ? AND {scope} {lock UPDATE}`
	finishAttemptText = `UPDATE attempts SET finished_at = ?, failure = ? WHERE id = ? AND finished_at = 0
AND post_id IN (SELECT p.id FROM posts AS p WHERE p.id = ? AND {scope p})`
)

// inOrder is a query of the ids of posts that are locked in their order: two who lock several never wait for each
// other.
func inOrder(where string) string {
	return `SELECT p.id FROM posts AS p WHERE ` + where + ` ORDER BY p.id {lock UPDATE}`
}

var (
	// The locks of accounts and media keep both from being deleted while a post is added that needs them.
	accountForPost = declareScoped(`SELECT ` + accountColumns + ` FROM accounts WHERE id = ? AND {scope} {lock SHARE}`)
	mediaForPost   = declareScoped(`SELECT id FROM media WHERE id = ? AND {scope} {lock SHARE}`)
	addPost        = declareScoped(`INSERT INTO posts (organization_id, environment, id, profile_id, key_id,
batch_id, batch_position, account_id, platform, status, text, media, first_comment, options, scheduled_at, due_at,
published_at, receipt, failure, error_code, attempts, attempt_id, first_sent_at, created_at, updated_at)
VALUES ({owner}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', '', '', ?, ?, ?, ?, ?)`)
	// The casts are for PostgreSQL, which can't tell the types of parameters in a SELECT.
	addPostMedia = declareScoped(`INSERT INTO post_media (post_id, position, media_id)
SELECT p.id, CAST(? AS BIGINT), CAST(? AS TEXT) FROM posts AS p WHERE p.id = ? AND {scope p}`)

	// What a caller's own request does is held by its view, and what the server does by itself is not.
	addAttempt    = declareScoped(addAttemptText)
	addAnyAttempt = declareGlobal(addAttemptText)
	// By finishStep.
	finishOwn = [...]*scoped{declareScoped(lockOneText), declareScoped(finishPostText), declareScoped(finishAttemptText)}
	finishAny = [...]*global{declareGlobal(lockOneText), declareGlobal(finishPostText), declareGlobal(finishAttemptText)}
)

// AddPosts adds posts in the order given: those that are Publishing with their first attempt, which is returned in the
// same order. ID, BatchID, ProfileID, AccountID, MadeBy, Platform, Status, Text, Media, FirstComment, Options,
// ScheduledAt and CreatedAt are the caller's to set. An account, profile or medium that the view does not reach is
// ErrNotFound, and so is an account that is gone since it was looked up, or that is of another profile or platform than
// the post. Whoever gets an attempt is to publish it, but not before the transaction has committed: until then it may
// still be undone and run again. A *QuotaError: there is no room for them.
func (tx *Tx) AddPosts(posts []Post) ([]Attempt, error) {
	if err := tx.lockNeeded(posts); err != nil {
		return nil, err
	}
	var attempts []Attempt
	added := Amounts{Posts: int64(len(posts))}
	for i, p := range posts {
		attempt, size, err := tx.addPost(p, i)
		if err != nil {
			return nil, fmt.Errorf("add post %s: %w", p.ID, err)
		}
		added[Bytes] += size
		if attempt != nil {
			attempts = append(attempts, *attempt)
		} else {
			added[QueuedPosts]++
		}
	}
	// After they were added, which locks what is compared. The transaction is undone by the error.
	return attempts, tx.checkQuota(added, nil)
}

// lockNeeded makes sure that the view reaches what posts need, and that it stays. It goes by id, so that two who need
// the same do not wait for each other.
func (tx *Tx) lockNeeded(posts []Post) error {
	var media []MediaRef
	byAccount := slices.Clone(posts)
	slices.SortFunc(byAccount, func(a, b Post) int { return cmp.Compare(a.AccountID, b.AccountID) })
	for i, p := range byAccount {
		media = append(media, p.Media...)
		if !isID(p.AccountID) || !tx.view.includes(p.ProfileID) {
			return ErrNotFound
		}
		// One look for each account: a request may have many posts for it.
		if i > 0 && p.AccountID == byAccount[i-1].AccountID && p.ProfileID == byAccount[i-1].ProfileID &&
			p.Platform == byAccount[i-1].Platform {
			continue
		}
		// What the caller looked up may have changed since. What counts is what the lock finds.
		account, err := one(inTx(tx, accountForPost, scanAccount, p.AccountID))
		if err != nil {
			return err
		}
		if account.ProfileID != p.ProfileID || account.Platform != p.Platform {
			return ErrNotFound
		}
	}
	return tx.lockMedia(media)
}

// lockMedia makes sure of the media that posts need, in the order of their ids, as lockNeeded does of accounts.
func (tx *Tx) lockMedia(refs []MediaRef) error {
	var ids []string
	for _, ref := range refs {
		ids = append(ids, ref.MediaID)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if !isID(id) {
			return ErrNotFound
		}
		// SHARE: any number of posts may need one medium at a time; only a deletion has to wait.
		if _, err := one(inTx(tx, mediaForPost, scanID, id)); err != nil {
			return err
		}
	}
	return nil
}

// addPost adds one post that has all it needs, and the first attempt at it if it is to go at once: both are there
// before anything is sent, so that nobody takes the post up as well. size is the bytes that it counts for.
func (tx *Tx) addPost(p Post, position int) (_ *Attempt, size int64, _ error) {
	if !isID(p.ID) || !isID(p.MadeBy) || p.BatchID != "" && !isID(p.BatchID) {
		return nil, 0, ErrNotFound
	}
	if err := checkText(string(p.Status), p.Text, p.FirstComment); err != nil {
		return nil, 0, err
	}
	media, err := encodeMedia(p.Media)
	if err != nil {
		return nil, 0, err
	}
	options, err := encode(p.Options)
	if err != nil {
		return nil, 0, err
	}
	size = int64(len(p.Text) + len(media) + len(p.FirstComment) + len(options))
	var attempt *Attempt
	number, attemptID, firstSent := 0, "", int64(0)
	if p.Status == Publishing {
		number, attemptID = 1, tx.view.db.newID()
		attempt = &Attempt{ID: attemptID, PostID: p.ID, Number: number, StartedAt: tx.view.db.now()}
		firstSent = micros(attempt.StartedAt)
	}
	// due_at is what queued posts are found by: a time to go, or, for one that is to go at once, when it was added.
	created := micros(p.CreatedAt)
	if _, err := tx.exec(addPost, p.ID, p.ProfileID, p.MadeBy, p.BatchID, position, p.AccountID,
		string(p.Platform), string(p.Status), p.Text, media, p.FirstComment, options,
		micros(p.ScheduledAt), cmp.Or(micros(p.ScheduledAt), created),
		number, attemptID, firstSent, created, created); err != nil {
		return nil, 0, err
	}
	if err := tx.addMediaOf(p); err != nil || attempt == nil {
		return nil, size, err
	}
	_, err = tx.exec(addAttempt, attempt.ID, attempt.Number, tx.view.db.processID, micros(attempt.StartedAt), p.ID)
	return attempt, size, err
}

// addMediaOf notes which media a post needs, so that none of them is deleted under it.
func (tx *Tx) addMediaOf(p Post) error {
	for i, ref := range p.Media {
		if _, err := tx.exec(addPostMedia, i, ref.MediaID, p.ID); err != nil {
			return fmt.Errorf("add its medium %s: %w", ref.MediaID, err)
		}
	}
	return nil
}

// encodeMedia writes the files of a post; "" for none. They are stored twice: here as the post shows them, for good,
// and in post_media, by which media are kept while they are needed. Deleting a medium takes nothing from posts that are
// over: they go on showing what they were published with.
func encodeMedia(refs []MediaRef) (string, error) {
	if len(refs) == 0 {
		return "", nil
	}
	return encode(&refs)
}

// Finish records how attempts ended, and with it what became of their posts. An attempt that is not its post's running
// one any more is left alone: somebody else has finished it. The answer of the request is settled in the same
// transaction, so that it never tells of outcomes that are not stored.
func (tx *Tx) Finish(outcomes []Outcome) error {
	_, err := finish(tx.view.db, outcomes, func(step finishStep, args ...any) (int, error) {
		return tx.exec(finishOwn[step], args...)
	})
	return err
}

// Finish is Tx.Finish in a transaction of its own, for whoever publishes without a caller.
func (w *Work) Finish(ctx context.Context, outcomes []Outcome) error {
	return w.db.transact(ctx, func(ctx context.Context, s session) error {
		_, err := w.finish(ctx, s, outcomes)
		return err
	})
}

// finish is Finish within a transaction. It returns how many attempts it found running.
func (w *Work) finish(ctx context.Context, s session, outcomes []Outcome) (int, error) {
	return finish(w.db, outcomes, func(step finishStep, args ...any) (int, error) {
		return s.exec(ctx, finishAny[step].text(w.db.engine), args)
	})
}

// finishStep is what is to be done with a post whose attempt has ended.
type finishStep int

const (
	lockIt     finishStep = iota // the post, where there are several
	endIt                        // the post: if it waits for this attempt
	endAttempt                   // only if the post did
)

// finish finishes attempts with exec. It returns how many it found running.
func finish(db *DB, outcomes []Outcome, exec func(step finishStep, args ...any) (int, error)) (finished int, _ error) {
	outcomes = slices.Clone(outcomes) // the caller's are in the order of its posts, by which it answers
	slices.SortFunc(outcomes, func(a, b Outcome) int { return cmp.Compare(a.Attempt.PostID, b.Attempt.PostID) })
	if err := lockPosts(db, outcomes, exec); err != nil {
		return 0, err
	}
	for _, o := range outcomes {
		a := o.Attempt
		failure, code, err := encodeFailure(o.Failure)
		if err != nil {
			return 0, fmt.Errorf("finish attempt %s: %w", a.ID, err)
		}
		// Without a time of its own, an attempt has ended now: whoever settles lost ones knows no better.
		at := cmp.Or(micros(a.FinishedAt), micros(db.now()))
		published, receipt := int64(0), ""
		if o.Failure == nil {
			published = at
			if receipt, err = encode(&o.Receipt); err != nil {
				return 0, fmt.Errorf("finish attempt %s: %w", a.ID, err)
			}
		}
		// A post that is tried again has not failed: why it did not go out this time, the attempt tells.
		status, postFailure := o.Status(), failure
		if status == Queued {
			postFailure, code = "", ""
		}
		// When it was first sent stays with a post that its platform has, or may have: it is part of what the platform
		// knows the post by (platform.Publication). Of one that it certainly does not have, the next attempt is the first.
		//
		// If the post is not waiting for this attempt any more, the attempt is not touched either: both say the same.
		n, err := exec(endIt, string(status), published, receipt, postFailure, code, at, micros(o.Again),
			number(o.Unsettled), o.Token, number(o.Unsettled || status == Published), a.PostID, a.ID)
		if err == nil && n > 0 {
			finished++
			_, err = exec(endAttempt, at, failure, a.ID, a.PostID)
		}
		if err != nil {
			return 0, fmt.Errorf("finish attempt %s: %w", a.ID, err)
		}
	}
	return finished, nil
}

// lockPosts locks the posts of outcomes, which are in their order.
func lockPosts(db *DB, outcomes []Outcome, exec func(finishStep, ...any) (int, error)) error {
	if len(outcomes) < 2 || db.engine == SQLite { // whose writers wait for nobody once they have begun
		return nil
	}
	for _, o := range outcomes {
		if _, err := exec(lockIt, o.Attempt.PostID); err != nil {
			return fmt.Errorf("lock post %s: %w", o.Attempt.PostID, err)
		}
	}
	return nil
}

// number is how a yes or no is stored.
func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// encodeFailure writes a failure, and the code that listings filter by. What a platform said need not be JSON.
func encodeFailure(f *platform.Failure) (text, code string, err error) {
	if f == nil {
		return "", "", nil
	}
	// The code is a column of its own, as listings filter by it. All else goes into JSON, which takes any text.
	if !isText(f.Code) {
		return "", "", errText
	}
	// It is stored within JSON, and one platform that answers with HTML, or with megabytes, must not keep an outcome from
	// being stored.
	kept := f.Bounded()
	text, err = encode(&kept)
	return text, kept.Code, err
}

var (
	lockOfBatch = declareScoped(`SELECT COUNT(*) FROM (` +
		inOrder("p.batch_id = ? AND p.status = 'publishing' AND {scope p}") + `) AS locked`)
	// The order is that of the foreign keys: what refers to a post goes before the post. Each finds its rows by the post's
	// status, so the posts have to be there until then.
	undoAttempts = declareScoped(`DELETE FROM attempts WHERE finished_at = 0
AND post_id IN (SELECT p.id FROM posts AS p WHERE p.batch_id = ? AND p.status = 'publishing' AND {scope p})`)
	undoMedia = declareScoped(`DELETE FROM post_media
WHERE post_id IN (SELECT p.id FROM posts AS p WHERE p.batch_id = ? AND p.status = 'publishing' AND {scope p})`)
	undoPosts = declareScoped(`DELETE FROM posts WHERE batch_id = ? AND status = 'publishing' AND {scope}`)
	// The request may be run again, as if it had not begun.
	undoBegin = declareScoped(`UPDATE claims SET batch_id = '' WHERE batch_id = ? AND settled_at = 0 AND {actor}`)
)

// Undo takes back what AddPosts and Begin have done, for a process that does not know whether they have, because the
// connection broke while they were committed, and that therefore has sent nothing: it is as if the request had not been
// made. Posts that somebody else has finished meanwhile stay. If the commit has not happened, there is nothing to
// delete, and nothing is. It may be repeated.
func (tx *Tx) Undo(batchID string) error {
	for _, s := range []*scoped{lockOfBatch, undoAttempts, undoMedia, undoPosts, undoBegin} {
		if _, err := tx.exec(s, batchID); err != nil {
			return fmt.Errorf("undo batch %s: %w", batchID, err)
		}
	}
	return nil
}
