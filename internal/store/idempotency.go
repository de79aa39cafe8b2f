// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
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

	id string
}

// Stored is the answer that a request got.
type Stored struct {
	Status   int
	Body     []byte
	BodyHash string
}

// Claim takes a request for this process, in a transaction of its own. It returns a claim if the request is to be run, or
// the answer that it got before, within the last 24 h. The error is ErrMismatch or ErrInProgress if it is neither.
//
// A claim of a dead process is taken over.
func (v *View) Claim(ctx context.Context, r Request) (*Claim, *Stored, error) { panic("TODO") }

// Release gives a claim up: the request may be run again. A claim that is lost, settled or begun stays as it is.
func (v *View) Release(ctx context.Context, c *Claim) error { panic("TODO") }

// Begin notes with c that the request's posts are in this transaction. ErrClaimLost: roll back.
func (tx *Tx) Begin(c *Claim, batchID string) error { panic("TODO") }

// Settle stores the answer of a request, together with all else that the transaction does. ErrClaimLost: roll back.
func (tx *Tx) Settle(c *Claim, s Stored) error { panic("TODO") }

// Purge deletes answers that are older than 24 h, at most limit, and returns how many there were.
func (w *Work) Purge(ctx context.Context, now time.Time, limit int) (int, error) { panic("TODO") }
