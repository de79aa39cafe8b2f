// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/internal/platform"
)

const (
	postColumns = `p.id, p.batch_id, p.profile_id, p.key_id, COALESCE(p.account_id, ''),
COALESCE(a.platform_account_id, ''), COALESCE(a.display_name, ''), p.platform, p.status, p.text, p.media,
p.first_comment, p.options, p.scheduled_at, p.published_at, p.receipt, p.failure, p.created_at, p.updated_at,
p.attempts, p.attempt_id`
	selectPosts = `SELECT ` + postColumns + ` FROM posts AS p LEFT JOIN accounts AS a ON a.id = p.account_id`

	// The id makes the order total: several posts of one request have one created_at, and a page must not end between
	// them and lose some.
	newestFirst = ` ORDER BY p.created_at DESC, p.id DESC LIMIT ?`
	// A row value, which both engines answer from the index that the listing is sorted by. An OFFSET would read all that
	// it skips, and skip or repeat posts while others are added.
	postsAfter = ` AND (p.created_at, p.id) < (?, ?)`
)

var (
	listPosts      = declareScoped(selectPosts + ` WHERE {scope p}` + newestFirst)
	listPostsAfter = declareScoped(selectPosts + ` WHERE {scope p}` + postsAfter + newestFirst)
	postByID       = declareScoped(selectPosts + ` WHERE p.id = ? AND {scope p}`)
	postsOfBatch   = declareScoped(selectPosts + ` WHERE p.batch_id = ? AND {scope p} ORDER BY p.batch_position, p.id`)
	attemptsOfPost = declareScoped(`SELECT t.id, t.post_id, t.number, t.started_at, t.finished_at, t.failure
FROM attempts AS t JOIN posts AS p ON p.id = t.post_id WHERE t.post_id = ? AND {scope p}
ORDER BY t.number DESC LIMIT 100`)
)

// maxQuery is how long a PostFilter.Query may be to find anything, in bytes: longer than any post.
const maxQuery = 20_000

// row is a post as it stands in the database, with what is the store's own business.
type row struct {
	Post
	attempts  int    // how many there have been
	attemptID string // the last one
}

// scanRow reads the columns of postColumns.
func scanRow(rows *sql.Rows) (r row, err error) {
	var account AccountRef
	var media, options, receipt, failure string
	var scheduled, published, created, updated int64
	if err := rows.Scan(&r.ID, &r.BatchID, &r.ProfileID, &r.MadeBy,
		&account.ID, &account.PlatformAccountID, &account.DisplayName, &r.Platform, &r.Status, &r.Text, &media,
		&r.FirstComment, &options, &scheduled, &published, &receipt, &failure, &created, &updated,
		&r.attempts, &r.attemptID); err != nil {
		return r, err
	}
	if r.AccountID = account.ID; account.ID != "" {
		account.Platform = r.Platform // an account's never changes
		r.Account = &account
	}
	r.ScheduledAt, r.PublishedAt = fromMicros(scheduled), fromMicros(published)
	r.CreatedAt, r.UpdatedAt = fromMicros(created), fromMicros(updated)
	return r, r.decode(media, options, receipt, failure)
}

// decode fills in what is stored as JSON.
func (r *row) decode(media, options, receipt, failure string) (err error) {
	refs, err := decode[[]MediaRef](media)
	if err != nil {
		return fmt.Errorf("post %s: %w", r.ID, err)
	}
	if refs != nil {
		r.Media = *refs
	}
	if r.Options, err = decode[platform.Options](options); err != nil {
		return fmt.Errorf("post %s: %w", r.ID, err)
	}
	got, err := decode[platform.Receipt](receipt)
	if err != nil {
		return fmt.Errorf("post %s: %w", r.ID, err)
	}
	if got != nil {
		r.Receipt = *got
	}
	if r.Failure, err = decode[platform.Failure](failure); err != nil {
		return fmt.Errorf("post %s: %w", r.ID, err)
	}
	return nil
}

// scanPost is scanRow for whoever is shown a post: attempts are told of by their own.
func scanPost(rows *sql.Rows) (Post, error) {
	r, err := scanRow(rows)
	return r.Post, err
}

// scanAttempt reads the columns of attemptsOfPost.
func scanAttempt(rows *sql.Rows) (Attempt, error) { return scanAttemptAnd(rows) }

// scanLost reads the columns of abandonedAttempts.
func scanLost(rows *sql.Rows) (l Lost, err error) {
	var first int64
	var token []byte
	l.Attempt, err = scanAttemptAnd(rows, &l.Platform, &l.Organization, &first, &token)
	l.FirstSentAt, l.Token = fromMicros(first), token
	return l, err
}

// scanAttemptAnd reads the columns of an attempt and those that follow them.
func scanAttemptAnd(rows *sql.Rows, more ...any) (a Attempt, err error) {
	var started, finished int64
	var failure string
	into := []any{&a.ID, &a.PostID, &a.Number, &started, &finished, &failure}
	if err := rows.Scan(append(into, more...)...); err != nil {
		return a, err
	}
	a.StartedAt, a.FinishedAt = fromMicros(started), fromMicros(finished)
	a.Failure, err = decode[platform.Failure](failure)
	return a, err
}

