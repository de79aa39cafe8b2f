// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

var request = store.Request{IdempotencyKey: "a", Method: "POST", Path: "/v1/posts", BodyHash: "h1"}

// Whoever only looks for an answer is told what Claim tells, in each of these tests.
func claim(t *testing.T, v *store.View, r store.Request) *store.Claim {
	t.Helper()
	if stored, err := v.Answered(t.Context(), r); stored != nil || err != nil {
		t.Errorf("before there is a claim, the answer is %v, %v", stored, err)
	}
	c, stored, err := v.Claim(t.Context(), r)
	if c == nil || stored != nil || err != nil {
		t.Fatalf("claim %v, answer %v, error %v; want a claim", c, stored, err)
	}
	return c
}

func refused(t *testing.T, v *store.View, r store.Request, want error) {
	t.Helper()
	if stored, err := v.Answered(t.Context(), r); stored != nil || !errors.Is(err, want) {
		t.Errorf("answer %v, %v; want %v", stored, err, want)
	}
	if c, stored, err := v.Claim(t.Context(), r); c != nil || stored != nil || !errors.Is(err, want) {
		t.Errorf("claim %v, answer %v, error %v; want %v", c, stored, err, want)
	}
}

func settle(t *testing.T, v *store.View, c *store.Claim, s store.Stored) {
	t.Helper()
	write(t, v, func(tx *store.Tx) error { return tx.Settle(c, s) })
}

func TestClaim(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v := viewOf(t, db)
		c := claim(t, v, request)
		other, unknown := request, request
		other.BodyHash, unknown.BodyHash = "h2", ""
		refused(t, v, request, store.ErrInProgress)
		refused(t, v, unknown, store.ErrInProgress)
		refused(t, v, other, store.ErrMismatch)
		for _, differs := range []store.Request{
			{IdempotencyKey: "b", Method: "POST", Path: "/v1/posts"},
			{IdempotencyKey: "a", Method: "PUT", Path: "/v1/posts"},
			{IdempotencyKey: "a", Method: "POST", Path: "/v1/media"},
			{IdempotencyKey: "a\x00\xff", Method: "POST", Path: "/v1/posts"},
		} {
			claim(t, v, differs)
		}
		claim(t, viewOf(t, db), request) // another key's

		answer := store.Stored{Status: 202, Body: []byte("{\x00\xff}"), BodyHash: "h1"}
		settle(t, v, c, answer)
		for _, r := range []store.Request{request, unknown} {
			if again, stored, err := v.Claim(t.Context(), r); again != nil || err != nil || !cmp.Equal(stored, &answer) {
				t.Errorf("answer %+v, %v", stored, err)
			}
			if stored, err := v.Answered(t.Context(), r); err != nil || !cmp.Equal(stored, &answer) {
				t.Errorf("looked for: %+v, %v", stored, err)
			}
		}
		refused(t, v, other, store.ErrMismatch)
		if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.Settle(c, answer) }); !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("settled twice: %v", err)
		}
		if err := v.Abandon(t.Context(), c); err != nil {
			t.Error(err)
		}
		clk.Step(24*time.Hour - time.Microsecond)
		refused(t, v, other, store.ErrMismatch)
		clk.Step(time.Microsecond)
		claim(t, v, other)
	})
}

