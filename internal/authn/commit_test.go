// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
)

var errDisk = errors.New("disk full")

// TestCommit: what becomes of a write and of its request, wherever the key's end falls.
func TestCommit(t *testing.T) {
	for _, tc := range []struct {
		reason               string
		before, during, then func(x *flying) // when the key, or the replica, comes to its end
		writeErr             error

		written   bool
		commitErr error
		endErr    error
		told      int
	}{
		{reason: "nothing happens", written: true},
		{reason: "the write fails", writeErr: errDisk, written: true, commitErr: errDisk},
		{reason: "revoked before", before: revoke, commitErr: authn.Revoked, endErr: authn.Revoked},
		{reason: "revoked meanwhile", during: revoke, written: true, told: 1},
		{reason: "revoked after", then: revoke, written: true},
		{
			reason: "revoked meanwhile, and the write fails", during: revoke, writeErr: errDisk,
			written: true, commitErr: errDisk, endErr: authn.Revoked, told: 1,
		},
		{reason: "expired before", before: expire, commitErr: authn.Expired, endErr: authn.Expired},
		{reason: "expired meanwhile", during: expire, written: true},
		{reason: "expired meanwhile, and the write fails", during: expire, writeErr: errDisk, written: true, commitErr: errDisk, endErr: authn.Expired},
		{reason: "expired after", then: expire, written: true},
		{reason: "cut off before", before: fence, commitErr: authn.ErrUnavailable, endErr: authn.ErrUnavailable},
		{reason: "cut off meanwhile", during: fence, written: true},
		{reason: "cut off after", then: fence, written: true},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			k, s := minted(t, authntest.ExpiringAt(now.Add(time.Hour)))
			x := newFlying(t, k)
			told := 0
			x.OnCommitsOver(func() {
				told++
				if x.Committing(k.UID) {
					t.Error("commitsOver is called while the write counts as running")
				}
				_ = x.Size() // takes the index's lock
			})
			at := func(do func(*flying)) {
				if do != nil {
					do(x)
				}
			}
			f, ctx := x.begin(t, s)
			at(tc.before)
			written := false
			err := authn.Commit(ctx, func(ctx context.Context) error {
				written = true
				if !x.Committing(k.UID) || x.Committing("another") {
					t.Error("the key does not count as committing, or another does")
				}
				at(tc.during)
				if ctx.Err() != nil {
					t.Errorf("the write's context ended: %v", context.Cause(ctx))
				}
				if told != 0 {
					t.Error("commitsOver is called during the write")
				}
				return tc.writeErr
			})
			if written != tc.written || !errors.Is(err, tc.commitErr) || x.Committing(k.UID) || told != tc.told {
				t.Errorf("written: %t; Commit = %v; committing: %t; told %d times; want written: %t, %v, told %d times",
					written, err, x.Committing(k.UID), told, tc.written, tc.commitErr, tc.told)
			}
			if committed := tc.written && tc.writeErr == nil; (ctx.Err() == nil) != (committed || tc.endErr == nil) {
				t.Errorf("after the write its request's context has the error %v", context.Cause(ctx))
			}
			at(tc.then)
			again := authn.Commit(ctx, func(context.Context) error { return nil })
			if over := tc.before != nil || tc.during != nil || tc.then != nil; (again != nil) != over {
				t.Errorf("a second Commit = %v", again)
			}
			for range 2 {
				if err := f.End(); !errors.Is(err, tc.endErr) {
					t.Errorf("End = %v, want %v", err, tc.endErr)
				}
			}
		})
	}
}