// Posts lists posts. next is the position to go on after; zero: there is nothing after these.
//
// With a PostFilter.Query a page may end before it is full, or without any post: what one looks at is bounded. The case
// of letters does not matter to a Query. One beyond 20,000 bytes finds nothing.
func (v *View) Posts(ctx context.Context, f PostFilter, p Page) (posts []Post, next Position, err error) {
	if !v.db.ready.Load() {
		return nil, next, errNotYet
	}
	if f.Query != "" {
		return v.search(ctx, f, p)
	}
	where, args, possible := f.condition()
	if !possible {
		return nil, next, nil
	}
	first, after := listPosts, listPostsAfter
	if where != "" {
		first, after = filtered(where)
	}
	posts, more, err := list(ctx, v, p, first, after, scanPost, sizeOfPost, args...)
	if more {
		last := posts[len(posts)-1]
		next = Position{At: last.CreatedAt, ID: last.ID}
	}
	posts, err = v.shown(ctx, posts, err)
	return posts, next, err
}

// sizeOfPost is about how long a post is in a listing. A text that Post gains, and that somebody may write at length,
// has to be counted here: what is not counted has no bound in a listing.
func sizeOfPost(p Post) int {
	n := rowBytes + encodedLen(p.Text) + encodedLen(p.FirstComment)
	for _, m := range p.Media {
		n += 100 + encodedLen(m.AltText)
	}
	if o := p.Options; o != nil {
		for _, text := range append([]string{
			o.ReplyToURI, o.ReplyToCID, o.ReplyRootURI, o.ReplyRootCID, o.QuoteURI, o.QuoteCID,
		}, o.Langs...) {
			n += encodedLen(text)
		}
	}
	r := p.Receipt
	n += encodedLen(r.URI) + encodedLen(r.CID) + encodedLen(r.FirstCommentURI) + encodedLen(r.FirstCommentCID)
	for _, w := range r.Warnings {
		n += 50 + encodedLen(w.Message)
	}
	if a := p.Account; a != nil {
		n += encodedLen(a.PlatformAccountID) + encodedLen(a.DisplayName)
	}
	return n + sizeOfFailure(p.Failure)
}

// sizeOfFailure is about how long what a platform has said is.
func sizeOfFailure(f *platform.Failure) int {
	if f == nil {
		return 0
	}
	return encodedLen(f.Message) + encodedLen(f.Remediation) + len(f.PlatformResponse)
}

// filtered returns the statements that list posts under a condition. They are made for each request, and so are not
// prepared: there are too many of them. What callers send is in the arguments only: where consists of words of this
// file.
func filtered(where string) (first, after *scoped) {
	return newScoped(selectPosts + ` WHERE {scope p}` + where + newestFirst),
		newScoped(selectPosts + ` WHERE {scope p}` + where + postsAfter + newestFirst)
}

// condition is the filter as SQL but for its Query, with its arguments. It is not possible if nothing can fulfil it.
func (f PostFilter) condition() (where string, args []any, possible bool) {
	var b strings.Builder
	for _, list := range []struct {
		column string
		values []string
	}{
		{"p.platform", f.Platforms},
		{"p.status", f.Statuses},
		{"p.error_code", f.ErrorCodes},
		{"p.account_id", f.Accounts},
	} {
		n := 0
		for _, value := range list.values {
			if isID(value) { // what is none of our words is no post's, and may be what PostgreSQL refuses
				args = append(args, value)
				n++
			}
		}
		switch {
		case n > 0:
			b.WriteString(" AND " + list.column + " IN (" + places(n) + ")")
		// None of them can be anything's. To leave the condition out would show what nobody has asked for: everything.
		case len(list.values) > 0:
			return "", nil, false
		}
	}
	if !isText(f.Query) || len(f.Query) > maxQuery {
		return "", nil, false
	}
	if !f.After.IsZero() {
		b.WriteString(" AND p.created_at >= ?")
		args = append(args, micros(f.After))
	}
	if !f.Before.IsZero() {
		b.WriteString(" AND p.created_at < ?")
		args = append(args, micros(f.Before))
	}
	return b.String(), args, true
}

// Post returns one post. If there is none, or id is not well-formed, the error is ErrNotFound.
func (v *View) Post(ctx context.Context, id string) (Post, error) {
	if !isID(id) {
		return Post{}, ErrNotFound
	}
	posts, err := read(ctx, v, postByID, scanPost, id)
	return one(v.shown(ctx, posts, err))
}

// Attempts returns the last hundred attempts at a post, oldest first; none if the view does not reach the post. They
// are read from the newest on, by the index on the post and the number, and then turned around.
func (v *View) Attempts(ctx context.Context, postID string) ([]Attempt, error) {
	if !isID(postID) {
		return nil, ErrNotFound
	}
	attempts, err := read(ctx, v, attemptsOfPost, scanAttempt, postID)
	slices.Reverse(attempts)
	return attempts, err
}

// Batch returns the posts of a request, in the order in which they were added: the order of the request's targets,
// which is that of its answer. It needs no limit, since a request makes 25 of them at most.
func (v *View) Batch(ctx context.Context, batchID string) ([]Post, error) {
	if !isID(batchID) {
		return nil, nil
	}
	posts, err := read(ctx, v, postsOfBatch, scanPost, batchID)
	return v.shown(ctx, posts, err)
}
