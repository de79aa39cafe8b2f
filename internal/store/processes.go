// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

const (
	// defaultDeadAfter is Options.DeadAfter where it is not given: long enough that a busy database does not make the
	// living seem dead, and short enough that whoever sends a request again need not wait long for the one before.
	defaultDeadAfter = 10 * time.Second

	// forgottenAfter is longer than anything takes that a process does with a claim or an attempt. What is older is
	// nobody's, even if its process lives: when a connection breaks during a commit, the database may have done what the
	// process is told has failed, and then the process does not know of it.
	forgottenAfter = 30 * time.Minute

	// goodbyeTimeout bounds the last word of a process, for which its end waits.
	goodbyeTimeout = 2 * time.Second
)

// alive is the condition that the process of c, a claim or an attempt, lives, and knows what it has begun. aliveArgs go
// into it. All is measured by the clock of the database, so that the clocks of machines need not agree.
//
// The process that asks is alive, whatever the table says: its heartbeat may be late where much is written.
const alive = `(c.begun_at > {now} - ? AND (c.process_id = ? OR
EXISTS (SELECT 1 FROM processes AS r WHERE r.id = c.process_id AND r.seen_at > {now} - ?)))`

// aliveArgs is the arguments of alive: how old what was begun may be, the id of the process that asks, and how long
// others may be silent. Times are in microseconds.
func (db *DB) aliveArgs() []any {
	return []any{forgottenAfter.Microseconds(), db.processID, db.deadAfter.Microseconds()}
}

var (
	// A process that was not heard of for DeadAfter is dead, and so is one without a row.
	heartbeat = declareGlobal(`INSERT INTO processes (id, seen_at, vault_keys) VALUES (?, {now}, ?)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, vault_keys = excluded.vault_keys RETURNING {quick}`)
	deleteProcess = declareGlobal(`DELETE FROM processes WHERE id = ?`)
)

// sendHeartbeat says that the process is alive, and which keys of the vault it knows. Losing one to a power cut does no
// harm, so it does not wait for the disk.
func (db *DB) sendHeartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(db.deadAfter/2, time.Second))
	defer cancel()
	_, err := db.renewing(ctx, db.pulse, heartbeat.text(db.engine), []any{db.processID, encodeVaultKeys(db.vaultKeys())})
	db.readOnly.Store(readOnly(err))
	if err != nil {
		return fmt.Errorf("say that this process is alive: %w", explain(ctx, err))
	}
	return nil
}

// sayGoodbye says that the process is gone, so that nobody has to wait until it seems so. If it can't be said, others
// wait for DeadAfter, as after a crash.
func (db *DB) sayGoodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
	defer cancel()
	if _, err := db.pulse.ExecContext(ctx, deleteProcess.text(db.engine), db.processID); err != nil {
		db.logger.Warn("the database was not told that this process ends", "error", err)
	}
}
