// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock of PostgreSQL that whoever migrates holds: "letmepos" in ASCII. Any number does,
// as long as every release uses the same and nobody else in that database does. It is written out so that an
// administrator who finds it in pg_locks can tell whose it is.
const migrationLock = 0x6c65746d65706f73

// How long the lock is waited for at a time, and how often it is asked for. Whoever waits longer says so and begins
// anew.
const (
	lockPatience = 20 * time.Second
	lockInterval = 200 * time.Millisecond
)

// migrate brings our tables, and those of the job queue, to this release's form. Replicas start at once, and only one
// may do it at a time.
func (db *DB) migrate(ctx context.Context) (err error) {
	if db.engine == SQLite {
		// Processes that start at once may get into each other's way here; then one of them tries again, and finds it done.
		return db.migrateLocked(ctx, db.writer.DB)
	}
	// Connections of its own, without statement_timeout: an index on a large table may take longer than any call, and a
	// migration that is ended halfway begins anew each time.
	own := db.migrator()
	defer func() { err = errors.Join(err, own.Close()) }()
	// The lock is a transaction's: whatever stands between this process and the server, it ends with the transaction or
	// with the connection. One of a session would stay behind with a pooler that keeps the session.
	tx, err := own.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := db.lockMigration(ctx, tx); err != nil {
		return err
	}
	// The transaction that holds the lock does nothing else: each migration has one of its own, so that what is done stays
	// done.
	return db.migrateLocked(ctx, own)
}

// What PostgreSQL alone is asked, and so is in no table of statements.
const (
	// The transaction does nothing while this process migrates on another connection, and must not be ended for that.
	keepIdle = `SELECT set_config('idle_in_transaction_session_timeout', '0', true)`
	// Tried again and again rather than waited for in the server: this way the wait shows in the log, ends with ctx, and
	// is not ended by a timeout of the server's.
	tryLock = `SELECT pg_try_advisory_xact_lock($1)`
	// pg_locks shows a lock of one 64-bit key in two halves, with objsubid 1. The address is NULL for a Unix socket, and
	// where this user may not see the other's session.
	lockHolder = `SELECT concat('pid ', l.pid, ', application "', a.application_name, '", from ',
COALESCE(host(a.client_addr), 'the server itself or unknown'), ', connected since ', a.backend_start)
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND l.classid::bigint << 32 | l.objid::bigint = $1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`
)

// lockMigration takes the lock, or says who has it: at once in the log, and after a while as its error.
func (db *DB) lockMigration(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, keepIdle); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, db.lockPatience)
	defer cancel()
	said := false
	for {
		var locked bool
		err := tx.QueryRowContext(ctx, tryLock, int64(migrationLock)).Scan(&locked)
		if err != nil || locked {
			return err
		}
		var holder string
		switch err := tx.QueryRowContext(ctx, lockHolder, int64(migrationLock)).Scan(&holder); {
		case errors.Is(err, sql.ErrNoRows): // it has just been let go
		case err != nil:
			return err
		case !said:
			db.logger.Info("another process migrates the database, waiting for it", "holder", holder)
			said = true
		}
		if !retry.Pause(patience, lockInterval) {
			return fmt.Errorf("%w: another session holds the lock of migrations: %s. If that is no process that migrates, "+
				"such as one that a pooler has kept, end it with pg_terminate_backend", ErrUnavailable, holder)
		}
	}
}

// migrateLocked runs the migrations that are missing, each in a transaction of its own. goose notes each in its own
// table together with what it changes, so that whoever dies in between leaves whole ones, and the next goes on from
// there.
func (db *DB) migrateLocked(ctx context.Context, on *sql.DB) error {
	provider, err := db.provider(on)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	// Under the same lock: two of River's migrators at once would make the same tables.
	return migrateQueue(ctx, queueDriver(db.engine, on))
}

// provider is goose with the migrations of this release.
func (db *DB) provider(on *sql.DB) (*goose.Provider, error) {
	dialect := goose.DialectSQLite3
	if db.engine == PostgreSQL {
		dialect = goose.DialectPostgres
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	// Not the program's output: goose is told to log nothing, as what is worth knowing is in the error. And no registry:
	// that is a global of goose's, into which any other package of the program could put migrations.
	return goose.NewProvider(dialect, on, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()),
		// The one that has two texts.
		goose.WithGoMigrations(makeUsage(db.engine)))
}

// migrateQueue makes the tables of River. River numbers its migrations itself, apart from ours.
func migrateQueue(ctx context.Context, driver riverdriver.Driver[*sql.Tx]) error {
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return fmt.Errorf("the job queue: %w", err)
	}
	return nil
}
