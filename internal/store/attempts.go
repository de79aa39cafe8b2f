// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Three times say when a post goes. scheduled_at is what its author wants; 0 is at once. due_at is that, or when it was
// queued, so that every queued post has one: posts are found by it, and an account's go in its order, however late they
// are. not_before is when it may be tried again, after an attempt that has failed for now; 0 before the first. Jobs of
// the queue have a time of their own, which only reminds: these three decide.

// firstOfAccount is the id of the post that comes first among those of a post's account which are due and not over. It
// is none before the post that is named is due. One that is over may be named: its job has done another's work, and now
// does its own.
const firstOfAccount = `SELECT n.id FROM posts AS o JOIN posts AS n ON n.account_id = o.account_id
WHERE o.id = ? AND (o.status <> 'queued' OR o.due_at <= ?)
AND n.status IN ('queued', 'publishing') AND n.due_at <= ? ORDER BY n.due_at, n.id LIMIT 1`

var (
	// The step from queued to publishing lets exactly one attempt through, however many jobs remind of the post. Those of
	// an account go in the order in which they are due, one at a time: a job is a reminder that there is something to do
	// for the account, and what is done is whatever comes first. A post without an account is by itself: it was on its way
	// when that was disconnected, has come back, and is to be told so.
	startPost = declareGlobal(`UPDATE posts
SET status = 'publishing', attempts = attempts + 1, attempt_id = ?, updated_at = ?,
first_sent_at = CASE WHEN first_sent_at = 0 THEN CAST(? AS BIGINT) ELSE first_sent_at END
WHERE id = COALESCE((` + firstOfAccount + `), (SELECT g.id FROM posts AS g WHERE g.id = ? AND g.account_id IS NULL))
AND status = 'queued' AND scheduled_at <= ? AND not_before <= ?
RETURNING id, first_sent_at, unsettled, ask_token, due_at`)
	// What keeps whatever else the account has to do from being started.
	obstacle = declareGlobal(`SELECT h.not_before FROM posts AS h WHERE h.id = (` + firstOfAccount + `)
AND EXISTS (SELECT 1 FROM posts AS q WHERE q.account_id = h.account_id AND q.status = 'queued' AND q.due_at <= ?)`)
	// One post of each account that has one to start: the accounts first, and no more of them than one look may cost. The
	// jobs of the others' posts are not needed less for that.
	ready = declareGlobal(`SELECT p.id
FROM (SELECT id FROM accounts WHERE organization_id = ? AND environment = ? ORDER BY created_at, id LIMIT ?) AS a
JOIN posts AS p ON p.id = (SELECT n.id FROM posts AS n WHERE n.account_id = a.id
AND n.status IN ('queued', 'publishing') AND n.due_at <= ? ORDER BY n.due_at, n.id LIMIT 1)
WHERE p.status = 'queued' AND p.scheduled_at <= ? AND p.not_before <= ? ORDER BY p.due_at, p.id LIMIT ?`)
	// As startPost, for one post and whether or not its turn has come: nothing is sent. It has changed last when the
	// latest attempt ended, of which the caller is told; whoever finds that it has changed since is too late.
	startLook = declareGlobal(`UPDATE posts
SET status = 'publishing', attempts = attempts + 1, attempt_id = ?, updated_at = ?
WHERE id = ? AND status = 'queued' AND unsettled = 1 AND updated_at = ?
RETURNING id, first_sent_at, unsettled, ask_token, due_at`)
	anyPost = declareGlobal(selectPosts + ` WHERE p.id = ?`)
	// By posts_publishing, which has no more rows than there are attempts that run or were abandoned.
	abandonedAttempts = declareGlobal(`SELECT c.id, c.post_id, c.number, c.started_at, c.finished_at, c.failure,
p.platform, p.organization_id, p.first_sent_at, p.ask_token
FROM posts AS p JOIN attempts AS c ON c.id = p.attempt_id
WHERE p.status = 'publishing' AND NOT ` + alive + ` ORDER BY p.id`)
	remember = declareGlobal(`UPDATE posts SET ask_token = ? WHERE id = ? AND attempt_id = ? AND status = 'publishing'`)
	// What is held because of a setting that this process does not have. Its jobs come again with the overdue. A failure
	// is JSON in text, into which no engine looks: so its rule is looked for with the quotes around it.
	releaseWaiting = declareGlobal(`UPDATE posts SET not_before = 0
WHERE not_before > 0 AND status = 'queued' AND id IN (` + inOrder(`p.status = 'queued' AND p.due_at <= ?
AND p.not_before > ? AND p.platform = ? AND EXISTS (SELECT 1 FROM attempts AS c
WHERE c.id = p.attempt_id AND c.failure LIKE ? AND c.failure NOT LIKE ?)`) + `)`)
)

