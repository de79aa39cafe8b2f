// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// TestNobodyWaitsInACircle: whoever changes several posts, or a post and what is counted, locks them in one order. So
// attempts may end while accounts and keys go, and connections are renewed, and PostgreSQL never has to undo any of it.
func TestNobodyWaitsInACircle(t *testing.T) {
	url := postgres.Start(t)
	direct, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	// It looks for circles sooner than after a second.
	if _, err := direct.ExecContext(t.Context(), `DO $$ BEGIN
EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 10', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	db, stop := open(t, url, clock.RealClock{})
	v := viewOf(t, db)
	const rounds, batches, size = 12, 6, 12
	for round := range rounds {
		a, keyID, batchID := put(t, v, account("")), newID(), newID()
		var outcomes [batches][]store.Outcome
		for b := range outcomes {
			var posts []store.Post
			of := func(p *store.Post) { p.BatchID = batchID }
			if b > 0 {
				of = func(*store.Post) {}
			}
			for range size {
				posts = append(posts, post(a, madeWith(keyID), of), post(a, madeWith(keyID), of, publishing))
			}
			// Not in the order of their ids, which is that of a table that was just written.
			rand.Shuffle(len(posts), func(i, j int) { posts[i], posts[j] = posts[j], posts[i] })
			for i, attempt := range add(t, v, posts...) {
				o := store.Outcome{Attempt: attempt, Failure: &failure}
				if i%2 == 0 { // which is counted: it is queued again
					o.Again = time.Now().Add(time.Hour)
				}
				outcomes[b] = append(outcomes[b], o)
			}
		}
		renewed := a
		renewed.ID = newID()
		tx := func(do func(*store.Tx) error) func() error {
			return func() error { return v.Write(t.Context(), do) }
		}
		all := map[string]func() error{
			"the end of the account": tx(func(tx *store.Tx) error { return tx.DeleteAccount(a.ID) }),
			"the end of the key": func() error {
				_, err := db.Work().CancelQueuedBy(t.Context(), keyID)
				return err
			},
			"the first batch undone": tx(func(tx *store.Tx) error { return tx.Undo(batchID) }),
			"a new connection":       tx(func(tx *store.Tx) error { _, _, err := tx.PutAccount(renewed); return err }),
		}
		for b := range outcomes {
			finish := func() error { return db.Work().Finish(t.Context(), outcomes[b]) }
			if b%2 == 0 {
				finish = tx(func(tx *store.Tx) error { return tx.Finish(outcomes[b]) })
			}
			all[fmt.Sprint("the end of batch ", b)] = finish
		}
		var running sync.WaitGroup
		for what, do := range all {
			running.Go(func() {
				if err := do(); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("round %d, %s: %v", round, what, err)
				}
			})
		}
		running.Wait()
	}
	// A connection tells what it has counted when it ends, at the latest.
	stop()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var deadlocks, others int
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if err := direct.QueryRowContext(t.Context(), `SELECT s.deadlocks, (SELECT COUNT(*) FROM pg_stat_activity AS a
WHERE a.datname = s.datname AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend')
FROM pg_stat_database AS s WHERE s.datname = current_database()`).Scan(&deadlocks, &others); err != nil {
			t.Fatal(err)
		}
		if others == 0 || time.Now().After(deadline) {
			break
		}
	}
	if deadlocks > 0 || others > 0 {
		t.Errorf("PostgreSQL has undone %d transactions that waited for each other; %d connections are open", deadlocks, others)
	}
}