// TestCommitOfWhatWasCutOnce: a replica that serves again, or a Profile that came back, makes no flight good again.
func TestCommitOfWhatWasCutOnce(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	f, ctx := x.begin(t, s)
	if err := authn.Commit(ctx, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	fence(x)
	x.serving.Store(true)
	if ctx.Err() != nil {
		t.Errorf("the context of what is committed ended: %v", context.Cause(ctx))
	}
	err := authn.Commit(ctx, func(context.Context) error { t.Error("written"); return nil })
	if !errors.Is(err, authn.ErrUnavailable) || f.End() != nil {
		t.Errorf("a second Commit = %v, End = %v", err, f.End())
	}
}

// revoke ends the only key, expire lets it pass its expiry, fence cuts the replica off.

func revoke(x *flying) { x.RetainKeys() }

func expire(x *flying) { x.clock.SetTime(now.Add(time.Hour)) }

func fence(x *flying) {
	x.serving.Store(false)
	x.CutAll(authn.ErrUnavailable)
}

func TestCommitsContext(t *testing.T) {
	type mine struct{}
	k, s := minted(t)
	x := newFlying(t, k)
	parent, leave := context.WithCancel(context.WithValue(t.Context(), mine{}, 7))
	var f authn.Flight
	if err := x.AdmitNow(parent, bearer(s), &f); err != nil {
		t.Fatal(err)
	}
	defer f.End() //nolint:errcheck // not what this test is about
	began := time.Now()
	err := authn.Commit(f.Context(), func(ctx context.Context) error {
		leave() // the caller does not wait
		if ctx.Value(mine{}) != 7 || ctx.Err() != nil {
			t.Errorf("the write's context: %v, of nobody's", context.Cause(ctx))
		}
		if deadline, ok := ctx.Deadline(); !ok || deadline.Before(began) || deadline.After(time.Now().Add(authntest.CommitTimeout)) {
			t.Errorf("its deadline is %v, %t", deadline, ok)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = authn.Commit(f.Context(), func(context.Context) error { t.Error("written for nobody"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller has gone: %v", err)
	}
}

func TestCommitWithoutAFlight(t *testing.T) {
	write := func(context.Context) error { t.Error("written"); return nil }
	if err := authn.Commit(t.Context(), write); err == nil {
		t.Error("committed without a request")
	}
	k, s := minted(t)
	x := newFlying(t, k)
	f, ctx := x.begin(t, s)
	_ = f.End()
	if err := authn.Commit(ctx, write); err == nil {
		t.Error("committed for a request that was over")
	}
	if err := authn.Commit(context.WithoutCancel(ctx), write); err == nil {
		t.Error("committed for a request that was over, by a context that does not end")
	}
}

// TestCommitThatPanics must not hold up the revocation of its key for ever.
func TestCommitThatPanics(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	told := 0
	x.OnCommitsOver(func() { told++ })
	f, ctx := x.begin(t, s)
	func() {
		defer func() { _ = recover() }()
		_ = authn.Commit(ctx, func(context.Context) error { revoke(x); panic("broken") })
	}()
	if x.Committing(k.UID) || told != 1 {
		t.Errorf("committing: %t, told %d times", x.Committing(k.UID), told)
	}
	if err := f.End(); !errors.Is(err, authn.Revoked) {
		t.Errorf("End = %v", err)
	}
}

// TestEndDuringACommit: a handler that has lost patience. Its write still holds up the confirmation.
func TestEndDuringACommit(t *testing.T) {
	k, s := minted(t)
	x := newFlying(t, k)
	var told atomic.Int64
	x.OnCommitsOver(func() { told.Add(1) })
	f, ctx := x.begin(t, s)
	began, finish, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		_ = authn.Commit(ctx, func(context.Context) error { close(began); <-finish; return nil })
	}()
	<-began
	if err := f.End(); err != nil {
		t.Errorf("End = %v", err)
	}
	revoke(x)
	if !x.Committing(k.UID) || told.Load() != 0 {
		t.Errorf("committing: %t, told %d times, while a write runs", x.Committing(k.UID), told.Load())
	}
	close(finish)
	<-over
	if x.Committing(k.UID) || told.Load() != 1 {
		t.Errorf("committing: %t, told %d times, after the write", x.Committing(k.UID), told.Load())
	}
}

// TestNoWriteAfterTheConfirmation plays the part of the feed: a key is confirmed as revoked when the index has it and
// no write of it runs; if one does, when it is over. No write may be seen after that, and each key must come to it.
func TestNoWriteAfterTheConfirmation(t *testing.T) {
	x := newFlying(t)
	told := make(chan struct{}, 1)
	x.OnCommitsOver(func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	waited := 0
	for round := range 300 {
		k, s := minted(t)
		x.PutKey(k)
		var confirmed atomic.Bool
		var begun atomic.Int64
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() {
				for {
					var f authn.Flight
					if err := x.AdmitNow(context.Background(), bearer(s), &f); err != nil {
						return
					}
					begun.Add(1)
					err := authn.Commit(f.Context(), func(context.Context) error {
						for range 2000 {
							if confirmed.Load() {
								t.Error("a write runs after the confirmation")
							}
						}
						return nil
					})
					if end := f.End(); (err == nil) != (end == nil) {
						t.Errorf("Commit = %v and End = %v", err, end)
					}
				}
			})
		}
		for begun.Load() <= int64(round%8) { // nothing that lets others go first
		}
		authntest.Deleting(k)
		x.PutKey(k)
		for x.Committing(k.UID) {
			waited++
			select {
			case <-told:
			case <-time.After(time.Minute):
				t.Fatal("nobody says that the write is over")
			}
		}
		confirmed.Store(true)
		wait.Wait()
		x.RemoveKey(k)
	}
	if n := x.Running(); n != 0 {
		t.Errorf("%d flights are left", n)
	}
	t.Logf("waited %d times for a write", waited)
}
