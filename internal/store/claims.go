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

// Request is what an idempotency key is for. It is told from others by the caller's actor, the method and the path, so
// that two actors may choose the same idempotency key.
type Request struct {
	IdempotencyKey string
	Method, Path   string
	BodyHash       string // of body and query; "": to be told by Settle, and compared by the caller
	// FormerHash is what BodyHash was to earlier versions, whose claims are still there after an upgrade; "" if they are
	// the same.
	FormerHash string
}

// same tells whether a claim is of this very request, as far as that is known.
func (r Request) same(bodyHash string) bool {
	return r.BodyHash == "" || bodyHash == "" || bodyHash == r.BodyHash || bodyHash == r.FormerHash
}

// Claim is the right to run a request. It is this process's until it is settled or abandoned, or the process is dead.
type Claim struct {
	// BatchID is set if an earlier process has begun the request and died after its posts were added: then there is
	// nothing to run, and the answer is to be made of them.
	BatchID string

	id string
	// The id is the same for everybody who sends the request, so it takes the owner to tell whose turn it is.
	owner string // another one each time that the request is claimed, so that nobody acts on a claim that was taken over
}

// Stored is the answer that a request got.
type Stored struct {
	Status   int
	Body     []byte
	BodyHash string
}

// All that change a claim name its owner, and those that come before its end ask that it is not settled: a process that
// was stopped, and whose claim was taken over meanwhile, changes nothing when it goes on.
var (
	addClaim = declareScoped(`INSERT INTO claims (id, owner, process_id, body_hash, batch_id, claimed_at, begun_at,
settled_at, status, organization_id, environment, key_id)
VALUES (?, ?, ?, ?, '', ?, {now}, 0, 0, {owner}, ?) ON CONFLICT (id) DO NOTHING RETURNING {quick}`)
	// As addClaim, in somebody's transaction.
	addBegun = declareScoped(`INSERT INTO claims (id, owner, process_id, body_hash, batch_id, claimed_at, begun_at,
settled_at, status, organization_id, environment, key_id)
VALUES (?, ?, ?, ?, ?, ?, {now}, 0, 0, {owner}, ?) ON CONFLICT (id) DO NOTHING`)
	readClaim = declareScoped(selectClaim)
	lockClaim = declareScoped(selectClaim + ` {lock UPDATE OF c}`)
	peekClaim = declareScoped(`SELECT c.id FROM claims AS c
WHERE c.settled_at = 0 AND ` + alive + ` AND c.id = ? AND {actor c}`)
	takeClaim = declareScoped(`UPDATE claims SET owner = ?, process_id = ?, body_hash = ?, batch_id = ?, claimed_at = ?,
begun_at = {now}, settled_at = 0, status = 0, body = NULL WHERE id = ? AND owner = ? AND {actor}`)
	// Not twice: whoever has taken a claim over with posts begins others only if those were undone.
	beginClaim = declareScoped(`UPDATE claims SET batch_id = ?
WHERE id = ? AND owner = ? AND settled_at = 0 AND batch_id = '' AND {actor}`)
	settleClaim = declareScoped(`UPDATE claims SET settled_at = ?, status = ?, body = ?, body_hash = ?
WHERE id = ? AND owner = ? AND settled_at = 0 AND {actor}`)
	deleteUnbegunClaim = declareScoped(`DELETE FROM claims
WHERE id = ? AND owner = ? AND settled_at = 0 AND batch_id = '' AND {actor}`)
	disownClaim = declareScoped(`UPDATE claims SET process_id = ''
WHERE id = ? AND owner = ? AND settled_at = 0 AND {actor}`)
)

// selectClaim reads what scanClaim takes.
const selectClaim = `SELECT c.owner, c.body_hash, c.batch_id, c.claimed_at, c.settled_at, c.status, c.body,
CASE WHEN ` + alive + ` THEN 1 ELSE 0 END FROM claims AS c WHERE c.id = ? AND {actor c}`

// claimed is a claim as it stands in the database.
type claimed struct {
	owner, bodyHash, batchID string
	claimedAt, settledAt     time.Time
	status                   int
	body                     []byte
	alive                    bool // its process, and it knows of it
}

