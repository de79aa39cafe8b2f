// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// A post is overdue if it should have gone out and nothing keeps it: neither it nor the one that comes first of its
// account waits for a time. All of these statements go by accounts, and look at one post of each that is held: a
// thousand posts may wait behind it, and to look at each of them takes as long as there are any.

const (
	// firsts walks from account to account, and finds what comes first of all that each has pending. It does not begin
	// where nothing is late, which is nearly always so; and accounts that have nothing pending cost it nothing, as they
	// would if it went by their table.
	firsts = `WITH RECURSIVE firsts (account_id, id, organization_id, status, due_at, not_before) AS (
SELECT CAST('' AS TEXT), CAST('' AS TEXT), CAST('' AS TEXT), CAST('' AS TEXT), CAST(0 AS BIGINT), CAST(0 AS BIGINT)
WHERE (SELECT l.due_at FROM posts AS l WHERE l.status = 'queued' ORDER BY l.due_at LIMIT 1) < ?
UNION ALL
SELECT p.account_id, p.id, p.organization_id, p.status, p.due_at, p.not_before
FROM firsts AS f JOIN posts AS p ON p.id = (SELECT n.id FROM posts AS n
WHERE n.account_id > f.account_id AND n.status IN ('queued', 'publishing')
ORDER BY n.account_id, n.due_at, n.id LIMIT 1)) `
	// isLate tells whether a post is overdue whose account does not keep it. The first condition is for SQLite, which
	// can't tell by the second that it may use posts_pending_by_account.
	isLate = `p.status IN ('queued', 'publishing') AND p.status = 'queued' AND p.due_at < ? AND p.not_before < ?`
)

var (
	// A post without an account is by itself: see startPost. Organizations take turns: one that has more late accounts
	// than there is room for, because its platform is slow, would keep others' lost posts from ever being found.
	overdue = declareGlobal(firsts + `SELECT turns.id, turns.organization_id FROM (
SELECT late.id, late.organization_id, late.due_at,
ROW_NUMBER() OVER (PARTITION BY late.organization_id ORDER BY late.due_at, late.id) AS turn FROM (
SELECT f.id, f.organization_id, f.due_at FROM firsts AS f
WHERE f.status = 'queued' AND f.due_at < ? AND f.not_before < ? UNION ALL
SELECT p.id, p.organization_id, p.due_at FROM posts AS p
WHERE p.account_id IS NULL AND ` + isLate + `) AS late) AS turns
ORDER BY turns.turn, turns.due_at, turns.id LIMIT ?`)
	// CROSS JOIN keeps SQLite from going by the posts.
	countAllOverdue = declareGlobal(firsts + `SELECT COUNT(*) FROM (
SELECT 1 AS found FROM firsts AS f CROSS JOIN posts AS p
WHERE f.due_at < ? AND f.not_before < ? AND p.account_id = f.account_id AND ` + isLate + ` UNION ALL
SELECT 1 FROM posts AS p WHERE p.account_id IS NULL AND ` + isLate + ` LIMIT ?) AS counted`)
	// A post is in the view that its account is in. One without an account is not counted: it is over as soon as anybody
	// looks at it. Each account is counted by itself, since PostgreSQL would go by everybody's late posts if they were
	// joined.
	countOverdue = declareScoped(`SELECT CAST(COALESCE(SUM(o.late), 0) AS BIGINT) FROM (
SELECT (` + countOf(`posts AS p WHERE p.account_id = a.id AND `+isLate) + `) AS late
FROM accounts AS a WHERE {scope a} AND (SELECT n.not_before FROM posts AS n
WHERE n.account_id = a.id AND n.status IN ('queued', 'publishing') AND n.due_at < ?
ORDER BY n.due_at, n.id LIMIT 1) < ?) AS o`)
)

// Unattended is a queued post that nobody reminds of, as it seems, and whose turn it takes.
type Unattended struct{ PostID, Organization string }

func scanUnattended(rows *sql.Rows) (u Unattended, err error) {
	err = rows.Scan(&u.PostID, &u.Organization)
	return u, err
}

// Overdue returns queued posts whose time was before then, at most limit: those whose job seems to be lost, of each
// organization the oldest, then of each the second, and so on. It is one of each account, the first, and none while
// that is on its way: a job goes on with what the account has. It goes by due_at, which a post has even if it was to go
// at once.
func (w *Work) Overdue(ctx context.Context, then time.Time, limit int) ([]Unattended, error) {
	before := micros(then)
	return readAll(ctx, w.db, session{pool: w.db.reader}, overdue, scanUnattended,
		before, before, before, before, before, limit)
}

// CountOverdue counts the posts that should have gone out before a time and that nothing keeps, up to most.
func (w *Work) CountOverdue(ctx context.Context, then time.Time, most int) (int, error) {
	before := micros(then)
	n, err := one(readAll(ctx, w.db, session{pool: w.db.reader}, countAllOverdue, scanCount,
		before, before, before, before, before, before, before, most))
	if err != nil {
		return 0, fmt.Errorf("count what is overdue: %w", err)
	}
	return n, nil
}

// CountOverdue counts posts that should have gone out before a time, and that nothing keeps: no platform has asked to
// wait with them or with what goes before them, and their account need not be connected again first.
func (v *View) CountOverdue(ctx context.Context, before time.Time) (Count, error) {
	then := micros(before)
	return v.count(ctx, countOverdue, then, then, then, then)
}
