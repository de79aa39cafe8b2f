// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// How long rows are kept. What is not here is kept until somebody deletes it (media, accounts), for as long as its key
// is there (when it was used last), or for good (posts and their attempts: they are the record of what was published).
// When a session ends that is used, its row says. Files that no medium has are package publish's to sweep.
const (
	// IdempotencyRetention is how long the answer of a request with an Idempotency-Key is kept, counted from when it was
	// given: as long, the same request gets the same answer; afterwards it is run anew. The contract promises it to
	// callers, so every text that names it is to be derived from here.
	//
	// It governs both what Claim repeats and what Purge deletes. Two values would either repeat answers that are gone, or
	// keep answers that nobody gets any more. A day is what callers who try again over a night need, and what the field
	// has agreed on.
	IdempotencyRetention = 24 * time.Hour

	// processRetention, and ten times DeadAfter, is how long the row of a process is kept that is silent. Without a row it
	// counts as dead, so this is only to be much longer than a silence that is taken for death.
	processRetention = time.Hour

	// DisconnectedRetention is how long disconnected accounts are remembered: long enough for anyone who asks after a
	// quarter what has become of one.
	DisconnectedRetention = 90 * 24 * time.Hour

	// connectingRetention is how long connections that nobody has completed are kept once they have expired, so that
	// whoever comes late is told that.
	connectingRetention = time.Hour

	// How long what keys were used for is kept, from when its period begins. What is older becomes part of a longer one;
	// days go. The times of ten minutes always cover an hour, the period that is not over yet not counted.
	keepTenMinutes = 80 * time.Minute
	keepHours      = 48 * time.Hour
	keepDays       = 31 * 24 * time.Hour

	// SessionIdle is how long a session lasts that nobody uses.
	SessionIdle = 30 * time.Minute
)

var (
	purgeSettled = declareGlobal(`DELETE FROM claims WHERE id IN
(SELECT id FROM claims WHERE settled_at > 0 AND settled_at <= ? ORDER BY settled_at LIMIT ?)`)
	purgeDead = declareGlobal(`DELETE FROM claims WHERE id IN
(SELECT c.id FROM claims AS c WHERE c.settled_at = 0 AND c.claimed_at <= ? AND NOT ` + alive + ` LIMIT ?)`)
	deleteDeadProcesses = declareGlobal(`DELETE FROM processes WHERE seen_at <= {now} - ?`)
)

// expired tells whether a claim is older than IdempotencyRetention at now, and means nothing any more. One that is not
// settled is so only if its process is dead: a request that runs keeps its claim however long it takes.
func (c claimed) expired(now time.Time) bool {
	if c.settled() {
		return now.Sub(c.settledAt) >= IdempotencyRetention
	}
	return !c.alive && now.Sub(c.claimedAt) >= IdempotencyRetention
}

// Purge deletes answers that are older than IdempotencyRetention at now, and what dead processes have left unanswered
// for as long, at most limit of both. So do connections go that nobody has completed, accounts that were disconnected
// long ago, and sessions that are over, at most limit of each. It returns how many went of the kind of which most did:
// limit, if some may be left.
func (w *Work) Purge(ctx context.Context, now time.Time, limit int) (n int, err error) {
	then := micros(now.Add(-IdempotencyRetention))
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		settled, err := s.exec(ctx, purgeSettled.text(w.db.engine), []any{then, limit})
		if err != nil {
			return err
		}
		args := append(append([]any{then}, w.db.aliveArgs()...), limit-settled)
		dead, err := s.exec(ctx, purgeDead.text(w.db.engine), args)
		if n = settled + dead; err != nil {
			return err
		}
		late := micros(now.Add(-connectingRetention))
		connecting, err := s.exec(ctx, purgeConnecting.text(w.db.engine), []any{late, limit})
		if err != nil {
			return err
		}
		old := micros(now.Add(-DisconnectedRetention))
		disconnected, err := s.exec(ctx, purgeDisconnected.text(w.db.engine), []any{old, limit})
		if err != nil {
			return err
		}
		sessions, err := s.exec(ctx, purgeSessions.text(w.db.engine),
			[]any{micros(now), micros(now.Add(-SessionIdle)), limit})
		n = max(n, connecting, disconnected, sessions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	return n, nil
}

// deleteDead deletes the rows of processes that have been dead for long. Each start of a process leaves a row, unless
// it could say goodbye.
func (db *DB) deleteDead(ctx context.Context) error {
	silent := processRetention + 10*db.deadAfter
	_, err := db.writer.ExecContext(ctx, deleteDeadProcesses.text(db.engine), silent.Microseconds())
	return err
}
