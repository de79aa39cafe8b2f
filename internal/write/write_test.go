// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package write_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	testclock "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/write"
)

var (
	now     = authntest.Epoch.AddDate(0, 1, 0)
	request = store.Request{IdempotencyKey: "k", Method: "POST", Path: "/v1/things", BodyHash: "h"}
	errTest = errors.New("it fails")
)

// fixture is a protocol over a database, and one caller.
type fixture struct {
	write.Protocol
	db    *store.DB
	index *authn.Index
	key   *v1alpha1.ApiKey
	ctx   context.Context // of the caller's request
	view  *store.View
	later []func(context.Context) error // what is to be done when the database is back
	log   bytes.Buffer
	// synced is what the database has waited for the disk with.
	synced atomic.Int64
	hang   sync.Mutex // is held while the disk does not answer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	clock := testclock.NewFakeClock(now)
	f := new(fixture)
	db, err := store.Open(store.Options{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "test.db"), Clock: clock, NewID: newID,
		Logger: slog.New(slog.DiscardHandler),
		SyncFile: func(string) error {
			f.hang.Lock()
			defer f.hang.Unlock()
			f.synced.Add(1)
			return nil
		},
	})
	check(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); db.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		check(t, db.Close())
	})
	<-db.Migrated()

	f.db = db
	f.Protocol = write.Protocol{
		Later:  func(do func(context.Context) error) { f.later = append(f.later, do) },
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	}
	k, plaintext := authntest.Minted(t, authntest.Format(t), key.Live)
	f.key, f.index = k, authntest.Index(t, k)
	flight := new(authn.Flight)
	a := authntest.Authenticator(t, f.index, key.Live, clock)
	check(t, a.Admit(t.Context(), clock.Now(), []string{"Bearer " + plaintext}, flight))
	t.Cleanup(func() { _ = flight.End() })
	f.ctx, f.view = flight.Context(), db.View(flight.Caller())
	return f
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts an operation with an Idempotency-Key, which must be this process's to run.
func (f *fixture) start(t *testing.T) *write.Operation {
	t.Helper()
	o, stored := f.claim(t)
	if stored != nil {
		t.Fatalf("it was answered before: %+v", stored)
	}
	return o
}

func (f *fixture) claim(t *testing.T) (*write.Operation, *store.Stored) {
	t.Helper()
	o := f.Start(f.view, "id")
	o.BodyHash = request.BodyHash
	stored, err := o.Claim(t.Context(), request)
	check(t, err)
	return &o, stored
}

// answered checks what whoever repeats the request is told.
func (f *fixture) answered(t *testing.T, status int, body string) {
	t.Helper()
	_, got := f.claim(t)
	want := &store.Stored{Status: status, Body: []byte(body), BodyHash: request.BodyHash}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the stored answer (-want +got):\n%s", diff)
	}
}

// running checks that the request is somebody's to run at the moment.
func (f *fixture) running(t *testing.T) {
	t.Helper()
	o := f.Start(f.view, "id")
	if _, err := o.Claim(t.Context(), request); !errors.Is(err, store.ErrInProgress) {
		t.Errorf("claimed again: %v, want that it runs", err)
	}
}

// rows counts what there is in a table.
func (f *fixture) rows(t *testing.T, table string) (n int) {
	t.Helper()
	check(t, f.view.Write(t.Context(), func(tx *store.Tx) error {
		return tx.SQL().QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n)
	}))
	return n
}

// addFile is a change.
func addFile(_ context.Context, tx *store.Tx) (string, error) {
	id := newID()
	return id, tx.AddMedia(store.Media{ID: id, ContentType: "image/png", SizeBytes: 1, SHA256: "ab", CreatedAt: now})
}

func addOne(tx *store.Tx) error {
	_, err := addFile(context.Background(), tx)
	return err
}

// created answers with 201 and text, whatever was made.
func created(text string) write.Answer[string] {
	return func(string) (store.Stored, error) { return store.Stored{Status: 201, Body: []byte(text)}, nil }
}

// atOnce calls what Finish records.
func atOnce(ctx context.Context) func(func(context.Context) error) error {
	return func(do func(context.Context) error) error { return do(ctx) }
}

func TestCommit(t *testing.T) {
	f := newFixture(t)
	o := f.start(t)
	f.running(t)
	id, err := write.Commit(f.ctx, o, created("made"), addFile)
	check(t, err)
	if o.Pending(false) || !o.Pending(true) {
		t.Error("it is pending when it has succeeded, or not when it failed later")
	}
	if _, err := f.view.Media(t.Context(), id); err != nil {
		t.Error(err)
	}
	f.answered(t, 201, "made")

	without := f.Start(f.view, "id")
	_, err = write.Commit(f.ctx, &without, created("made"), addFile)
	check(t, err)
	if media, claims := f.rows(t, "media"), f.rows(t, "claims"); media != 2 || claims != 1 || without.Pending(true) {
		t.Errorf("without an Idempotency-Key: %d files, %d claims", media, claims)
	}
}

