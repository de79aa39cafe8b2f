// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/letmepost/letmepost-operator/internal/key"
)

// What a key is used for is counted by each process for itself, and comes here many keys at once. Of any time, there
// are rows of one length alone: ten minutes at first, one for each process; then hours, and then days, which are of all
// processes. So a key that is always in use has some eighty rows, however long that is, and eight more of each process;
// and one that says when it was used last, for as long as the key is there.

// Period is how long a time is that use is counted for. Its rows begin at whole ones since 1970, in UTC.
type Period time.Duration

// The periods.
const (
	TenMinutes = Period(10 * time.Minute)
	Hour       = Period(time.Hour)
	Day        = Period(24 * time.Hour)
)

// Begin is when the period begins that t is in.
func (p Period) Begin(t time.Time) time.Time { return t.UTC().Truncate(time.Duration(p)) }

// minutes is a period as the database has it.
func (p Period) minutes() int64 { return int64(time.Duration(p) / time.Minute) }

// Use is what one key was used for.
type Use struct {
	Organization string // id
	Environment  key.Environment
	Key          string    // UID of the ApiKey
	UsedAt       time.Time // last
	Requests     int64
	Refused      int64 // of Requests
}

// PeriodOfUse is what the key was used for in one period.
type PeriodOfUse struct {
	Period   Period
	Begins   time.Time
	Replica  string // that has counted it; "": all of them
	UsedAt   time.Time
	Requests int64
	Refused  int64
}

var (
	// In the order of keys, in which all lock these rows. A row that says as much already is not written again: with
	// several processes, it was written by another one within the minute. WHERE true is for SQLite, as in addUsage.
	noteLastUse = declareGlobal(`INSERT INTO key_last_use (organization_id, environment, key_id, used_at)
SELECT u.o, u.e, u.k, u.at FROM {uses} WHERE true ORDER BY u.o, u.e, u.k
ON CONFLICT (organization_id, environment, key_id) DO UPDATE SET used_at = excluded.used_at
WHERE key_last_use.used_at < excluded.used_at`)
	addTenMinutes = declareGlobal(addUse(TenMinutes))
	addHours      = declareGlobal(addUse(Hour))
	addDays       = declareGlobal(addUse(Day))

	takeTenMinutes = declareGlobal(takeUse(TenMinutes))
	takeHours      = declareGlobal(takeUse(Hour))
	purgeDays      = declareGlobal(takeUse(Day))

	listLastUses = declareGlobal(`SELECT organization_id, environment, key_id, used_at FROM key_last_use
WHERE (organization_id > ? OR organization_id = ? AND key_id > ?) AND used_at < ? AND environment = ?
ORDER BY organization_id, environment, key_id LIMIT ?`)
	forgetLastUse = declareGlobal(`DELETE FROM key_last_use WHERE (organization_id, environment, key_id) IN
(SELECT u.o, u.e, u.k FROM {uses})`)
	// Here and in periodsOf, all periods are named: the period comes before the key in the primary key, which could not
	// lead to the key's rows without it.
	forgetUse = declareGlobal(`DELETE FROM key_use WHERE (organization_id, environment, period, key_id) IN
(SELECT u.o, u.e, p.period, u.k FROM {uses}, (SELECT 10 AS period UNION ALL SELECT 60 UNION ALL SELECT 1440) AS p)`)

	lastUses   = declareScoped(`SELECT key_id, used_at FROM key_last_use WHERE {organization}`)
	lastUsesOf = declareScoped(`SELECT key_id, used_at FROM key_last_use WHERE {organization} AND key_id IN {texts}`)
	periodsOf  = declareScoped(`SELECT period, begins_at, replica, used_at, requests, refused FROM key_use
WHERE {organization} AND period IN (10, 60, 1440) AND key_id = ? ORDER BY begins_at, replica`)
	recentUse = declareScoped(`SELECT key_id, MAX(used_at), CAST(SUM(requests) AS BIGINT), CAST(SUM(refused) AS BIGINT)
FROM key_use WHERE {organization} AND period = 10 AND begins_at >= ? GROUP BY key_id`)
)

