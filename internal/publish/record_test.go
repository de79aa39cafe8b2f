// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

func TestRecord(t *testing.T) {
	away := fmt.Errorf("dial: %w", store.ErrUnavailable)
	for _, tc := range []struct {
		reason  string
		answers []error // of write; then nil
		tries   int32
		want    error
	}{
		{"it is written", nil, 1, nil},
		{"the database comes back soon", []error{away, away}, 3, nil},
		{"what can't ever be written is not tried again", []error{store.ErrClaimLost}, 1, store.ErrClaimLost},
		{"nor is it after an outage", []error{away, store.ErrClaimLost}, 2, store.ErrClaimLost},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			p := start(t, sqlite(t), newSandbox())
			p.Hurry(0, 0, patience) // nobody gives up because the machine is slow
			var tries atomic.Int32
			err := p.Record(t.Context(), nil, func(context.Context) error {
				if n := int(tries.Add(1)); n <= len(tc.answers) {
					return tc.answers[n-1]
				}
				return nil
			})
			if !errors.Is(err, tc.want) || tries.Load() != tc.tries {
				t.Errorf("error %v after %d tries, want %v after %d", err, tries.Load(), tc.want, tc.tries)
			}
		})
	}
}

// TestRecordLate: a long outage keeps nobody waiting, and the outcome is recorded all the same.
func TestRecordLate(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	p.Hurry(0, 0, 50*time.Millisecond)
	var back atomic.Bool
	written := make(chan struct{})
	write := func(context.Context) error {
		if !back.Load() {
			return store.ErrUnavailable
		}
		close(written)
		return nil
	}
	if err := p.Record(t.Context(), nil, write); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	end := p.run(t)
	back.Store(true)
	select {
	case <-written:
	case <-time.After(patience):
		t.Error("it was never written")
	}

	// At the end there is one more try, and no endless one.
	tried := make(chan struct{}, 1000)
	if err := p.Record(t.Context(), nil, func(context.Context) error { tried <- struct{}{}; return store.ErrUnavailable }); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	before := len(tried)
	end()
	if len(tried) <= before {
		t.Error("it was not tried at the end")
	}
}

// TestRecordLaterIsBounded: an outage does not fill the memory with what takes care of itself, and outcomes always find
// room.
func TestRecordLaterIsBounded(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	p.Hurry(0, 0, time.Millisecond)
	const most = 2000
	var written atomic.Int32
	for range most + 100 {
		p.RecordLater(func(context.Context) error { written.Add(1); return nil })
	}
	var back atomic.Bool
	outcome := make(chan struct{})
	err := p.Record(t.Context(), nil, func(context.Context) error {
		if !back.Load() { // whether or not Record has had its millisecond
			return store.ErrUnavailable
		}
		close(outcome)
		return nil
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("error is %v", err)
	}
	back.Store(true)
	p.run(t)
	select {
	case <-outcome:
	case <-time.After(patience):
		t.Fatal("an outcome was dropped")
	}
	if n := written.Load(); n != most {
		t.Errorf("%d were written, want %d", n, most)
	}
	p.RecordLater(func(context.Context) error { written.Add(1); return nil })
	await(t, "what comes when there is room again", func() bool { return written.Load() == most+1 })
}

// TestWithdraw cancels what one key has queued, and nothing else, however long it takes.
func TestWithdraw(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		p := start(t, databaseURL, newSandbox())
		leaked, good := admitted(t), admitted(t)
		at := time.Now().Add(time.Hour)
		bad, also, kept := p.queue(t, leaked, at, "bad")[0], p.queue(t, leaked, at, "also")[0], p.queue(t, good, at, "kept")[0]

		p.exec(t, "ALTER TABLE posts RENAME TO posts_away")
		done := make(chan struct{})
		p.Withdraw(leaked.Organization.ID, leaked.Actor.ID, func() { close(done) })
		end := p.run(t)
		select {
		case <-done:
			t.Error("it is done without a database")
		case <-time.After(300 * time.Millisecond):
		}
		p.exec(t, "ALTER TABLE posts_away RENAME TO posts")
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("it was never done")
		}
		for _, want := range []struct {
			post   store.Post
			status store.Status
		}{{bad, store.Canceled}, {also, store.Canceled}, {kept, store.Queued}} {
			post, err := p.db.View(good).Post(t.Context(), want.post.ID)
			if err != nil || post.Status != want.status {
				t.Errorf("%s is %s, want %s; error %v", want.post.Text, post.Status, want.status, err)
			}
		}
		end()
		p.Withdraw(good.Organization.ID, good.Actor.ID, func() { t.Error("done after Run has ended") })
	})
}

