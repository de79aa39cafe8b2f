// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// Request is what an idempotency key is for. Its scope is the caller's key, the method and the path.
type Request struct {
	IdempotencyKey string
	Method, Path   string
	BodyHash       string // of body and query; "": to be told by Settle, and compared by the caller
}

// Claim is the right to run a request. It is this process's until it is settled or released, or the process is dead.
type Claim struct {
	// BatchID is set if an earlier process has begun the request and died after its posts were added: then there is
	// nothing to run, and the answer is to be made of them.
	BatchID string

	id    string
	owner string // another one each time that the request is claimed, so that nobody acts on a claim that was taken over
}

// Stored is the answer that a request got.
type Stored struct {
	Status   int
	Body     []byte
	BodyHash string
}

// keptFor is how long an answer is repeated.
const keptFor = 24 * time.Hour

// forgottenAfter is longer than anything takes that a process does with a claim or an attempt. What is older is
// nobody's, even if its process lives: when a connection breaks during a commit, the database may have done what the
// process is told has failed, and then the process does not know of it.
const forgottenAfter = 30 * time.Minute

// alive is the condition that a process is, and knows what it has begun. forgottenAfter, the id of the process that
// asks, and how long others may be silent go into it, times in microseconds.
//
// Who asks is alive, whatever the table says: its heartbeat waits for the same connection as all else that it writes,
// and may be late when there is much of that.
const alive = `(c.begun_at > {now} - ? AND (c.process_id = ? OR
EXISTS (SELECT 1 FROM processes AS r WHERE r.id = c.process_id AND r.seen_at > {now} - ?)))`

// patience is the arguments of alive.
func (db *DB) patience() []any {
	return []any{forgottenAfter.Microseconds(), db.processID, db.deadAfter.Microseconds()}
}

var (
	addClaim = declareScoped(`INSERT INTO claims
(id, owner, process_id, body_hash, batch_id, claimed_at, begun_at, settled_at, status, organization_id, environment, key_id)
VALUES (?, ?, ?, ?, '', ?, {now}, 0, 0, {owner}, ?) ON CONFLICT (id) DO NOTHING RETURNING {quick}`)
	lockClaim = declareScoped(`SELECT c.owner, c.body_hash, c.batch_id, c.claimed_at, c.settled_at, c.status, c.body,
CASE WHEN ` + alive + ` THEN 1 ELSE 0 END FROM claims AS c WHERE c.id = ? AND {actor c} {lock UPDATE OF c}`)
	takeClaim = declareScoped(`UPDATE claims SET owner = ?, process_id = ?, body_hash = ?, batch_id = ?, claimed_at = ?,
begun_at = {now}, settled_at = 0, status = 0, body = NULL WHERE id = ? AND owner = ? AND {actor}`)
	beginClaim = declareScoped(`UPDATE claims SET batch_id = ? WHERE id = ? AND owner = ? AND settled_at = 0 AND {actor}`)
	settle     = declareScoped(`UPDATE claims SET settled_at = ?, status = ?, body = ?, body_hash = ?
WHERE id = ? AND owner = ? AND settled_at = 0 AND {actor}`)
	releaseClaim = declareScoped(
		`DELETE FROM claims WHERE id = ? AND owner = ? AND settled_at = 0 AND batch_id = '' AND {actor}`,
	)
	abandonClaim = declareScoped(
		`UPDATE claims SET process_id = '' WHERE id = ? AND owner = ? AND settled_at = 0 AND {actor}`,
	)

	purgeSettled = declareGlobal(`DELETE FROM claims WHERE id IN
(SELECT id FROM claims WHERE settled_at > 0 AND settled_at <= ? ORDER BY settled_at LIMIT ?)`)
	purgeDead = declareGlobal(`DELETE FROM claims WHERE id IN
(SELECT c.id FROM claims AS c WHERE c.settled_at = 0 AND c.claimed_at <= ? AND NOT ` + alive + ` LIMIT ?)`)
)

// claimed is a claim as it stands in the database.
type claimed struct {
	owner, bodyHash, batchID string
	claimedAt, settledAt     time.Time
	status                   int
	body                     []byte
	alive                    bool // its process, and it knows of it
}

func scanClaim(rows *sql.Rows) (c claimed, err error) {
	var claimedAt, settledAt int64
	err = rows.Scan(&c.owner, &c.bodyHash, &c.batchID, &claimedAt, &settledAt, &c.status, &c.body, &c.alive)
	c.claimedAt, c.settledAt = timeOf(claimedAt), timeOf(settledAt)
	return c, err
}

// judge tells what a claim that is there means for a request at now: the answer, an error, or that it may be taken
// over.
func (c claimed) judge(bodyHash string, now time.Time) (*Stored, error) {
	settled := !c.settledAt.IsZero()
	switch {
	case settled && now.Sub(c.settledAt) >= keptFor, !settled && !c.alive && now.Sub(c.claimedAt) >= keptFor:
		return nil, nil
	case bodyHash != "" && c.bodyHash != "" && bodyHash != c.bodyHash:
		return nil, ErrMismatch
	case settled:
		return &Stored{Status: c.status, Body: c.body, BodyHash: c.bodyHash}, nil
	case c.alive:
		return nil, ErrInProgress
	}
	return nil, nil
}

