// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s", what, patience)
		}
	}
}

// answered has a request answered, under an Idempotency-Key.
func (p *process) answered(t *testing.T, view *store.View, key string) {
	t.Helper()
	c, _, err := view.Claim(t.Context(), store.Request{IdempotencyKey: key, Method: "POST", Path: "/v1/posts"})
	if err != nil {
		t.Fatal(err)
	}
	if err := view.Write(t.Context(), func(tx *store.Tx) error { return tx.Settle(c, store.Stored{Status: 200}) }); err != nil {
		t.Fatal(err)
	}
}

// TestUpkeep: a Publisher that runs does by itself, again and again, what other tests here call.
func TestUpkeep(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		to := newCounter()
		p, id := start(t, databaseURL, to), admitted(t)
		view := p.db.View(id)
		p.Hurry(0, time.Hour, time.Second)
		p.HurryUpkeep(100 * time.Millisecond)
		lost := p.queue(t, id, time.Now().Add(time.Hour), "lost")[0]
		p.run(t)
		await(t, "the first sweep", func() bool { return p.has(t, marker) })

		t.Run("answers of yesterday are purged", func(t *testing.T) {
			p.answered(t, view, "yesterday")
			p.exec(t, "UPDATE claims SET settled_at = settled_at - 86400000000")
			p.answered(t, view, "today")
			await(t, "the purge", func() bool { return p.count(t, "SELECT count(*) FROM claims") == 1 })
			if _, stored, err := view.Claim(t.Context(), store.Request{IdempotencyKey: "today", Method: "POST", Path: "/v1/posts"}); stored == nil {
				t.Errorf("today's is gone: %v", err)
			}
		})
		t.Run("files that belong to nothing are deleted", func(t *testing.T) {
			orphan, old := p.upload(t, id, "b", false), time.Now().Add(-2*time.Hour)
			if err := os.Chtimes(filepath.Join(p.folder, orphan), old, old); err != nil {
				t.Fatal(err)
			}
			await(t, "the sweep", func() bool { return !p.has(t, orphan) })
		})
		t.Run("a post that has lost its job gets another", func(t *testing.T) {
			p.exec(t, "DELETE FROM river_job")
			p.exec(t, "UPDATE posts SET scheduled_at = 1, due_at = 1")
			_, attempts := p.await(t, id, lost.ID, store.Published)
			if len(attempts) != 1 || len(to.times("lost")) != 1 {
				t.Errorf("attempts %+v, published %v", attempts, to.times("lost"))
			}
		})
	})
}

// TestPurgeIsThorough: more than are deleted at a time go in one pass.
func TestPurgeIsThorough(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		p := start(t, databaseURL, newSandbox())
		p.exec(t, `INSERT INTO claims (id, organization_id, environment, key_id, owner, process_id, body_hash, batch_id, claimed_at, begun_at, settled_at, status)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT 'old-' || i, 'o', 'test', 'k', 'w', 'p', '', '', 1, 1, 1, 200 FROM n`)
		p.run(t)
		await(t, "the purge", func() bool { return p.count(t, "SELECT count(*) FROM claims") == 0 })
	})
}