// TestClaimsThatWereSurelyNotMade need not be abandoned: there would be one for each request while a database can't
// write.
func TestClaimsThatWereSurelyNotMade(t *testing.T) {
	for reason, spoil := range map[string]func(t *testing.T, url string, db *sql.DB){
		"full":      func(t *testing.T, _ string, db *sql.DB) { execute(t, db, "PRAGMA max_page_count = 1") }, // no fewer than it has
		"read-only": func(t *testing.T, _ string, db *sql.DB) { execute(t, db, "PRAGMA query_only = 1") },
		"locked by somebody else": func(t *testing.T, url string, db *sql.DB) {
			execute(t, db, "PRAGMA busy_timeout = 1")
			other, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:")+"?_txlock=immediate")
			if err != nil {
				t.Fatal(err)
			}
			tx, err := other.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = tx.Rollback(), other.Close() })
		},
	} {
		t.Run("sqlite "+reason, func(t *testing.T) {
			url := "sqlite:" + filepath.Join(t.TempDir(), "db")
			db, _ := opened(t, url)
			v := viewOf(t, db)
			claim(t, v, request) // whatever is prepared for that, is
			spoil(t, url, store.Handle(db))
			notMade(t, v)
		})
	}
	t.Run("postgresql read-only", func(t *testing.T) {
		url := postgres.Start(t)
		db, _ := opened(t, url)
		v := viewOf(t, db)
		var name string
		if err := store.Handle(db).QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		execute(t, store.Handle(db), "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
		store.Handle(db).SetMaxIdleConns(0) // what is set counts for new connections
		notMade(t, v)
	})
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// notMade makes claims until one fails, which must be sure not to be there.
func notMade(t *testing.T, v *store.View) {
	t.Helper()
	for i := range 1000 {
		c, _, err := v.Claim(t.Context(), store.Request{IdempotencyKey: fmt.Sprint(i), Method: "POST", Path: "/v1/posts"})
		switch {
		case err == nil:
			continue
		case c != nil || !errors.Is(err, store.ErrUnavailable):
			t.Errorf("claim %v, error %v", c, err)
		}
		return
	}
	t.Error("the database takes claims")
}

func TestAbandonedClaims(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, _ := opened(t, url)
		v := viewOf(t, db)
		c := claim(t, v, request)
		if err := v.Abandon(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		c = claim(t, v, request)
		write(t, v, func(tx *store.Tx) error { return tx.Begin(c, "batch-1") })
		refused(t, v, request, store.ErrInProgress)
		if err := v.Abandon(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if taken := claim(t, v, request); taken.BatchID != "batch-1" {
			t.Errorf("what was begun may be run again: %+v", taken)
		}
		if err := v.Write(t.Context(), func(tx *store.Tx) error { return tx.Settle(c, store.Stored{}) }); !errors.Is(err, store.ErrClaimLost) {
			t.Errorf("settled a claim that was taken over: %v", err)
		}
	})
}

func TestClaimsOfDeadProcesses(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		dying, stop := open(t, url, clocktesting.NewFakeClock(now))
		who := admitted(t, key.Live, nil)
		theirs, v := dying.View(who), db.View(who)
		second, other := request, request
		second.IdempotencyKey, other.BodyHash = "b", "h2"
		fresh, begun := claim(t, theirs, request), claim(t, theirs, second)
		write(t, theirs, func(tx *store.Tx) error { return tx.Begin(begun, "batch-1") })
		refused(t, v, request, store.ErrInProgress)
		stop()
		refused(t, v, other, store.ErrMismatch)
		if c := claim(t, v, request); c.BatchID != "" {
			t.Errorf("not begun, and has a batch: %+v", c)
		}
		if c := claim(t, v, second); c.BatchID != "batch-1" {
			t.Errorf("begun: %+v", c)
		}
		refused(t, v, second, store.ErrInProgress)
		for _, do := range []func(*store.Tx) error{
			func(tx *store.Tx) error { return tx.Begin(fresh, "batch-2") },
			func(tx *store.Tx) error { return tx.Settle(begun, store.Stored{}) },
		} {
			if err := theirs.Write(t.Context(), do); !errors.Is(err, store.ErrClaimLost) {
				t.Errorf("a claim that was taken over is still good: %v", err)
			}
		}
		clk.Step(48 * time.Hour)
		if n, err := db.Work().Purge(t.Context(), clk.Now(), 10); n != 0 || err != nil {
			t.Errorf("purged %d claims of the living, %v", n, err)
		}
	})
}

func TestPurge(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		db, clk := opened(t, url)
		v := viewOf(t, db)
		for _, k := range []string{"a", "b", "c"} {
			settle(t, v, claim(t, v, store.Request{IdempotencyKey: k}), store.Stored{Status: 200})
		}
		clk.Step(time.Hour)
		settle(t, v, claim(t, v, store.Request{IdempotencyKey: "late"}), store.Stored{Status: 200})
		for _, tc := range []struct{ limit, want int }{{2, 2}, {2, 1}, {2, 0}} {
			if n, err := db.Work().Purge(t.Context(), now.Add(24*time.Hour), tc.limit); n != tc.want || err != nil {
				t.Errorf("purged %d, %v, want %d", n, err, tc.want)
			}
		}
		if _, stored, err := v.Claim(t.Context(), store.Request{IdempotencyKey: "late"}); stored == nil || err != nil {
			t.Errorf("purged too early: %v", err)
		}
	})
}

// TestClaimIsExactUnderConcurrency has 200 at two processes claim one request, and again once its process is dead.
func TestClaimIsExactUnderConcurrency(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		one, _ := opened(t, url)
		two, _ := opened(t, url)
		dying, stop := open(t, url, clocktesting.NewFakeClock(now))
		who := admitted(t, key.Live, nil)
		old := store.Request{IdempotencyKey: "old", BodyHash: "h"}
		claim(t, dying.View(who), old)
		stop()
		for _, r := range []store.Request{request, old} {
			won := race(t, func(ctx context.Context, i int) error {
				_, _, err := []*store.DB{one, two}[i%2].View(who).Claim(ctx, r)
				return err
			}, store.ErrInProgress)
			if won != 1 {
				t.Errorf("%s: %d have it, want one", r.IdempotencyKey, won)
			}
		}
	})
}

func TestStartIsExactUnderConcurrency(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		one, _ := opened(t, url)
		two, _ := opened(t, url)
		v := viewOf(t, one)
		p := post(put(t, v, account("")), atOnce)
		add(t, v, p)
		won := race(t, func(ctx context.Context, i int) error {
			_, _, err := []*store.DB{one, two}[i%2].Work().Start(ctx, p.ID)
			return err
		}, store.ErrState)
		attempts, err := v.Attempts(t.Context(), p.ID)
		if won != 1 || len(attempts) != 1 || err != nil {
			t.Errorf("%d have started it, with %d attempts, %v; want one", won, len(attempts), err)
		}
	})
}

// race lets 200 goroutines do something at once, and returns how many had no error. lost is what the others may have.
func race(t *testing.T, do func(ctx context.Context, i int) error, lost error) int {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 200 {
		all.Go(func() {
			<-start
			switch err := do(t.Context(), i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lost):
				t.Errorf("goroutine %d: %v", i, err)
			}
		})
	}
	close(start)
	all.Wait()
	return int(won.Load())
}
