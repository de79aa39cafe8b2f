// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/media"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// onEachEngine runs a test with each kind of database.
func onEachEngine(t *testing.T, test func(t *testing.T, databaseURL string)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "test.db"))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		test(t, postgres.Start(t))
	})
}

// process is what an API process has of all this.
type process struct {
	*publish.Publisher
	db      *store.DB
	library *media.Library
	folder  string             // of the library
	direct  *sql.DB            // the same database, beside package store
	leave   context.CancelFunc // ends the process as far as the database knows
}

// start starts a process, without its Publisher's Run.
func start(t *testing.T, databaseURL string, to platform.Publisher, mods ...func(*publish.Options)) *process {
	t.Helper()
	return startOn(t, store.Options{URL: databaseURL}, to, mods...)
}

// startOn is start on a database of which a test wants more than its URL.
func startOn(t *testing.T, on store.Options, to platform.Publisher, mods ...func(*publish.Options)) *process {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	on.Clock, on.NewID, on.Logger = clock.RealClock{}, newID, logger
	on.DeadAfter = patience // a process is dead when it says so, not when the machine is slow
	db, err := store.Open(on)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); db.Run(ctx) }()
	folder := t.TempDir()
	library, err := media.Open(t.Context(), "file://"+folder, media.DefaultMaxSize)
	if err != nil {
		t.Fatal(err)
	}
	o := publish.Options{
		Store: db, Media: library, Environment: key.Test, Clock: clock.RealClock{}, Logger: logger,
		Platforms:    platform.List{asBluesky(to)},
		Registerer:   prometheus.NewRegistry(),
		PollInterval: 50 * time.Millisecond,
	}
	for _, mod := range mods {
		mod(&o)
	}
	p, err := publish.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		leave()
		<-ended
		if err := errors.Join(library.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-db.Migrated():
	case <-time.After(patience):
		t.Fatal("the database was not migrated")
	}
	return &process{Publisher: p, db: db, library: o.Media, folder: folder, direct: direct(t, on.URL), leave: leave}
}

// run runs the Publisher until the test ends, or the function that it returns is called, which waits for it.
func (p *process) run(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	end = func() { cancel(); <-ended }
	t.Cleanup(end)
	return end
}

// testWriter writes to a test's log. What is written after its end is dropped.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", line)
	}
	return len(line), nil
}

// newSandbox returns a platform that takes everything.
func newSandbox() platform.Publisher {
	return sandbox.Of(bluesky.Platform, newID, clock.RealClock{}).Publisher
}

// asBluesky returns Bluesky with a publisher of a test's own.
func asBluesky(to platform.Publisher) platform.Platform {
	p := bluesky.Platform
	p.Publisher = to
	return p
}

// admitted returns an identity. Each is another key of the same organization.
func admitted(t *testing.T, mods ...func(*v1alpha1.ApiKey)) *caller.Caller {
	t.Helper()
	k, plaintext := authntest.Minted(t, authntest.Format(t), key.Test, mods...)
	a := authntest.Authenticator(t, authntest.Index(t, k), key.Test, clock.RealClock{})
	id, err := authntest.Caller(a, time.Now(), []string{"Bearer " + plaintext})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// connect connects an account, and returns its id.
func connect(t *testing.T, view *store.View) string {
	t.Helper()
	return connectAs(t, view, "did:test:alice")
}

// connectAs connects an account of somebody, and returns its id.
func connectAs(t *testing.T, view *store.View, who string) string {
	t.Helper()
	var account store.Account
	err := view.Write(t.Context(), func(tx *store.Tx) (err error) {
		account, _, err = tx.PutAccount(store.Account{
			ID: newID(), Platform: bluesky.Name, PlatformAccountID: who, DisplayName: "alice", CreatedAt: time.Now(),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return account.ID
}

// draft makes posts that are still to be added, one of each text, for a time; zero is at once.
func draft(id *caller.Caller, account string, at time.Time, texts ...string) []store.Post {
	posts := make([]store.Post, len(texts))
	batch, now := newID(), time.Now()
	for i, text := range texts {
		posts[i] = store.Post{
			ID: newID(), BatchID: batch, MadeBy: id.Actor.Ref(), AccountID: account, Platform: bluesky.Name,
			Status: store.Queued, Text: text, ScheduledAt: at, CreatedAt: now,
		}
	}
	return posts
}

// queue adds posts, with their jobs.
func (p *process) queue(t *testing.T, id *caller.Caller, at time.Time, texts ...string) []store.Post {
	t.Helper()
	posts := draft(id, connect(t, p.db.View(id)), at, texts...)
	p.add(t, id, posts)
	return posts
}

// add adds posts that are queued, with their jobs.
func (p *process) add(t *testing.T, id *caller.Caller, posts []store.Post) {
	t.Helper()
	err := p.db.View(id).Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.AddPosts(posts); err != nil {
			return err
		}
		return p.Enqueue(t.Context(), tx, posts)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// await waits until a post is settled, and returns it with its attempts.
func (p *process) await(
	t *testing.T, id *caller.Caller, postID string, want store.Status,
) (store.Post, []store.Attempt) {
	t.Helper()
	view := p.db.View(id)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		post, err := view.Post(t.Context(), postID)
		if err != nil {
			t.Fatal(err)
		}
		if post.Status == want {
			attempts, err := view.Attempts(t.Context(), postID)
			if err != nil {
				t.Fatal(err)
			}
			return post, attempts
		}
		if time.Now().After(deadline) {
			t.Fatalf("post %s is %s (%+v), want %s", postID, post.Status, post.Failure, want)
		}
	}
}

// exec does something to the database behind everybody's back.
func (p *process) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := p.direct.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// count asks the database, behind everybody's back, for a number.
func (p *process) count(t *testing.T, query string) (n int) {
	t.Helper()
	if err := p.direct.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// direct opens a database beside package store.
func direct(t *testing.T, databaseURL string) *sql.DB {
	t.Helper()
	driver, name := "pgx", databaseURL
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(60000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// counter is a platform that remembers when it was asked to publish which text.
type counter struct {
	platform.Publisher
	mu  sync.Mutex
	got map[string][]time.Time
}

func newCounter() *counter { return &counter{Publisher: newSandbox(), got: map[string][]time.Time{}} }

func (c *counter) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	c.mu.Lock()
	c.got[p.Content.Text] = append(c.got[p.Content.Text], time.Now())
	c.mu.Unlock()
	return c.Publisher.Publish(ctx, p)
}

// times returns when a text was published.
func (c *counter) times(text string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[text]
}

// faulty is a platform that does as it is told. An error that is a failure is one that the platform gave.
type faulty func(context.Context, platform.Account, platform.Content) (platform.Receipt, error)

func (faulty) Preflight(platform.Content) *platform.Failure { return nil }

func (f faulty) Publish(ctx context.Context, p platform.Publication) (platform.Outcome, error) {
	receipt, err := f(ctx, p.To, p.Content)
	var failure *platform.Failure
	switch {
	case err == nil:
		return platform.Published{Receipt: receipt}, nil
	case errors.As(err, &failure):
		return platform.Rejected{Failure: *failure}, nil
	default:
		return nil, err
	}
}
