// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{
		"", "sqlite:", "sqlite::memory:", "mysql://x", "/a/file", "postgres://u:geheim/nis@h/db", "postgres://u:geheimnis@h:port/db",
		"postgres://u:geheim@h/db?pool_max_conns=3", "postgres://u:geheim@h/db?pool_max_conns=many",
	} {
		o := store.Options{URL: url, Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(slog.DiscardHandler)}
		db, err := store.Open(o)
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", url, err)
		}
		if db != nil {
			_ = db.Close()
		}
	}
	if _, err := store.Open(store.Options{URL: "sqlite:x"}); err == nil {
		t.Error("opened without a clock")
	}
}

// TestPoolSize: the server's connections may be few, or shared with others.
func TestPoolSize(t *testing.T) {
	address := postgres.Start(t)
	for query, want := range map[string]int{"": 16, "pool_max_conns=4": 4, "pool_max_conns=40": 40} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.RawQuery += "&" + query
		db, _ := opened(t, u.String())
		if got := store.Handle(db).Stats().MaxOpenConnections; got != want {
			t.Errorf("%q: %d connections, want %d", query, got, want)
		}
		put(t, viewOf(t, db), account(""))
	}
}

func TestBeforeItIsReachedAllIsUnavailable(t *testing.T) {
	db, err := store.Open(store.Options{
		URL:   "sqlite:" + filepath.Join(t.TempDir(), "no", "such", "folder"),
		Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	everythingIsUnavailable(t, db)
}

// everythingIsUnavailable makes sure of it for one call of each kind.
func everythingIsUnavailable(t *testing.T, db *store.DB) {
	t.Helper()
	v, w := viewOf(t, db), db.Work()
	got := map[string]error{}
	_, got["Post"] = v.Post(t.Context(), newID())
	_, _, got["Posts"] = v.Posts(t.Context(), store.PostFilter{}, store.Page{Limit: 1})
	got["Write"] = v.Write(t.Context(), func(tx *store.Tx) error { _, _, err := tx.PutAccount(account("")); return err })
	_, _, got["Claim"] = v.Claim(t.Context(), request)
	got["Abandon"] = v.Abandon(t.Context(), &store.Claim{})
	_, _, got["Start"] = w.Start(t.Context(), newID())
	_, _, _, got["StartLook"] = w.StartLook(t.Context(), newID())
	_, got["Unsettled"] = v.Unsettled(t.Context(), newID())
	_, got["SettleLost"] = w.SettleLost(t.Context(), failed)
	_, got["Ready"] = w.Ready(t.Context(), newID(), "live")
	_, got["Release"] = w.Release(t.Context(), "bluesky", platform.Wait{})
	_, got["Overdue"] = w.Overdue(t.Context(), now, 1)
	_, got["CountOverdue"] = w.CountOverdue(t.Context(), now, 1)
	_, got["Purge"] = w.Purge(t.Context(), now, 1)
	_, got["CancelQueuedBy"] = w.CancelQueuedBy(t.Context(), "k")
	_, got["Stamp"] = w.Stamp(t.Context())
	_, got["CountSweep"] = w.CountSweep(t.Context())
	_, got["Unreferenced"] = w.Unreferenced(t.Context(), []string{"a"})
	for name, err := range got {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}

func TestPostgreSQLGoesAndComesBack(t *testing.T) {
	server := postgres.StartServer(t)
	said := &records{}
	db, _ := open(t, server.Address, clocktesting.NewFakeClock(now), func(o *store.Options) {
		o.DeadAfter, o.Logger = 5*time.Second, slog.New(said)
	})
	v := viewOf(t, db)
	a := put(t, v, account(""))
	p := post(a)
	add(t, v, p)
	server.Stop(t)
	before := said.count()
	everythingIsUnavailable(t, db)
	until(t, func() bool { return said.count() > before }) // that it could not say that it is alive
	server.Start(t)
	// Each connection of the pool finds out by itself that it is broken, which costs it a call at most.
	await(t, func() error { _, err := v.Post(t.Context(), p.ID); return err })
	await(t, func() error {
		return v.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.CancelPost(p.ID); return err })
	})
	// It says again that it is alive, so that nothing of its is taken for lost.
	running := post(a, publishing)
	add(t, v, running)
	for range 2 {
		last := seenAt(t, server)
		until(t, func() bool { return seenAt(t, server) > last })
	}
	if n, err := db.Work().SettleLost(t.Context(), failed); n != 0 || err != nil {
		t.Errorf("failed %d attempts of a living process, %v", n, err)
	}
}

// seenAt is when the one process of a server's database has last said that it is alive.
func seenAt(t *testing.T, server *postgres.Server) (at int64) {
	t.Helper()
	look, err := sql.Open("pgx", server.Address) // a connection that was not there in the outage
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if err := look.QueryRowContext(t.Context(), "SELECT seen_at FROM processes").Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

// await tries until something succeeds.
func await(t *testing.T, do func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for err := do(); err != nil; err = do() {
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestPostgreSQLThatComesLate(t *testing.T) {
	server := postgres.StartServer(t)
	server.Stop(t)
	records := &records{}
	db, err := store.Open(store.Options{URL: server.Address, Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(records)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); db.Run(ctx) }()
	await(t, func() error {
		if records.count() == 0 {
			return store.ErrUnavailable
		}
		return nil
	})
	everythingIsUnavailable(t, db)
	server.Start(t)
	<-db.Migrated()
	if _, _, err := viewOf(t, db).Claim(t.Context(), request); err != nil {
		t.Error(err)
	}
	cancel()
	<-done
	if n := records.count(); n > 4 { // refused, starting up, ready
		t.Errorf("%d log records", n)
	}
}

// records counts log records.
type records struct {
	slog.Handler
	mu sync.Mutex
	n  int
}

func (*records) Enabled(context.Context, slog.Level) bool { return true }

func (r *records) Handle(context.Context, slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	return nil
}

func (r *records) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func TestSQLiteWithoutSpace(t *testing.T) {
	db, _ := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "db"))
	v := viewOf(t, db)
	a := put(t, v, account(""))
	limit := func(pages int) {
		if _, err := store.Handle(db).ExecContext(t.Context(), "PRAGMA max_page_count = "+map[int]string{1: "1", 2: "1000000"}[pages]); err != nil {
			t.Fatal(err)
		}
	}
	limit(1) // no fewer than it has
	big := post(a, saying(strings.Repeat("x", 1<<20)))
	fill := func(tx *store.Tx) error { _, err := tx.AddPosts([]store.Post{big}); return err }
	if err := v.Write(t.Context(), fill); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("written to a full disk: %v", err)
	}
	if _, err := v.Post(t.Context(), big.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half a post: %v", err)
	}
	limit(2)
	write(t, v, fill)
}

func TestSQLiteFileThatComesLate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	db, err := store.Open(store.Options{URL: "sqlite:" + filepath.Join(dir, "db"), Clock: clocktesting.NewFakeClock(now), NewID: newID, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); db.Run(ctx) }()
	defer func() { cancel(); <-done }()
	time.Sleep(50 * time.Millisecond) // a try or two in vain
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	<-db.Migrated()
	put(t, viewOf(t, db), account(""))
}

func TestContextsThatEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		expired, cancel := context.WithTimeout(t.Context(), -time.Second)
		defer cancel()
		for _, tc := range []struct {
			ctx       context.Context
			want, not error
		}{{canceled, context.Canceled, store.ErrUnavailable}, {expired, store.ErrUnavailable, nil}} {
			_, err := v.Post(tc.ctx, newID())
			_, _, err2 := v.Claim(tc.ctx, request)
			err3 := v.Write(tc.ctx, func(*store.Tx) error { return nil })
			for _, err := range []error{err, err2, err3} {
				if !errors.Is(err, tc.want) || tc.not != nil && errors.Is(err, tc.not) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := v.Write(ctx, func(tx *store.Tx) error {
			cancel()
			_, err := tx.AddPosts([]store.Post{post(account(""))})
			return err
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("cancelled on the way: %v", err)
		}
	})
}

// TestSeveralStartAtOnce has three processes find the same empty database.
func TestSeveralStartAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { open(t, url, clocktesting.NewFakeClock(now)) })
		}
		all.Wait()
	})
}