// scanClaim reads the columns of lockClaim.
func scanClaim(rows *sql.Rows) (c claimed, err error) {
	var claimedAt, settledAt int64
	err = rows.Scan(&c.owner, &c.bodyHash, &c.batchID, &claimedAt, &settledAt, &c.status, &c.body, &c.alive)
	c.claimedAt, c.settledAt = fromMicros(claimedAt), fromMicros(settledAt)
	return c, err
}

// settled tells whether the request has got its answer.
func (c claimed) settled() bool { return !c.settledAt.IsZero() }

// resolve tells what a claim that is there means for a request at now: the answer that it got, an error, or neither if
// the claim may be taken over. The hash of the body is looked at first: whoever sends another body with the same
// idempotency key has made a mistake, and is to learn that whether the first request is done or not.
func (c claimed) resolve(r Request, now time.Time) (*Stored, error) {
	switch {
	// Before the hash: after that time the idempotency key is free, for any body.
	case c.expired(now):
		return nil, nil
	case !r.same(c.bodyHash):
		return nil, ErrMismatch
	case c.settled():
		return &Stored{Status: c.status, Body: c.body, BodyHash: c.bodyHash}, nil
	case c.alive:
		return nil, ErrInProgress
	}
	return nil, nil
}

// id makes one of a request, of any length and with any bytes in it. Each part goes in with its length, so that no two
// requests give the same bytes to hash. Hashed, for what callers send as path and idempotency key need not be text that
// PostgreSQL takes, nor fit an index.
func (r Request) id(of scope) string {
	h := sha256.New()
	for _, part := range []string{of.organization, of.environment, of.actor, r.Method, r.Path, r.IdempotencyKey} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		_, _ = io.WriteString(h, part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Claim takes a request for this process, in a transaction of its own. It returns a claim if the request is to be run,
// or the answer that it got before, within IdempotencyRetention. If it is neither, the error is ErrMismatch or
// ErrInProgress. A claim of a dead process is taken over.
//
// With any other error, the request may or may not have been claimed: the connection may have broken after the database
// had done it. If that is possible, the claim is returned beside the error, and is to be abandoned. Otherwise it would
// keep the request in progress until this process ends.
func (v *View) Claim(ctx context.Context, r Request) (*Claim, *Stored, error) {
	switch {
	case !v.db.ready.Load():
		return nil, nil, errNotYet
	case v.empty():
		return nil, nil, ErrNotFound
	}
	if err := checkText(r.BodyHash); err != nil {
		return nil, nil, fmt.Errorf("claim: %w", err)
	}
	c := &Claim{id: r.id(v.scope), owner: v.db.newID()}
	// A claim that is found may be abandoned before it is locked; then it is added after all. With so many tries in vain,
	// somebody else is surely at it.
	for range tries {
		now := v.db.now()
		// That it is on disk is not waited for: whatever comes of it is made durable by a later transaction, and this with
		// it.
		text, args := addClaim.bind(v.db.engine, v.scope,
			[]any{c.id, c.owner, v.db.processID, r.BodyHash, micros(now), v.actor})
		n, err := v.atOnce(ctx, text, args)
		if err != nil {
			return claimInDoubt(c, n, err), nil, fmt.Errorf("claim: %w", err)
		}
		if n > 0 {
			return c, nil, nil // the common case: one statement, and no lock
		}
		// Somebody has the claim, or had. It takes a lock to tell, and so a transaction.
		stored, err := v.takeOver(ctx, r, c, now)
		switch {
		case errors.Is(err, ErrNotFound): // abandoned just now
			continue
		case errors.Is(err, ErrInProgress), errors.Is(err, ErrMismatch):
			return nil, nil, fmt.Errorf("claim: %w", err)
		case err != nil:
			return claimInDoubt(c, 0, err), nil, fmt.Errorf("claim: %w", err)
		case stored != nil:
			return nil, stored, nil
		}
		return c, nil, nil
	}
	return nil, nil, ErrInProgress
}

// Answered looks for the answer that a request got before, and takes nothing: nil, if there is none. The errors are
// Claim's. It is for whoever has reason to think that there is one: it locks nothing, so a repeated request takes two
// thirds of what it takes by Claim.
func (v *View) Answered(ctx context.Context, r Request) (*Stored, error) {
	if v.empty() {
		return nil, ErrNotFound
	}
	found, err := read(ctx, v, readClaim, scanClaim, append(v.db.aliveArgs(), r.id(v.scope))...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	stored, err := found[0].resolve(r, v.db.now())
	if err != nil {
		return nil, fmt.Errorf("look for an answer: %w", err)
	}
	return stored, nil
}

// Running tells whether a request that Claim has found in progress still is. It locks nothing, so that whoever waits
// for the answer may ask often.
func (v *View) Running(ctx context.Context, r Request) (bool, error) {
	found, err := read(ctx, v, peekClaim, scanID, append(v.db.aliveArgs(), r.id(v.scope))...)
	return len(found) > 0, err
}

// claimInDoubt returns c if it may be in the database in spite of err, or has been seen there: rows is how many rows
// the statement returned. Nil: it is surely not there, as for most while the database is away or can't write. Else
// every request of an outage would leave a claim to be abandoned later.
func claimInDoubt(c *Claim, rows int, err error) *Claim {
	if rows == 0 && (notDone(err) || errors.Is(err, ErrClaimLost)) {
		return nil
	}
	return c
}

// takeOver makes a claim that is there c's, or returns the answer. The error is ErrNotFound if there is none any more.
func (v *View) takeOver(ctx context.Context, r Request, c *Claim, now time.Time) (stored *Stored, err error) {
	err = v.Write(ctx, func(tx *Tx) error {
		old, err := one(inTx(tx, lockClaim, scanClaim, append(v.db.aliveArgs(), c.id)...))
		if err != nil {
			return err
		}
		if stored, err = old.resolve(r, now); stored != nil || err != nil {
			return err
		}
		c.BatchID = "" // of an earlier try of this transaction
		bodyHash := r.BodyHash
		// The batch passes on with the claim while it means something: its posts are there, and running the request again
		// would publish them twice.
		if !old.settled() && now.Sub(old.claimedAt) < IdempotencyRetention {
			c.BatchID, bodyHash = old.batchID, cmp.Or(bodyHash, old.bodyHash)
		}
		return orClaimLost(tx.exec(takeClaim, c.owner, v.db.processID, bodyHash, c.BatchID, micros(now), c.id, old.owner))
	})
	return stored, err
}

// orClaimLost is the error of a statement that should have found its claim.
func orClaimLost(n int, err error) error {
	if err == nil && n == 0 {
		return ErrClaimLost
	}
	return err
}

// Abandon gives a claim up unanswered: the request may be run again. A claim that is lost or settled stays as it is.
// One that is begun is never run again; it becomes like that of a dead process, so that whoever asks next gets it, with
// its BatchID. Both statements ask that the claim is still c's, so a claim that was taken over is left to whoever has
// it.
func (v *View) Abandon(ctx context.Context, c *Claim) error {
	if c == nil {
		return nil
	}
	err := v.Write(ctx, func(tx *Tx) error {
		if n, err := tx.exec(deleteUnbegunClaim, c.id, c.owner); err != nil || n > 0 {
			return err
		}
		_, err := tx.exec(disownClaim, c.id, c.owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("abandon a claim: %w", err)
	}
	return nil
}

// Claim is View.Claim and Begin at once, in the transaction of what is claimed: nobody else learns of the claim before
// that is committed. batchID may be "". ErrInProgress says that there is a claim already, of whatever kind: roll back,
// and ask View.Claim.
func (tx *Tx) Claim(r Request, batchID string) (*Claim, error) {
	if err := checkText(r.BodyHash); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	db := tx.view.db
	c := &Claim{id: r.id(tx.view.scope), owner: db.newID()}
	n, err := tx.exec(addBegun, c.id, c.owner, db.processID, r.BodyHash, batchID, micros(db.now()), tx.view.actor)
	if err == nil && n == 0 {
		err = fmt.Errorf("claim: %w", ErrInProgress)
	}
	return c, err
}

// Begin notes with c that the request's posts are in this transaction: from its commit on, the request is never run
// again. ErrClaimLost: roll back. The batch's id is how whoever takes the claim over finds the posts.
func (tx *Tx) Begin(c *Claim, batchID string) error {
	return orClaimLost(tx.exec(beginClaim, batchID, c.id, c.owner))
}

// Settle stores the answer of a request, together with all else that the transaction does. ErrClaimLost: roll back. The
// body's hash comes with it, since a streamed body is known only at its end.
func (tx *Tx) Settle(c *Claim, s Stored) error {
	if err := checkText(s.BodyHash); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return orClaimLost(tx.exec(settleClaim, micros(tx.view.db.now()), s.Status, s.Body, s.BodyHash, c.id, c.owner))
}