// TestWhatIsOwedWaitsForNobodysPlace: an organization that keeps all its places in the database busy does not keep
// others' outcomes from being written down behind its own.
func TestWhatIsOwedWaitsForNobodysPlace(t *testing.T) {
	p := start(t, postgres.Start(t), newSandbox()) // in SQLite, nobody writes beside a transaction
	hostile := p.db.View(admitted(t))
	other := p.db.View(admitted(t, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f")))
	end, busy := make(chan struct{}), make(chan error, 40)
	var running sync.WaitGroup
	for range cap(busy) {
		running.Go(func() { busy <- hostile.Write(t.Context(), func(*store.Tx) error { <-end; return nil }) })
	}
	defer func() { close(end); running.Wait() }()
	if err := <-busy; !errors.Is(err, store.ErrBusy) {
		t.Fatalf("one too many: %v", err)
	}
	p.run(t)
	written := make(chan struct{})
	write := func(v *store.View, then func()) func(context.Context) error {
		return func(ctx context.Context) error {
			return v.Write(ctx, func(*store.Tx) error { then(); return nil })
		}
	}
	p.RecordLater(write(hostile, func() {}))
	p.RecordLater(write(other, func() { close(written) }))
	select {
	case <-written:
	case <-time.After(patience):
		t.Error("it was never written")
	}
}

// TestEndRecordsWhatIsLeft: what waits when Run ends is written if the database is there within a second, all of it,
// and whether or not it is just between two tries.
func TestEndRecordsWhatIsLeft(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	p.Hurry(0, 0, time.Millisecond)
	var back atomic.Bool
	var tries, written atomic.Int32
	write := func(context.Context) error {
		tries.Add(1)
		if !back.Load() {
			return store.ErrUnavailable
		}
		written.Add(1)
		return nil
	}
	const outcomes, later = 3, 50
	for range outcomes {
		if err := p.Record(t.Context(), nil, write); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
	}
	for range later {
		p.RecordLater(write)
	}
	before := tries.Load()
	end := p.run(t)
	// After six tries the next is more than 3 s away, and what is left is given 1 s.
	await(t, "some tries", func() bool { return tries.Load() >= before+6 })
	back.Store(true)
	end()
	if n := written.Load(); n != outcomes+later {
		t.Errorf("%d were written, want %d", n, outcomes+later)
	}
}

// TestWithdrawalsTakeTurns: a deletion does not wait for all that another organization has deleted before.
func TestWithdrawalsTakeTurns(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	var many, before atomic.Int32
	few, last := make(chan struct{}), make(chan struct{})
	const keys = 100
	for i := range keys {
		p.Withdraw("many", fmt.Sprint("key-", i), func() {
			if many.Add(1) == keys {
				close(last)
			}
		})
	}
	p.Withdraw("few", "key", func() { before.Store(many.Load()); close(few) })
	p.run(t)
	for _, done := range []chan struct{}{few, last} {
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("not all of them were done")
		}
	}
	if n := before.Load(); n > 1 {
		t.Errorf("it has waited for %d keys of another organization", n)
	}
}

// TestWithdrawalThatFails: one key's posts can't be canceled, and it is tried on; those of others are, meanwhile.
func TestWithdrawalThatFails(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	bad, good := admitted(t), admitted(t)
	p.queue(t, bad, time.Now().Add(time.Hour), "bad")
	p.queue(t, good, time.Now().Add(time.Hour), "good")
	p.exec(t, "CREATE TRIGGER bad BEFORE UPDATE ON posts WHEN OLD.text = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END")
	others, done := make(chan struct{}), make(chan struct{})
	p.Withdraw(bad.Organization.ID, bad.Actor.ID, func() { close(done) })
	p.Withdraw(good.Organization.ID, good.Actor.ID, func() { close(others) })
	p.run(t)
	for i, c := range []chan struct{}{others, done} {
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatalf("key %d was never done", i)
		}
		if i == 0 {
			p.exec(t, "DROP TRIGGER bad")
		}
	}
}

// TestWithdrawTwice: whoever asks is told, also if another has asked for the same key.
func TestWithdrawTwice(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	var done atomic.Int32
	for range 3 {
		p.Withdraw("organization", "key", func() { done.Add(1) })
	}
	p.run(t)
	await(t, "all that were asked for", func() bool { return done.Load() == 3 })
}
