// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// now is the time of every clock here, unless a test steps it.
var now = time.Date(2026, time.March, 1, 12, 0, 0, 123456000, time.UTC)

// onBoth runs a test against both engines, with the URL of an empty database.
func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "a database?#%41.db")) })
	t.Run("postgresql", func(t *testing.T) { test(t, postgres.Start(t)) })
}

// open opens a database and waits until it is migrated. stop ends its process in order.
func open(t *testing.T, url string, clk clock.PassiveClock, mods ...func(*store.Options)) (db *store.DB, stop func()) {
	t.Helper()
	o := store.Options{URL: url, Clock: clk, NewID: newID, Logger: slog.New(slog.DiscardHandler)}
	for _, mod := range mods {
		mod(&o)
	}
	db, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); db.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-db.Migrated():
	case <-time.After(time.Minute):
		t.Fatal("the database is not migrated after a minute")
	}
	return db, stop
}

func opened(t *testing.T, url string) (*store.DB, *clocktesting.FakeClock) {
	t.Helper()
	clk := clocktesting.NewFakeClock(now)
	db, _ := open(t, url, clk)
	return db, clk
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// admitted returns the caller with a new key.
func admitted(
	t *testing.T, env key.Environment, profile *v1alpha1.Profile, mods ...func(*v1alpha1.ApiKey),
) *caller.Caller {
	t.Helper()
	objects := []any{}
	if profile != nil {
		mods = append(mods, authntest.PinnedTo(profile))
		objects = append(objects, profile)
	}
	k, s := authntest.Minted(t, authntest.Format(t), env, mods...)
	x := authntest.Index(t, append(objects, k)...)
	a := authntest.Authenticator(t, x, env, clocktesting.NewFakeClock(authntest.Epoch))
	id, err := authntest.Caller(a, authntest.Epoch, []string{"Bearer " + s})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// viewOf returns what a new key of the whole organization reaches.
func viewOf(t *testing.T, db *store.DB) *store.View { return db.View(admitted(t, key.Live, nil)) }

// write runs a transaction that must succeed.
func write(t *testing.T, v *store.View, do func(*store.Tx) error) {
	t.Helper()
	if err := v.Write(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

var made atomic.Int64

// account returns an account of a profile, as yet unconnected.
func account(profileID string) store.Account {
	return store.Account{
		ID: newID(), ProfileID: profileID, Platform: bluesky.Name, PlatformAccountID: fmt.Sprint("did:plc:", made.Add(1)),
		DisplayName: "Café ☕", TokenExpiresAt: now.Add(time.Hour), CreatedAt: now, UpdatedAt: now,
	}
}

func put(t *testing.T, v *store.View, a store.Account) store.Account {
	t.Helper()
	write(t, v, func(tx *store.Tx) (err error) { a, _, err = tx.PutAccount(a); return err })
	return a
}

func medium(profileID string) store.Media {
	return store.Media{ID: newID(), ProfileID: profileID, ContentType: "image/png", SizeBytes: 1 << 40, SHA256: "ab", CreatedAt: now}
}

func addMedium(t *testing.T, v *store.View, m store.Media) store.Media {
	t.Helper()
	write(t, v, func(tx *store.Tx) error { return tx.AddMedia(m) })
	return m
}

// post returns a queued post for an account, to go in an hour.
func post(a store.Account, mods ...func(*store.Post)) store.Post {
	p := store.Post{
		ID: newID(), BatchID: newID(), ProfileID: a.ProfileID, MadeBy: "key-1", AccountID: a.ID, Platform: a.Platform,
		Status: store.Queued, Text: "hello", ScheduledAt: now.Add(time.Hour), CreatedAt: now,
	}
	for _, mod := range mods {
		mod(&p)
	}
	return p
}

func atOnce(p *store.Post)     { p.ScheduledAt = time.Time{} }
func publishing(p *store.Post) { p.Status, p.ScheduledAt = store.Publishing, time.Time{} }

func with(m ...store.MediaRef) func(*store.Post) { return func(p *store.Post) { p.Media = m } }

func createdAt(at time.Time) func(*store.Post) { return func(p *store.Post) { p.CreatedAt = at } }

func saying(text string) func(*store.Post) { return func(p *store.Post) { p.Text = text } }

func madeWith(keyID string) func(*store.Post) { return func(p *store.Post) { p.MadeBy = keyID } }

func standing(status store.Status) func(p *store.Post) {
	return func(p *store.Post) { p.Status = status }
}

// add adds posts and returns the attempts at those that are publishing.
func add(t *testing.T, v *store.View, posts ...store.Post) (attempts []store.Attempt) {
	t.Helper()
	write(t, v, func(tx *store.Tx) (err error) { attempts, err = tx.AddPosts(posts); return err })
	return attempts
}

func read(t *testing.T, v *store.View, id string) store.Post {
	t.Helper()
	p, err := v.Post(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var failure = platform.Failure{Code: platform.CodeUnavailable, Message: "away"}

// failed is how attempts end that nobody can be asked about.
func failed(l store.Lost) store.Outcome { return store.Outcome{Attempt: l.Attempt, Failure: &failure} }
