// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// The pauses between attempts to reach the database, which double from the first to the last. Each is longer by up to a
// half, at random: the replicas of a deployment lose the database all at once, and must not come back in step.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Run reaches the database, trying on as long as it takes, migrates it, and then tells it every so often that this
// process is alive. It returns when ctx has ended.
func (db *DB) Run(ctx context.Context) {
	var complaint retry.Complaint
	backoff := firstRetry
	for {
		err := db.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		db.warn(&complaint, "the database is not ready, trying again", err)
		if !retry.Pause(ctx, wait.Jitter(backoff, 0.5)) {
			return
		}
		backoff = min(2*backoff, lastRetry)
	}
	db.logger.Info("the database is ready", "engine", db.engine)
	// First the one, then the other: whoever has waited for the channel must not be told that the database is not ready.
	db.ready.Store(true) // what is asked for every call; the channel is for those who wait
	close(db.migrated)
	complaint.Clear()
	// Every fifth of the silence that is taken for death, or up to a quarter of it: three heartbeats may be lost.
	for retry.Pause(ctx, wait.Jitter(db.deadAfter/5, 0.25)) {
		db.warn(&complaint, "the database was not told that this process is alive", db.sendHeartbeat(ctx))
	}
	db.sayGoodbye(ctx)
}

// warn logs an error once until it changes, or has been away: nil is no error. An outage of an hour would otherwise be
// thousands of lines that say one thing.
func (db *DB) warn(complaint *retry.Complaint, message string, err error) {
	if err == nil {
		complaint.Clear()
		return
	}
	if complaint.Due(err.Error(), db.clock.Now()) {
		db.logger.Warn(message, "error", err)
	}
}

// prepare migrates the database, and makes the process known to it. All of it may be done again.
func (db *DB) prepare(ctx context.Context) error {
	// Everything below writes. What can't be used is to be found out before that: a database that was made in a wrong
	// encoding would have to be thrown away with what is in it.
	if db.suitable != nil {
		if err := db.suitable(ctx); err != nil {
			return err
		}
	}
	if err := db.migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// After the migration, which makes the table, and before this process has a row: one that is refused is nobody that
	// others wait for.
	if err := db.bindEnvironment(ctx); err != nil {
		return err
	}
	// An id that was drawn before stays: it says which database this is.
	if _, err := db.writer.ExecContext(ctx, makeStamp.text(db.engine), db.newID()); err != nil {
		return fmt.Errorf("make the stamp: %w", err)
	}
	// Once for each start is enough: each start is what adds a row.
	if err := db.deleteDead(ctx); err != nil {
		return fmt.Errorf("forget dead processes: %w", err)
	}
	// Before the first call is let in: without a row, what this process begins would count as abandoned at once.
	if err := db.sendHeartbeat(ctx); err != nil || db.sync == nil {
		return err
	}
	return db.sync.now() // no statement above has waited for the disk
}