// NotYet is the error of Start for a post whose turn has not come: another one of its account goes first.
type NotYet struct {
	Until time.Time // when that one may be tried, the earliest; zero: it is on its way
}

// Error is error's.
func (e *NotYet) Error() string { return "another post of the account comes first" }

// Start begins an attempt for a queued post whose time has come, at it or at whatever is to go before it to the same
// account, and returns the post and the attempt as they are then. Whoever gets them is the one to publish it. ErrState:
// the time of the post that was named has not come, or it is over and the account has nothing else to do; ErrNotFound:
// it is gone; *NotYet: see there.
//
// With any other error, the attempt may have begun or not: the connection may have broken after the database had done
// it. If that is possible, the attempt is returned beside the error, and is to be finished as one that has sent
// nothing. Otherwise the post would be on its way until this process has ended, or must have forgotten it.
func (w *Work) Start(ctx context.Context, postID string) (p Post, t Try, err error) {
	if !isID(postID) {
		return Post{}, Try{}, ErrNotFound
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		t = Try{} // of an earlier try of this transaction
		// Drawn within the transaction, which may run more than once: each try is an attempt of its own.
		at, id := w.db.now(), w.db.newID()
		now := micros(at)
		started, err := readAll(ctx, w.db, s, startPost, scanStarted, id, now, now, postID, now, now, postID, now, now)
		switch {
		case err != nil:
			return err
		case len(started) == 0:
			return w.whyNot(ctx, s, postID, now)
		}
		t = started[0]
		// Read after the update and in its transaction: what is published is what the update found, edits included.
		r, err := one(readAll(ctx, w.db, s, anyPost, func(rows *sql.Rows) (row, error) { return scanRow(rows) }, t.PostID))
		if err != nil {
			return err
		}
		p, t.ID, t.Number, t.StartedAt = r.Post, id, r.attempts, at
		args := []any{t.ID, t.Number, w.db.processID, now, t.PostID}
		_, err = s.exec(ctx, addAnyAttempt.text(w.db.engine), args)
		return err
	})
	if err != nil {
		return Post{}, attemptInDoubt(t, err), fmt.Errorf("start post %s: %w", postID, err)
	}
	return p, t, nil
}

// attemptInDoubt returns t if it may be in the database in spite of err, with which its transaction has ended; the zero
// Try: it is surely not there.
func attemptInDoubt(t Try, err error) Try {
	if notDone(err) {
		return Try{}
	}
	return t
}

// How many accounts Ready looks at, and how many posts it returns.
const (
	readyAmong = 1000
	readyMost  = 100
)

// Ready returns the ids of posts of an organization that Start would begin now, the oldest first and one of each
// account. It is no list of all: it looks at so many accounts, and returns so many posts.
func (w *Work) Ready(ctx context.Context, organization string, environment key.Environment) ([]string, error) {
	now := micros(w.db.now())
	return readAll(ctx, w.db, session{pool: w.db.reader}, ready, scanID,
		organization, string(environment), readyAmong, now, now, now, readyMost)
}

