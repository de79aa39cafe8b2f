// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strconv"
	"time"
)

// MostCounted is how far a count goes: whoever asks what hangs on something wants to know whether it is little or much,
// and to count all of it would cost as much as there is.
const MostCounted = 1000

// Count is how many there are of something. More: at least so many, which is MostCounted.
type Count struct {
	N    int
	More bool
}

var (
	countAccounts = declareScoped(countOf(`accounts WHERE {scope}`))
	countMedia    = declareScoped(countOf(`media AS m WHERE {scope m}`))
	countQueued   = declareScoped(countOf(`posts AS p WHERE p.status = 'queued' AND {scope p}`))
	countQueuedOf = declareScoped(countOf(`posts AS p WHERE p.account_id = ? AND p.status = 'queued' AND {scope p}`))
	// Those that nothing can be published to, and those that will be so at a time unless somebody does something.
	accountsEnding = declareScoped(`SELECT ` + accountColumns + ` FROM accounts
WHERE {scope} AND (reconnect <> '' OR token_expires_at > 0 AND token_expires_at < ?)
ORDER BY created_at DESC, id DESC LIMIT ?`)
)

// countOf counts rows up to one more than MostCounted, by which count can tell that there are more. The LIMIT is
// within, where it ends the reading: around the COUNT, it would be one row of all.
func countOf(from string) string {
	const most = MostCounted + 1
	return `SELECT COUNT(*) FROM (SELECT 1 AS found FROM ` + from + ` LIMIT ` + strconv.Itoa(most) + `) AS counted`
}

func (v *View) count(ctx context.Context, s *scoped, args ...any) (Count, error) {
	counts, err := read(ctx, v, s, scanCount, args...)
	if err != nil || len(counts) == 0 { // a view that reaches nothing is not asked
		return Count{}, err
	}
	return Count{N: min(counts[0], MostCounted), More: counts[0] > MostCounted}, nil
}

func scanCount(rows *sql.Rows) (n int, err error) {
	err = rows.Scan(&n)
	return n, err
}

// CountAccounts counts the accounts that the view reaches.
func (v *View) CountAccounts(ctx context.Context) (Count, error) { return v.count(ctx, countAccounts) }

// CountMedia counts the files that the view reaches.
func (v *View) CountMedia(ctx context.Context) (Count, error) { return v.count(ctx, countMedia) }

// CountQueued counts the posts that wait for their time.
func (v *View) CountQueued(ctx context.Context) (Count, error) { return v.count(ctx, countQueued) }

// CountQueuedOf counts those of one account, which DeleteAccount would cancel.
func (v *View) CountQueuedOf(ctx context.Context, accountID string) (Count, error) {
	if !isID(accountID) {
		return Count{}, nil
	}
	return v.count(ctx, countQueuedOf, accountID)
}

// AccountsEnding returns the accounts, at most limit, that have to be connected again now or before a time.
func (v *View) AccountsEnding(ctx context.Context, before time.Time, limit int) ([]Account, error) {
	return read(ctx, v, accountsEnding, scanAccount, micros(before), limit)
}