// addUse is the statement that adds to the rows of a period.
func addUse(p Period) string {
	return fmt.Sprintf(`INSERT INTO key_use
(organization_id, environment, period, key_id, begins_at, replica, used_at, requests, refused)
SELECT u.o, u.e, %d, u.k, u.b, ?, u.at, u.n, u.r FROM {uses} WHERE true ORDER BY u.o, u.e, u.k, u.b
ON CONFLICT (organization_id, environment, period, key_id, begins_at, replica) DO UPDATE SET
used_at = CASE WHEN key_use.used_at > excluded.used_at THEN key_use.used_at ELSE excluded.used_at END,
requests = key_use.requests + excluded.requests, refused = key_use.refused + excluded.refused`, p.minutes())
}

// takeUse is the statement that deletes the oldest rows of a period and returns them. Deleting comes first, and so each
// row is had by one alone, whoever else does the same.
func takeUse(p Period) string {
	const primaryKey = "organization_id, environment, period, key_id, begins_at, replica"
	return fmt.Sprintf(`DELETE FROM key_use WHERE (%[1]s) IN
(SELECT %[1]s FROM key_use WHERE period = %[2]d AND begins_at < ? ORDER BY begins_at LIMIT ?)
RETURNING organization_id, environment, key_id, begins_at, used_at, requests, refused`, primaryKey, p.minutes())
}

// useRow is a Use as {uses} reads it.
type useRow struct {
	Organization string          `json:"o"`
	Environment  key.Environment `json:"e"`
	Key          string          `json:"k"`
	Begins       int64           `json:"b"`
	UsedAt       int64           `json:"at"`
	Requests     int64           `json:"n"`
	Refused      int64           `json:"r"`
}

// encodeUses writes uses as {uses} reads them, one row for each key and period. PostgreSQL refuses a statement with
// ON CONFLICT that would update one row twice.
func encodeUses(uses []Use, p Period) (string, error) {
	type row struct {
		organization string
		environment  key.Environment
		key          string
		begins       int64
	}
	sums := map[row]int{}
	rows := make([]useRow, 0, len(uses))
	for _, u := range uses {
		r := row{u.Organization, u.Environment, u.Key, micros(p.Begin(u.UsedAt))}
		i, ok := sums[r]
		if !ok {
			i, sums[r] = len(rows), len(rows)
			rows = append(rows, useRow{Organization: r.organization, Environment: r.environment, Key: r.key, Begins: r.begins})
		}
		rows[i].UsedAt = max(rows[i].UsedAt, micros(u.UsedAt))
		rows[i].Requests += u.Requests
		rows[i].Refused += u.Refused
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return "", fmt.Errorf("encode what keys were used for: %w", err)
	}
	return string(text), nil
}

// AddUse adds what a replica has counted, in one transaction. No key is to be in uses twice.
//
// If a server goes away while it commits, the error is ErrUnavailable, and whether it was added is not known: whoever
// adds it again may count it twice. It is a count for people, and of a minute.
func (w *Work) AddUse(ctx context.Context, replica string, uses []Use) error {
	text, err := encodeUses(uses, TenMinutes)
	if err != nil {
		return err
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		if _, err := s.exec(ctx, noteLastUse.text(w.db.engine), []any{text}); err != nil {
			return err
		}
		_, err := s.exec(ctx, addTenMinutes.text(w.db.engine), []any{replica, text})
		return err
	})
	if err != nil {
		return fmt.Errorf("add what keys were used for: %w", err)
	}
	return nil
}