// id makes one of a request, of any length and with any bytes in it.
func (r Request) id(of reach) string {
	h := sha256.New()
	for _, part := range []string{of.organization, of.environment, of.actor, r.Method, r.Path, r.IdempotencyKey} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		_, _ = io.WriteString(h, part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Claim takes a request for this process, in a transaction of its own. It returns a claim if the request is to be run,
// or the answer that it got before, within the last 24 h. The error is ErrMismatch or ErrInProgress if it is neither.
//
// A claim of a dead process is taken over. With any other error, whether the request was claimed may not be known; then
// the claim that it has if so comes with the error, to be released.
func (v *View) Claim(ctx context.Context, r Request) (*Claim, *Stored, error) {
	switch {
	case !v.db.ready.Load():
		return nil, nil, errNotYet
	case v.nothing():
		return nil, nil, ErrNotFound
	}
	if err := storable(r.BodyHash); err != nil {
		return nil, nil, fmt.Errorf("claim: %w", err)
	}
	c := &Claim{id: r.id(v.reach), owner: v.db.newID()}
	for range tries {
		now := v.db.now()
		// That it is on disk is not waited for: whatever comes of it is made durable by a later transaction, and this with
		// it.
		text, args := addClaim.bind(
			v.db.engine,
			v.reach,
			[]any{c.id, c.owner, v.db.processID, r.BodyHash, micros(now), v.actor},
		)
		n, err := v.db.atOnce(ctx, text, args)
		if err != nil {
			return perhaps(c, n, err), nil, fmt.Errorf("claim: %w", err)
		}
		if n > 0 {
			return c, nil, nil
		}
		stored, err := v.takeOver(ctx, r, c, now)
		switch {
		case errors.Is(err, ErrNotFound): // released just now
			continue
		case errors.Is(err, ErrInProgress), errors.Is(err, ErrMismatch):
			return nil, nil, fmt.Errorf("claim: %w", err)
		case err != nil:
			return perhaps(c, 0, err), nil, fmt.Errorf("claim: %w", err)
		case stored != nil:
			return nil, stored, nil
		}
		return c, nil, nil
	}
	return nil, nil, ErrInProgress
}

// perhaps returns a claim if it may be there in spite of err, or has a row that was seen. While the database is away or
// can't write, it is not there for most: else there would be a release to be made up for with every request of an
// outage.
func perhaps(c *Claim, rows int, err error) *Claim {
	if rows == 0 && (undone(err) || errors.Is(err, ErrClaimLost)) {
		return nil
	}
	return c
}

// takeOver makes a claim that is there c's, or returns the answer. The error is ErrNotFound if there is none any more.
func (v *View) takeOver(ctx context.Context, r Request, c *Claim, now time.Time) (stored *Stored, err error) {
	err = v.Write(ctx, func(tx *Tx) error {
		old, err := one(inTx(tx, lockClaim, scanClaim, append(v.db.patience(), c.id)...))
		if err != nil {
			return err
		}
		if stored, err = old.judge(r.BodyHash, now); stored != nil || err != nil {
			return err
		}
		c.BatchID = ""
		bodyHash := r.BodyHash
		if old.settledAt.IsZero() && now.Sub(old.claimedAt) < keptFor {
			c.BatchID, bodyHash = old.batchID, cmp.Or(bodyHash, old.bodyHash)
		}
		return lost(tx.exec(takeClaim, c.owner, v.db.processID, bodyHash, c.BatchID, micros(now), c.id, old.owner))
	})
	return stored, err
}

// lost is the error of a statement that should have found its claim.
func lost(n int, err error) error {
	if err == nil && n == 0 {
		return ErrClaimLost
	}
	return err
}

// Release gives a claim up: the request may be run again. A claim that is lost or settled stays as it is. One that is
// begun is never run again; it becomes like that of a dead process, so that whoever asks next gets it, with its
// BatchID.
func (v *View) Release(ctx context.Context, c *Claim) error {
	if c == nil {
		return nil
	}
	err := v.Write(ctx, func(tx *Tx) error {
		if n, err := tx.exec(releaseClaim, c.id, c.owner); err != nil || n > 0 {
			return err
		}
		_, err := tx.exec(abandonClaim, c.id, c.owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("release a claim: %w", err)
	}
	return nil
}

// Begin notes with c that the request's posts are in this transaction. ErrClaimLost: roll back.
func (tx *Tx) Begin(c *Claim, batchID string) error {
	return lost(tx.exec(beginClaim, batchID, c.id, c.owner))
}

// Settle stores the answer of a request, together with all else that the transaction does. ErrClaimLost: roll back.
func (tx *Tx) Settle(c *Claim, s Stored) error {
	if err := storable(s.BodyHash); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return lost(tx.exec(settle, micros(tx.view.db.now()), s.Status, s.Body, s.BodyHash, c.id, c.owner))
}

// Purge deletes answers that are older than 24 h, at most limit, and returns how many there were. What dead processes
// have left unanswered goes with them.
func (w *Work) Purge(ctx context.Context, now time.Time, limit int) (n int, err error) {
	then := micros(now.Add(-keptFor))
	err = w.db.transact(ctx, func(ctx context.Context, s session) error {
		settled, err := s.exec(ctx, purgeSettled.texts[w.db.engine.index()], []any{then, limit})
		if err != nil {
			return err
		}
		dead, err := s.exec(
			ctx,
			purgeDead.texts[w.db.engine.index()],
			append(append([]any{then}, w.db.patience()...), limit-settled),
		)
		n = settled + dead
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	return n, nil
}
