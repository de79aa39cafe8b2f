// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package write_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

// late is an operation that leaves its claim to its change.
func (f *fixture) late() *write.Operation {
	o := f.Start(f.view, "id")
	o.BodyHash = request.BodyHash
	o.ClaimLate(request)
	return &o
}

func TestClaimLate(t *testing.T) {
	f := newFixture(t)
	o := f.late()
	if f.rows(t, "claims") != 0 || !o.Unclaimed() || o.Pending(true) {
		t.Error("it is claimed before its change")
	}
	_, err := write.Commit(f.ctx, o, created("made"), addFile)
	check(t, err)
	if media := f.rows(t, "media"); media != 1 || o.Unclaimed() || o.Pending(false) {
		t.Errorf("%d files, unclaimed: %t, pending: %t", media, o.Unclaimed(), o.Pending(false))
	}
	f.answered(t, 201, "made")
}

func TestClaimLateByBegin(t *testing.T) {
	f := newFixture(t)
	o := f.late()
	check(t, o.Begin(f.ctx, "batch", addOne))
	f.running(t)
	check(t, o.Finish(&store.Stored{Status: 200, Body: []byte("done")}, atOnce(t.Context()), addOne))
	if media := f.rows(t, "media"); media != 2 || o.Unclaimed() || o.Pending(false) {
		t.Errorf("%d files, unclaimed: %t, pending: %t", media, o.Unclaimed(), o.Pending(false))
	}
	f.answered(t, 200, "done")
}

// Whoever comes second changes nothing, and learns what the first one was answered by claiming the request.
func TestClaimLateOfWhatIsClaimed(t *testing.T) {
	for name, change := range map[string]func(*fixture, *write.Operation) error{
		"commit": func(f *fixture, o *write.Operation) error {
			_, err := write.Commit(f.ctx, o, created("second"), addFile)
			return err
		},
		"begin": func(f *fixture, o *write.Operation) error { return o.Begin(f.ctx, "batch", addOne) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			o := f.late()
			first := f.start(t)
			if err := change(f, o); !errors.Is(err, store.ErrInProgress) || !o.Unclaimed() || o.Pending(true) {
				t.Errorf("while the first runs: %v, unclaimed: %t, pending: %t", err, o.Unclaimed(), o.Pending(true))
			}
			_, err := write.Commit(f.ctx, first, created("first"), addFile)
			check(t, err)
			if err := change(f, o); !errors.Is(err, store.ErrInProgress) || !o.Unclaimed() {
				t.Errorf("when the first is done: %v, unclaimed: %t", err, o.Unclaimed())
			}
			stored, err := o.Claim(t.Context(), request)
			check(t, err)
			if stored == nil || string(stored.Body) != "first" || o.Unclaimed() {
				t.Errorf("then it is told %v, unclaimed: %t", stored, o.Unclaimed())
			}
			if n := f.rows(t, "media"); n != 1 {
				t.Errorf("%d files", n)
			}
		})
	}
}

func TestClaimLateThatFails(t *testing.T) {
	f := newFixture(t)
	o := f.late()
	fail := func(err error) error {
		_, err = write.Commit(f.ctx, o, created("made"), func(context.Context, *store.Tx) (string, error) { return "", err })
		return err
	}
	if err := fail(errTest); !errors.Is(err, errTest) || !o.Unclaimed() || o.Pending(true) {
		t.Errorf("refused: %v, unclaimed: %t, pending: %t", err, o.Unclaimed(), o.Pending(true))
	}
	// It may have been committed, and the claim with it: so it is given up, and not made anew.
	err := fail(fmt.Errorf("%w: reset", store.ErrUnavailable))
	if !errors.Is(err, store.ErrUnavailable) || o.Unclaimed() || !o.Pending(true) {
		t.Errorf("in doubt: %v, unclaimed: %t, pending: %t", err, o.Unclaimed(), o.Pending(true))
	}
	o.End(t.Context(), nil)
	if again := f.start(t); again.Begun() != "" || f.rows(t, "claims") != 1 {
		t.Errorf("begun %q, %d claims", again.Begun(), f.rows(t, "claims"))
	}
}

// What can't be found out again is on disk before anybody is told; what can be does not wait for a disk that hangs.
func TestFinishLasts(t *testing.T) {
	for _, retraceable := range []bool{false, true} {
		f := newFixture(t)
		o := f.start(t)
		before := f.synced.Load()
		check(t, o.Begin(f.ctx, "batch", addOne))
		begun := f.synced.Load()
		if o.Retraceable = retraceable; retraceable {
			f.hang.Lock()
		}
		check(t, o.Finish(&store.Stored{Status: 200}, atOnce(t.Context()), addOne))
		if retraceable {
			f.hang.Unlock()
		}
		if begun == before || !retraceable && f.synced.Load() == begun {
			t.Errorf("retraceable: %t: begun after %d waits, and finished after %d", retraceable, begun-before, f.synced.Load())
		}
	}
}

func TestEnd(t *testing.T) {
	f := newFixture(t)
	o := f.start(t)
	o.End(t.Context(), &store.Stored{Status: 400, Body: []byte("no")})
	f.answered(t, 400, "no")
}

// What can't be ended now is given up later; until then it runs.
func TestEndLater(t *testing.T) {
	f := newFixture(t)
	for reason, answer := range map[string]*store.Stored{"without an answer": nil, "with one": {Status: 400}} {
		f.later = nil
		f.log.Reset()
		o := f.start(t)
		away, cancel := context.WithTimeout(t.Context(), -time.Second)
		cancel()
		o.End(away, answer)
		f.running(t)
		if len(f.later) != 1 || !bytes.Contains(f.log.Bytes(), []byte("requestId=id")) {
			t.Fatalf("%s: %d things for later; %s", reason, len(f.later), &f.log)
		}
		check(t, f.later[0](t.Context()))
		again := f.start(t)
		again.End(t.Context(), nil)
	}
}
