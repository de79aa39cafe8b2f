// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock of PostgreSQL that whoever migrates holds: "letmepos" in ASCII.
const migrationLock = 0x6c65746d65706f73

// migrate brings our tables, and those of the job queue, to this release's form. Replicas start at once, and only one
// may do it at a time.
func (db *DB) migrate(ctx context.Context) (err error) {
	if db.engine == SQLite {
		// Processes that start at once may get into each other's way here; then one of them tries again, and finds it done.
		return db.migrateLocked(ctx)
	}
	// A lock is a connection's, so the connection is held as long as the lock.
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("take the lock: %w", err)
	}
	defer func() {
		// Without a context that may have ended: a connection goes back to the pool, and must not take the lock along.
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrationLock))
		err = errors.Join(err, unlock)
	}()
	return db.migrateLocked(ctx)
}

// migrateLocked runs the migrations that are missing, each in a transaction of its own.
func (db *DB) migrateLocked(ctx context.Context) error {
	dialect := goose.DialectSQLite3
	if db.engine == PostgreSQL {
		dialect = goose.DialectPostgres
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Not the program's output: goose is told to log nothing, as what is worth knowing is in the error.
	provider, err := goose.NewProvider(dialect, db.writer.DB, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	return db.migrateQueue(ctx)
}

// migrateQueue makes the tables of River. River numbers its migrations itself, apart from ours.
func (db *DB) migrateQueue(ctx context.Context) error {
	migrator, err := rivermigrate.New(db.QueueDriver(), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return fmt.Errorf("the job queue: %w", err)
	}
	return nil
}
