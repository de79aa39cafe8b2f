// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"
)

// Handle is the pool of connections that may write, for tests that look at the database behind the package's back, or
// break it.
func Handle(db *DB) *sql.DB { return db.writer.DB }

// Pulse is the connection of the heartbeat.
func Pulse(db *DB) *sql.DB { return db.pulse.DB }

// MigrationLock is the lock that keeps two from migrating at once.
const MigrationLock = migrationLock

// Migrate migrates again, and waits for the lock as long as it is told to.
func Migrate(ctx context.Context, db *DB, patience time.Duration) error {
	db.lockPatience = patience
	return db.migrate(ctx)
}

// Patience has calls wait so long for a place of their organization's.
func Patience(db *DB, d time.Duration) { db.reads.wait, db.writes.wait = d, d }

// Prepared is how many statements are prepared for reading.
func Prepared(db *DB) int {
	db.reader.mu.Lock()
	defer db.reader.mu.Unlock()
	return len(db.reader.statements)
}

// Plan returns how the engine would list posts, as it says it, one step a line.
func (v *View) Plan(ctx context.Context, f PostFilter, p Page) (string, error) {
	where, args, _ := f.condition()
	s, after := filtered(where)
	if f.Query != "" {
		s, after = texts(where)
	}
	if p.After != (Position{}) {
		s, args = after, append(args, micros(p.After.At), p.After.ID)
	}
	text, args := s.bind(v.db.engine, v.scope, append(args, p.Limit+1))
	return plan(ctx, v.db, "EXPLAIN ", text, args)
}

// OverduePlans returns how the engine finds and counts what is overdue. PostgreSQL does so, and tells what it took.
func (v *View) OverduePlans(ctx context.Context, before time.Time, limit int) (map[string]string, error) {
	then, plans := micros(before), map[string]string{}
	for name, of := range map[string]*global{"overdue": overdue, "all that is overdue": countAllOverdue} {
		text := of.texts[v.db.engine.index()]
		args := []any{}
		for range strings.Count(of.texts[SQLite.index()], "?") - 1 {
			args = append(args, then)
		}
		found, err := plan(ctx, v.db, "EXPLAIN ANALYZE ", text, append(args, limit))
		if err != nil {
			return nil, err
		}
		plans[name] = found
	}
	text, args := countOverdue.bind(v.db.engine, v.scope, []any{then, then, then, then})
	found, err := plan(ctx, v.db, "EXPLAIN ANALYZE ", text, args)
	plans["what is overdue of a view"] = found
	return plans, err
}

// plan returns how an engine would run a statement. explain is what PostgreSQL is asked for.
func plan(ctx context.Context, db *DB, explain, text string, args []any) (string, error) {
	if db.engine == SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	rows, err := db.reader.QueryContext(ctx, explain+text, args...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	found := ""
	for rows.Next() {
		var line string
		into := []any{&line}
		if db.engine == SQLite {
			var id, parent, unused int
			into = []any{&id, &parent, &unused, &line}
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		found += line + "\n"
	}
	return found, rows.Err()
}

// Prepare makes sure that the engine takes each statement, whether a test gets to it or not.
func Prepare(ctx context.Context, db *DB) error {
	var texts []string
	for _, g := range allGlobal {
		texts = append(texts, g.texts[db.engine.index()])
	}
	for _, s := range allScoped {
		texts = append(texts, s.texts[db.engine.index()][0], s.texts[db.engine.index()][1])
	}
	for _, text := range texts {
		stmt, err := db.writer.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		if err := stmt.Close(); err != nil {
			return err
		}
	}
	return nil
}

// CountAgain takes back the migration that begins to count, and runs it again.
func CountAgain(t *testing.T, db *DB) {
	t.Helper()
	for _, s := range append(usageDown(db.engine), usageUp(db.engine)...) {
		if _, err := db.writer.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// ReadWithin has what callers read end after d.
func ReadWithin(db *DB, d time.Duration) { db.readWithin = d }

// Readers is the pool of connections that read.
func Readers(db *DB) *sql.DB { return db.reader.DB }

// endless are statements that return the view's posts, and then never end, at the database. SQLite is at work all the
// while; a server is asked to sleep, since what it is at work on would fill its disk. It sends rows when they fill
// 8 KiB, so it returns each post 1,000 times: a single row would come with the error that ends the statement, or not
// at all.
var endless = map[Engine]*scoped{
	SQLite: newScoped(`SELECT p.id FROM posts AS p WHERE {scope p} UNION ALL SELECT CAST(COUNT(*) AS TEXT) FROM
(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) SELECT n FROM numbers)`),
	PostgreSQL: newScoped(`SELECT p.id FROM posts AS p, generate_series(1, 1000) WHERE {scope p}
UNION ALL SELECT CAST(pg_sleep(3600) AS TEXT)`),
}

// ReadEndlessly reads what never ends, and calls first for the first row, if there is one before that.
func (v *View) ReadEndlessly(ctx context.Context, first func()) error {
	var once sync.Once
	_, err := read(ctx, v, endless[v.db.engine], func(rows *sql.Rows) (string, error) {
		once.Do(first)
		return scanID(rows)
	})
	return err
}

// MaxConnecting is for tests.
const MaxConnecting = maxConnecting