// Whatever fails, neither the change nor the answer is there, and the request can be sent again.
func TestCommitThatFails(t *testing.T) {
	for reason, c := range map[string]struct {
		before func(*fixture)
		answer write.Answer[string]
		do     func(context.Context, *store.Tx) (string, error)
		want   error
	}{
		"the change": {func(*fixture) {}, created("made"), func(ctx context.Context, tx *store.Tx) (string, error) {
			id, _ := addFile(ctx, tx)
			return id, errTest
		}, errTest},
		"the answer": {
			func(*fixture) {},
			func(string) (store.Stored, error) { return store.Stored{}, errTest }, addFile, errTest,
		},
		"the key was revoked": {func(f *fixture) {
			gone := f.key.DeepCopy()
			authntest.Deleting(gone)
			f.index.PutKey(gone)
		}, created("made"), addFile, authn.Revoked},
	} {
		f := newFixture(t)
		o := f.start(t)
		c.before(f)
		if _, err := write.Commit(f.ctx, o, c.answer, c.do); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", reason, err, c.want)
		}
		if n := f.rows(t, "media"); n != 0 || !o.Pending(true) {
			t.Errorf("%s: %d files", reason, n)
		}
		o.End(t.Context(), nil)
		if again := f.start(t); again.Begun() != "" || len(f.later) != 0 {
			t.Errorf("%s: begun %q, %d things for later", reason, again.Begun(), len(f.later))
		}
	}
}

func TestBeginAndFinish(t *testing.T) {
	f := newFixture(t)
	o := f.start(t)
	began := 0
	o.OnBegin = func() { began++ }
	check(t, o.Begin(f.ctx, "batch", addOne))
	if began != 1 || o.Begun() != "" || !o.Pending(false) {
		t.Errorf("begun %d times, %q, pending: %t", began, o.Begun(), o.Pending(false))
	}
	f.running(t)
	check(t, o.Finish(&store.Stored{Status: 200, Body: []byte("done")}, atOnce(t.Context()), addOne))
	if media := f.rows(t, "media"); media != 2 || o.Pending(false) {
		t.Errorf("%d files, pending: %t", media, o.Pending(false))
	}
	f.answered(t, 200, "done")

	without := f.Start(f.view, "id")
	check(t, without.Begin(f.ctx, "batch", addOne))
	check(t, without.Finish(&store.Stored{Status: 200}, atOnce(t.Context()), addOne))
	if media, claims := f.rows(t, "media"), f.rows(t, "claims"); media != 4 || claims != 1 {
		t.Errorf("without an Idempotency-Key: %d files, %d claims", media, claims)
	}
}

// What Finish records later is what the answer was, whatever has become of its memory since.
func TestFinishLater(t *testing.T) {
	f := newFixture(t)
	o := f.start(t)
	check(t, o.Begin(f.ctx, "batch", addOne))
	body := []byte("done")
	var late func(context.Context) error
	err := o.Finish(&store.Stored{Status: 200, Body: body}, func(do func(context.Context) error) error {
		late = do
		return store.ErrUnavailable
	}, addOne)
	if !errors.Is(err, store.ErrUnavailable) || !o.Pending(true) {
		t.Errorf("%v, pending: %t", err, o.Pending(true))
	}
	copy(body, "gone")
	check(t, late(t.Context()))
	f.answered(t, 200, "done")
}

// A request that was begun and given up is answered by who repeats it. What it came to is recorded all the same, by who
// alone knows; the answer is the other's.
func TestAClaimThatWasTakenOver(t *testing.T) {
	f := newFixture(t)
	first := f.start(t)
	check(t, first.Begin(f.ctx, "batch", addOne))
	first.End(t.Context(), nil)
	second := f.start(t)
	if second.Begun() != "batch" {
		t.Errorf("begun %q, want the batch", second.Begun())
	}
	check(t, first.Finish(&store.Stored{Status: 200, Body: []byte("first")}, atOnce(t.Context()), addOne))
	if n := f.rows(t, "media"); n != 2 {
		t.Errorf("%d files, want what the first came to as well", n)
	}
	f.running(t)
	_, err := write.Commit(f.ctx, second, created("second"), func(context.Context, *store.Tx) (string, error) { return "", nil })
	check(t, err)
	f.answered(t, 201, "second")
}

// A change of which nobody knows whether it was made is undone when the database is back, and begins nothing.
func TestBeginInDoubt(t *testing.T) {
	f := newFixture(t)
	o := f.start(t)
	o.OnBegin = func() { t.Error("it has begun") }
	posts := f.posts(t)
	err := o.Begin(f.ctx, posts[0].BatchID, func(*store.Tx) error { return fmt.Errorf("%w: reset", store.ErrUnavailable) })
	if !errors.Is(err, store.ErrUnavailable) || len(f.later) != 1 {
		t.Fatalf("%v, %d things for later", err, len(f.later))
	}
	check(t, f.view.Write(t.Context(), func(tx *store.Tx) error { // it was committed after all
		_, err := tx.AddPosts(posts)
		return err
	}))
	for range 2 { // it may be done more than once
		check(t, f.later[0](t.Context()))
	}
	if n := f.rows(t, "posts"); n != 0 {
		t.Errorf("%d posts are left", n)
	}

	f.later = nil
	if err := o.Begin(f.ctx, "batch", func(*store.Tx) error { return errTest }); !errors.Is(err, errTest) || len(f.later) != 0 {
		t.Errorf("no doubt: %v, %d things for later", err, len(f.later))
	}
}

// posts returns a post that is being published, of an account that is there.
func (f *fixture) posts(t *testing.T) []store.Post {
	t.Helper()
	a := store.Account{
		ID: newID(), Platform: "bluesky", PlatformAccountID: "did:plc:a", CreatedAt: now, UpdatedAt: now,
	}
	check(t, f.view.Write(t.Context(), func(tx *store.Tx) error {
		_, _, err := tx.PutAccount(a)
		return err
	}))
	return []store.Post{{
		ID: newID(), BatchID: newID(), MadeBy: string(f.key.UID), AccountID: a.ID, Platform: a.Platform,
		Status: store.Publishing, Text: "hello", CreatedAt: now,
	}}
}
