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

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
)

// Whoever changes several posts locks them first, in the order of their ids (inOrder): some are counted as they change,
// and who holds a row of usage waits for no other row. A transaction of one post has nothing to lock ahead.
const (
	addAttemptText = `INSERT INTO attempts (id, post_id, number, process_id, started_at, begun_at, finished_at, failure)
SELECT CAST(? AS TEXT), p.id, CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS BIGINT), {now}, 0, ''
FROM posts AS p WHERE p.id = ? AND {scope p}`
	// The post first: only who finds it waiting for this very attempt may say how that ended.
	finishPostText = `UPDATE posts
SET status = ?, published_at = ?, receipt = ?, failure = ?, error_code = ?, updated_at = ?, not_before = ?,
unsettled = ?, ask_token = ?, first_sent_at = CASE WHEN ? = 1 THEN first_sent_at ELSE 0 END
WHERE id = ? AND attempt_id = ? AND status = 'publishing' AND {scope}`
	lockOneText       = `SELECT id FROM posts WHERE id = ? AND {scope} {lock UPDATE}`
	finishAttemptText = `UPDATE attempts SET finished_at = ?, failure = ? WHERE id = ? AND finished_at = 0
AND post_id IN (SELECT p.id FROM posts AS p WHERE p.id = ? AND {scope p})`
)

// firstOfAccount is the id of the post that comes first among those of a post's account which are due and not over. It
// is none before the post that is named is due. One that is over may be named: its job has done another's work, and now
// does its own.
const firstOfAccount = `SELECT n.id FROM posts AS o JOIN posts AS n ON n.account_id = o.account_id
WHERE o.id = ? AND (o.status <> 'queued' OR o.due_at <= ?)
AND n.status IN ('queued', 'publishing') AND n.due_at <= ? ORDER BY n.due_at, n.id LIMIT 1`

var (
	// What a caller's own request does is held by its view, and what the server does by itself is not.
	addAttempt    = declareScoped(addAttemptText)
	addAnyAttempt = declareGlobal(addAttemptText)
	// By finishStep.
	finishOwn = [...]*scoped{declareScoped(lockOneText), declareScoped(finishPostText), declareScoped(finishAttemptText)}
	finishAny = [...]*global{declareGlobal(lockOneText), declareGlobal(finishPostText), declareGlobal(finishAttemptText)}

	// The step from queued to publishing lets exactly one attempt through, however many jobs remind of the post. Those of
	// an account go in the order in which they are due, one at a time: a job is a reminder that there is something to do
	// for the account, and what is done is whatever comes first.
	startPost = declareGlobal(`UPDATE posts
SET status = 'publishing', attempts = attempts + 1, attempt_id = ?, updated_at = ?,
first_sent_at = CASE WHEN first_sent_at = 0 THEN CAST(? AS BIGINT) ELSE first_sent_at END
WHERE id = (` + firstOfAccount + `) AND status = 'queued' AND scheduled_at <= ? AND not_before <= ?
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
	anyPost           = declareGlobal(selectPosts + ` WHERE p.id = ?`)
	abandonedAttempts = declareGlobal(`SELECT c.id, c.post_id, c.number, c.started_at, c.finished_at, c.failure,
p.platform, p.first_sent_at, p.ask_token
FROM posts AS p JOIN attempts AS c ON c.id = p.attempt_id
WHERE p.status = 'publishing' AND NOT ` + alive + ` ORDER BY p.id`)
	// What is held because of a setting that this process does not have. Its jobs come again with the overdue.
	releaseWaiting = declareGlobal(`UPDATE posts SET not_before = 0
WHERE not_before > 0 AND status = 'queued' AND id IN (` + inOrder(`p.status = 'queued' AND p.due_at <= ?
AND p.not_before > ? AND p.platform = ? AND EXISTS (SELECT 1 FROM attempts AS c
WHERE c.id = p.attempt_id AND c.failure LIKE ? AND c.failure NOT LIKE ?)`) + `)`)
	overdue = declareGlobal(`SELECT id FROM posts
WHERE status = 'queued' AND due_at < ? AND not_before < ? ORDER BY due_at, id LIMIT ?`)
)

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
	lockIt finishStep = iota
	endIt
	endAttempt
)

// finish finishes attempts with exec. It returns how many it found running.
func finish(db *DB, outcomes []Outcome, exec func(step finishStep, args ...any) (int, error)) (finished int, _ error) {
	outcomes = slices.Clone(outcomes)
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
func (w *Work) Start(ctx context.Context, postID string) (p Post, t Try, err error) {
	if !isID(postID) {
		return Post{}, Try{}, ErrNotFound
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		// Drawn within the transaction, which may run more than once: each try is an attempt of its own.
		at, id := w.db.now(), w.db.newID()
		now := micros(at)
		started, err := readAll(ctx, w.db, s, startPost, scanStarted, id, now, now, postID, now, now, now, now)
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
		return Post{}, Try{}, fmt.Errorf("start post %s: %w", postID, err)
	}
	return p, t, nil
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

// scanStarted reads what startPost returns.
func scanStarted(rows *sql.Rows) (Try, error) {
	var first, unsettled, due int64
	t := Try{Queued: true}
	err := rows.Scan(&t.PostID, &first, &unsettled, &t.Token, &due)
	t.FirstSentAt, t.Ask, t.DueAt = fromMicros(first), unsettled == 1, fromMicros(due)
	return t, err
}

// Lost is an attempt whose process is dead, or must have forgotten it. Whether the platform took the post is not known.
type Lost struct {
	Try
	Platform platform.Name
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

// Overdue returns the ids of queued posts whose time was before then, oldest first, at most limit: those whose job
// seems to be lost. It goes by due_at, which a post has even if it was to go at once.
func (w *Work) Overdue(ctx context.Context, then time.Time, limit int) ([]string, error) {
	return readAll(ctx, w.db, session{pool: w.db.reader}, overdue, scanID, micros(then), micros(then), limit)
}
