// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

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

// Edit changes a queued post that is still to come. One that is due may be on its way already. Nil fields stay as they
// are. ErrState: it is not queued any more, or is due.
type Edit struct {
	Text        *string
	Media       *[]MediaRef
	ScheduledAt *time.Time
}

// Backlog returns whose view it is, and how many posts that organization has queued, those of this transaction too: of
// all its profiles, as organizations take turns, and not profiles.
func (tx *Tx) Backlog() (organization string, queued int, err error) {
	usage, err := tx.usage()
	return tx.view.organization, int(usage[QueuedPosts]), err
}

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
	if grown <= 0 { // who has too much may still make it less
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

// lock returns a post that stays as it is until the transaction ends.
func (tx *Tx) lock(id string) (row, error) {
	if !isID(id) {
		return row{}, ErrNotFound
	}
	return one(inTx(tx, lockPost, func(rows *sql.Rows) (row, error) { return scanRow(rows) }, id))
}

// RequeuePost queues a post again, for a time; zero is at once. ErrState: it is not failed, rejected or canceled, or
// its account is gone. ErrMediaGone: one of its media is. A *QuotaError: there is no room for it in the queue, or for
// another attempt. madeBy is the reference of who asks for it, whose the post is from now on.
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