// Release lets posts of a platform go whose last attempt has failed under a wait's rule with another setting than its
// own. It returns how many there were.
func (w *Work) Release(ctx context.Context, name platform.Name, waits platform.Wait) (n int, err error) {
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		now := micros(w.db.now())
		n, err = s.exec(ctx, releaseWaiting.text(w.db.engine),
			[]any{now, now, string(name), "%\"" + waits.Rule + "\"%", "%" + waits.Setting + "%"})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("release what waits under %s: %w", waits.Rule, err)
	}
	return n, nil
}

// whyNot says why nothing was started for a post.
func (w *Work) whyNot(ctx context.Context, s session, postID string, now int64) error {
	if _, err := one(readAll(ctx, w.db, s, anyPost, scanPost, postID)); err != nil {
		return err
	}
	waiting, err := readAll(ctx, w.db, s, obstacle, func(rows *sql.Rows) (until int64, err error) {
		err = rows.Scan(&until)
		return until, err
	}, postID, now, now, now)
	switch {
	case err != nil:
		return err
	case len(waiting) == 0:
		return ErrState // it is not due, or others have done all that there was to do
	case waiting[0] <= now:
		return &NotYet{}
	}
	return &NotYet{Until: fromMicros(waiting[0])}
}

// StartLook begins an attempt that only looks whether the platform has a post, as Start does one that sends it. last is
// when the attempt before it ended, which nobody knows the outcome of. ErrState: it is not queued, or its platform
// certainly does not have it. Beside an error there may be an attempt, as with Start.
func (w *Work) StartLook(ctx context.Context, postID string) (p Post, t Try, last time.Time, err error) {
	if !isID(postID) {
		return Post{}, Try{}, last, ErrNotFound
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		t = Try{} // of an earlier try of this transaction
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
		return Post{}, attemptInDoubt(t, err), time.Time{}, fmt.Errorf("start to look for post %s: %w", postID, err)
	}
	return p, t, last, nil
}

// scanStarted reads what startPost returns.
func scanStarted(rows *sql.Rows) (Try, error) {
	var first, unsettled, due int64
	t := Try{Queued: true}
	err := rows.Scan(&t.PostID, &first, &unsettled, &t.Token, &due)
	t.FirstSentAt, t.Ask, t.DueAt = fromMicros(first), unsettled == 1, fromMicros(due)
	return t, err
}

// Remember stores, while an attempt runs, the token by which its platform is asked about it (platform.Asker), should
// its process die. An attempt that is over has said for itself what is to be remembered.
func (w *Work) Remember(ctx context.Context, postID, attemptID string, token []byte) error {
	err := w.db.transact(ctx, func(ctx context.Context, s session) error {
		_, err := s.exec(ctx, remember.text(w.db.engine), []any{token, postID, attemptID})
		return err
	})
	if err != nil {
		return fmt.Errorf("remember how to ask about post %s: %w", postID, err)
	}
	return nil
}

// Lost is an attempt whose process is dead, or must have forgotten it. Whether the platform took the post is not known.
type Lost struct {
	Try
	Platform     platform.Name
	Organization string
}

// SettleLost ends abandoned attempts: those of processes that are dead, or must have forgotten them, as judge says. It
// returns how many there were. Any process may call it at any time, also two at once: the second one finds nothing
// left.
func (w *Work) SettleLost(ctx context.Context, judge func(Lost) Outcome) (n int, err error) {
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		lost, err := readAll(ctx, w.db, s, abandonedAttempts, scanLost, w.db.aliveArgs()...)
		if err != nil {
			return err
		}
		// The process may turn out to live, and finish one of them first; then finish leaves that one alone.
		outcomes := make([]Outcome, len(lost))
		for i, l := range lost {
			outcomes[i] = judge(l)
		}
		n, err = w.finish(ctx, s, outcomes)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("end what dead processes have left: %w", err)
	}
	return n, nil
}