// FoldUse makes hours of what is older than the last hour, days of what is older than two of them, and deletes days
// that are older than a month; at most limit rows of each. It returns how many there were of the largest kind: if
// that is less than limit, nothing is left to do. What is taken is added in the same transaction, so that nothing is
// lost or counted twice, whoever folds at the same time.
func (w *Work) FoldUse(ctx context.Context, now time.Time, limit int) (most int, err error) {
	for _, step := range []struct {
		take, add *global
		older     time.Duration
		into      Period
	}{
		{takeTenMinutes, addHours, keepTenMinutes, Hour},
		{takeHours, addDays, keepHours, Day},
		{purgeDays, nil, keepDays, 0},
	} {
		n := 0
		err := w.db.transact(ctx, func(ctx context.Context, s session) error {
			taken, err := readAll(ctx, w.db, s, step.take, scanUse, micros(now.Add(-step.older)), limit)
			if n = len(taken); err != nil || n == 0 || step.add == nil {
				return err
			}
			text, err := encodeUses(taken, step.into)
			if err != nil {
				return err
			}
			_, err = s.exec(ctx, step.add.text(w.db.engine), []any{"", text})
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("fold what keys were used for: %w", err)
		}
		most = max(most, n)
	}
	return most, nil
}

// scanUse reads a row of takeUse. Its time is that of the last use, which is in the row's own period.
func scanUse(rows *sql.Rows) (u Use, err error) {
	var begins, used int64
	err = rows.Scan(&u.Organization, &u.Environment, &u.Key, &begins, &used, &u.Requests, &u.Refused)
	u.UsedAt = fromMicros(used)
	return u, err
}

// LastUses returns when keys of an environment were used last, all that were not used since then, after one of them in
// the order of organizations and keys; the zero Use is before all.
func (w *Work) LastUses(
	ctx context.Context, environment key.Environment, then time.Time, after Use, limit int,
) ([]Use, error) {
	scan := func(rows *sql.Rows) (u Use, err error) {
		var used int64
		err = rows.Scan(&u.Organization, &u.Environment, &u.Key, &used)
		u.UsedAt = fromMicros(used)
		return u, err
	}
	list, err := readAll(ctx, w.db, session{pool: w.db.reader}, listLastUses, scan,
		after.Organization, after.Organization, after.Key, micros(then), string(environment), limit)
	if err != nil {
		return nil, fmt.Errorf("list when keys were used last: %w", err)
	}
	return list, nil
}

// ForgetUse deletes all that is known of the use of keys, which are gone.
func (w *Work) ForgetUse(ctx context.Context, keys []Use) error {
	text, err := encodeUses(keys, Day)
	if err != nil {
		return err
	}
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		if _, err := s.exec(ctx, forgetUse.text(w.db.engine), []any{text}); err != nil {
			return err
		}
		_, err := s.exec(ctx, forgetLastUse.text(w.db.engine), []any{text})
		return err
	})
	if err != nil {
		return fmt.Errorf("forget what keys were used for: %w", err)
	}
	return nil
}

// LastUses returns when keys of the view's organization and environment were used last, by their ids; of all of them
// without ids. A key that is not in it was never used. Which of them the caller may see is not asked: see package use.
func (v *View) LastUses(ctx context.Context, ids ...string) (map[string]time.Time, error) {
	type last struct {
		key string
		at  int64
	}
	scan := func(rows *sql.Rows) (l last, err error) { return l, rows.Scan(&l.key, &l.at) }
	statement, args := lastUses, []any(nil)
	if len(ids) > 0 {
		text, err := json.Marshal(ids)
		if err != nil {
			return nil, fmt.Errorf("encode ids: %w", err)
		}
		statement, args = lastUsesOf, []any{string(text)}
	}
	list, err := read(ctx, v, statement, scan, args...)
	if err != nil {
		return nil, fmt.Errorf("read when keys were used last: %w", err)
	}
	at := make(map[string]time.Time, len(list))
	for _, l := range list {
		at[l.key] = fromMicros(l.at)
	}
	return at, nil
}

// PeriodsOfUse returns what one key was used for, the oldest first: of any time, either ten minutes, an hour or a day.
func (v *View) PeriodsOfUse(ctx context.Context, id string) ([]PeriodOfUse, error) {
	if !isID(id) {
		return nil, nil
	}
	scan := func(rows *sql.Rows) (p PeriodOfUse, err error) {
		var minutes, begins, used int64
		err = rows.Scan(&minutes, &begins, &p.Replica, &used, &p.Requests, &p.Refused)
		p.Period = Period(time.Duration(minutes) * time.Minute)
		p.Begins, p.UsedAt = fromMicros(begins), fromMicros(used)
		return p, err
	}
	list, err := read(ctx, v, periodsOf, scan, id)
	if err != nil {
		return nil, fmt.Errorf("read what a key was used for: %w", err)
	}
	return list, nil
}

// RecentUse returns what keys of the view's organization and environment were used for since then, which is at most an
// hour ago, to ten minutes. Keys that were not used since are not in it.
func (v *View) RecentUse(ctx context.Context, then time.Time) ([]Use, error) {
	scan := func(rows *sql.Rows) (u Use, err error) {
		var used int64
		err = rows.Scan(&u.Key, &used, &u.Requests, &u.Refused)
		u.UsedAt = fromMicros(used)
		return u, err
	}
	list, err := read(ctx, v, recentUse, scan, micros(TenMinutes.Begin(then)))
	if err != nil {
		return nil, fmt.Errorf("read what keys were used for of late: %w", err)
	}
	return list, nil
}
