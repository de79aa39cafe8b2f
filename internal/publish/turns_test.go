// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestOrganizationsTakeTurns: one has queued ten thousand posts, and all of them go to a platform that does not answer.
// What another queues after that goes out while the first still waits.
func TestOrganizationsTakeTurns(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		hostile := admitted(t)
		other := admitted(t, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f"))
		began, answer := make(chan struct{}, 1000), make(chan struct{})
		to := faulty(func(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
			if c.Text == "slow" {
				began <- struct{}{}
				select {
				case <-answer:
				case <-ctx.Done():
				}
			}
			return platform.Receipt{URI: "at://did:test:alice/app.bsky.feed.post/1", CID: "c"}, nil
		})
		p := start(t, databaseURL, to, func(o *publish.Options) { o.Timeout = 10 * patience })
		p.queueTenThousand(t, databaseURL, hostile, "slow")
		// What it queues now goes behind whatever others have, as it has so much.
		p.queue(t, hostile, time.Time{}, "slow")
		if n := p.count(t, "SELECT priority FROM river_job ORDER BY id DESC LIMIT 1"); n != publish.LastPriority {
			t.Errorf("a job beside ten thousand others of its organization has priority %d, want %d", n, publish.LastPriority)
		}
		defer p.run(t)()
		defer close(answer)
		<-began
		for range 3 { // one after the other, each behind thousands
			posts := p.queue(t, other, time.Time{}, "quick")
			p.await(t, other, posts[0].ID, store.Published)
		}
		if n := p.count(t, "SELECT COUNT(*) FROM posts WHERE text = 'slow' AND status = 'publishing'"); n == 0 || n >= 10 {
			t.Errorf("one organization has %d of 10 workers", n)
		}
		if n := p.count(t, "SELECT COUNT(*) FROM posts WHERE text = 'slow' AND status = 'published'"); n != 0 {
			t.Errorf("%d of the slow posts were published: the others have not waited", n)
		}
	})
}

// TestRemindersTakeTurns: posts whose jobs were lost take the turns of their organization, and no turns of their own:
// one whose posts have jobs, lost ones among them, would else have all workers.
func TestRemindersTakeTurns(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		hostile := admitted(t)
		other := admitted(t, authntest.In("other", "0ac3e000-0000-4000-8000-00000000000f"))
		answer := make(chan struct{})
		to := faulty(func(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
			if c.Text == "slow" {
				select {
				case <-answer:
				case <-ctx.Done():
				}
			}
			return platform.Receipt{URI: "at://did:test:alice/app.bsky.feed.post/1", CID: "c"}, nil
		})
		p := start(t, databaseURL, to, func(o *publish.Options) { o.Timeout = 10 * patience })
		p.Hurry(10*time.Millisecond, time.Hour, time.Second)
		slow := func(first, n int) {
			for i := range n {
				account := connectAs(t, p.db.View(hostile), fmt.Sprintf("did:test:slow-%d", first+i))
				p.add(t, hostile, draft(hostile, account, time.Time{}, "slow"))
			}
		}
		const lost, own = 10, 6
		slow(0, lost)
		p.exec(t, "DELETE FROM river_job")
		slow(lost, own)
		defer p.run(t)()
		defer close(answer)
		await(t, "jobs, and reminders of those that were lost, are at work or have been", func() bool {
			return p.count(t, "SELECT COUNT(*) FROM river_job WHERE attempted_at IS NOT NULL") >= own+4
		})
		post := p.queue(t, other, time.Time{}, "quick")[0]
		p.await(t, other, post.ID, store.Published)
		if n := p.count(t, "SELECT COUNT(*) FROM posts WHERE text = 'slow' AND status = 'publishing'"); n == 0 || n > own {
			t.Errorf("one organization has %d of 10 workers", n)
		}
	})
}

// TestBusyAccountsKeepNoWorkerWaiting: a worker whose account is busy goes on with what the organization has due for
// others. That it is not their jobs which bring them is shown by there being none.
func TestBusyAccountsKeepNoWorkerWaiting(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		who := admitted(t)
		began, answer := make(chan struct{}, 1000), make(chan struct{})
		to := faulty(func(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
			if c.Text == "slow" {
				began <- struct{}{}
				select {
				case <-answer:
				case <-ctx.Done():
				}
			}
			return platform.Receipt{URI: "at://did:test:alice/app.bsky.feed.post/1", CID: "c"}, nil
		})
		p := start(t, databaseURL, to, func(o *publish.Options) { o.Timeout = 10 * patience })
		p.Hurry(time.Hour, time.Hour, time.Second) // no job that is gone is made again
		var quick []store.Post
		for _, name := range []string{"did:test:bob", "did:test:carol", "did:test:dan"} {
			quick = append(quick, draft(who, connectAs(t, p.db.View(who), name), time.Time{}, "quick", "quick")...)
		}
		p.add(t, who, quick)
		p.exec(t, "DELETE FROM river_job")
		slow := p.queue(t, who, time.Time{}, "slow", "slow", "slow", "slow")
		p.run(t)
		<-began
		for _, post := range quick {
			p.await(t, who, post.ID, store.Published)
		}
		if len(began) > 0 {
			t.Error("an account had two of its posts sent at a time")
		}
		close(answer)
		for _, post := range slow { // whose jobs are still theirs
			p.await(t, who, post.ID, store.Published)
		}
	})
}
