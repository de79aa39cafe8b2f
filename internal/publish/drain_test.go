// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// hasty is a clock that can be put on.
type hasty struct{ by atomic.Int64 }

func (h *hasty) Now() time.Time                  { return time.Now().Add(time.Duration(h.by.Load())) }
func (h *hasty) Since(t time.Time) time.Duration { return h.Now().Sub(t) }

// TestABacklogIsDrained: what an account has due goes out on one reminder, however long it takes, where the posts' own
// jobs do not come. Nothing reminds of it a second time here.
func TestABacklogIsDrained(t *testing.T) {
	for reason, to := range map[string]string{
		"their jobs are lost": "DELETE FROM river_job",
		// As after an account was connected again.
		"their jobs are asleep": "UPDATE river_job SET state = 'scheduled', scheduled_at = '2999-01-01 00:00:00'",
	} {
		t.Run(reason, func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, databaseURL string) {
				clock := &hasty{}
				slow := platformFunc(func(p platform.Publication) platform.Outcome {
					clock.by.Add(int64(time.Minute)) // a job's time is up after each post
					return platform.Published{Receipt: platform.Receipt{URI: "at://" + p.Content.Text}}
				})
				p := start(t, databaseURL, slow, func(o *publish.Options) { o.Clock = clock })
				id := admitted(t)
				posts := p.queue(t, id, time.Time{}, "a", "b", "c", "d", "e")
				p.exec(t, to)
				p.Hurry(0, time.Hour, time.Second)
				if err := p.RequeueOverdue(t.Context()); err != nil {
					t.Fatal(err)
				}
				p.Hurry(24*time.Hour, time.Hour, time.Second)
				p.run(t)
				for _, post := range posts {
					if _, attempts := p.await(t, id, post.ID, store.Published); len(attempts) != 1 {
						t.Errorf("%s: attempts %+v", post.Text, attempts)
					}
				}
			})
		})
	}
}

// TestRemindersDoNotPileUp: one that finds somebody at its account is over. Whoever is there goes on; and as long as
// there is something overdue, upkeep makes one after the other.
func TestRemindersDoNotPileUp(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		began, answer := make(chan struct{}, 10), make(chan struct{})
		to := faulty(func(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
			began <- struct{}{}
			select {
			case <-answer:
			case <-ctx.Done():
			}
			return platform.Receipt{URI: "at://" + c.Text}, nil
		})
		p, id := start(t, databaseURL, to, func(o *publish.Options) { o.Timeout = 10 * patience }), admitted(t)
		posts := p.queue(t, id, time.Time{}, "a", "b", "c")
		p.exec(t, "DELETE FROM river_job")
		p.Hurry(0, time.Hour, time.Second)
		for i := range posts { // each is the first of its account once
			due := time.Now().Add(-time.Duration(i+1) * time.Minute).UnixMicro()
			p.exec(t, fmt.Sprintf("UPDATE posts SET due_at = %d WHERE id = '%s'", due, posts[i].ID))
			if err := p.RequeueOverdue(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.count(t, "SELECT COUNT(*) FROM river_job"); n != len(posts) {
			t.Fatalf("%d reminders, want one of each post", n)
		}
		p.Hurry(24*time.Hour, time.Hour, time.Second)
		p.run(t)
		goOn := sync.OnceFunc(func() { close(answer) })
		defer goOn()
		<-began
		await(t, "the end of the other reminders", func() bool {
			return p.count(t, "SELECT COUNT(*) FROM river_job WHERE state = 'completed'") == len(posts)-1
		})
		goOn()
		for i := range posts {
			if _, attempts := p.await(t, id, posts[i].ID, store.Published); len(attempts) != 1 {
				t.Errorf("attempts %+v", attempts)
			}
		}
	})
}
