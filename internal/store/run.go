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
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/letmepost/letmepost-operator/internal/key"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
	// migrationLock is the advisory lock of PostgreSQL that whoever migrates holds: "letmepos" in ASCII.
	migrationLock = 0x6c65746d65706f73
	// leaveTimeout bounds the last word of a process.
	leaveTimeout = 2 * time.Second
)

var (
	// A process that was not heard of for long is dead, and so is one without a row.
	heartbeat = declareGlobal(`INSERT INTO processes (id, seen_at) VALUES (?, {now})
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at RETURNING {quick}`)
	forgetDead = declareGlobal(`DELETE FROM processes WHERE seen_at <= {now} - ?`)
	leave      = declareGlobal(`DELETE FROM processes WHERE id = ?`)

	claimHome = declareGlobal(`INSERT INTO deployment (id, environment) VALUES (1, ?) ON CONFLICT (id) DO NOTHING`)
	home      = declareGlobal(`SELECT environment FROM deployment WHERE id = 1`)
)

// Run reaches the database, trying on as long as it takes, migrates it, and then tells it every so often that this
// process is alive. It returns when ctx has ended.
func (db *DB) Run(ctx context.Context) {
	log := paced{logger: db.logger}
	backoff := firstRetry
	for {
		err := db.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		log.warn("the database is not ready, trying again", err)
		if !pause(ctx, wait.Jitter(backoff, 0.5)) {
			return
		}
		backoff = min(2*backoff, lastRetry)
	}
	db.logger.Info("the database is ready", "engine", db.engine)
	db.ready.Store(true)
	close(db.migrated)
	log = paced{logger: db.logger}
	for pause(ctx, wait.Jitter(db.deadAfter/5, 0.25)) { // at most a quarter of it
		log.warn("the database was not told that this process is alive", db.beat(ctx))
	}
	db.leave(ctx)
}

// prepare migrates the database, and makes the process known to it.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := db.moveIn(ctx); err != nil {
		return err
	}
	if _, err := db.writer.ExecContext(ctx, makeStamp.texts[db.engine.index()], db.newID()); err != nil {
		return fmt.Errorf("make the stamp: %w", err)
	}
	long := int64(time.Hour/time.Microsecond) + 10*db.deadAfter.Microseconds()
	if _, err := db.writer.ExecContext(ctx, forgetDead.texts[db.engine.index()], long); err != nil {
		return fmt.Errorf("forget dead processes: %w", err)
	}
	return db.beat(ctx)
}

// moveIn makes the database that of this process' environment, unless it is another's.
func (db *DB) moveIn(ctx context.Context) error {
	if db.environment == "" {
		return nil
	}
	if _, err := db.writer.ExecContext(ctx, claimHome.texts[db.engine.index()], string(db.environment)); err != nil {
		return fmt.Errorf("say whose database it is: %w", err)
	}
	var owner key.Environment
	if err := db.writer.QueryRowContext(ctx, home.texts[db.engine.index()]).Scan(&owner); err != nil {
		return fmt.Errorf("ask whose database it is: %w", err)
	}
	if owner != db.environment {
		return fmt.Errorf(
			"the database belongs to the %s environment, and this process serves %s: give each environment a database of its own",
			owner,
			db.environment,
		)
	}
	return nil
}

// beat says that the process is alive.
func (db *DB) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(db.deadAfter/2, time.Second))
	defer cancel()
	if _, err := db.atOnce(ctx, heartbeat.texts[db.engine.index()], []any{db.processID}); err != nil {
		return fmt.Errorf("say that this process is alive: %w", err)
	}
	return nil
}

// leave says that the process is gone, so that nobody has to wait until it seems so.
func (db *DB) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := db.writer.ExecContext(ctx, leave.texts[db.engine.index()], db.processID); err != nil {
		db.logger.Warn("the database was not told that this process ends", "error", err)
	}
}

// migrate brings our tables, and those of the job queue, to this release's form.
func (db *DB) migrate(ctx context.Context) (err error) {
	if db.engine == SQLite {
		// Processes that start at once may get into each other's way here; then one of them tries again, and finds it done.
		return db.migrateLocked(ctx)
	}
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
	provider, err := goose.NewProvider(
		dialect,
		db.writer.DB,
		files,
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return err
	}
	return db.migrateQueue(ctx)
}

// migrateQueue makes the tables of River.
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

// QueueDriver is what River works with in this database. With SQLite that is the one connection that writes: whoever
// holds it keeps every other writer of this process waiting.
func (db *DB) QueueDriver() riverdriver.Driver[*sql.Tx] {
	if db.engine == PostgreSQL {
		return riverdatabasesql.New(db.writer.DB)
	}
	return riversqlite.New(db.writer.DB)
}

// pause waits, and tells whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// paced logs an error once until it changes.
type paced struct {
	logger *slog.Logger
	last   string
}

func (p *paced) warn(message string, err error) {
	if err == nil {
		p.last = ""
		return
	}
	if text := err.Error(); text != p.last {
		p.last = text
		p.logger.Warn(message, "error", err)
	}
}
