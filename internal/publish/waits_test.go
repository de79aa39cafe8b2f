// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestWaitsForAnotherSetting: what is held because of how this server is set goes out once a process is set otherwise,
// and not before. What is held for another reason stays.
func TestWaitsForAnotherSetting(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		var mu sync.Mutex
		had := map[string]string{"by the setting": "version 1 of it", "by itself": "not now"}
		to := platformFunc(func(p platform.Publication) platform.Outcome {
			mu.Lock()
			defer mu.Unlock()
			why := platform.Failure{Code: platform.CodeUnavailable, Rule: "its.version", Message: had[p.Content.Text]}
			if p.Content.Text == "by itself" {
				why.Rule = "its.own"
			}
			if why.Message == "" {
				return platform.Published{Receipt: platform.Receipt{URI: "at://" + p.Content.Text}}
			}
			return platform.NotTaken{Failure: why, NotBefore: time.Now().Add(time.Hour)}
		})
		set := func(setting string) func(*publish.Options) {
			return func(o *publish.Options) {
				o.Platforms[0].Waits = &platform.Wait{Rule: "its.version", Setting: setting}
			}
		}
		a, id := start(t, databaseURL, to, set("version 1 of it")), admitted(t)
		var posts []store.Post
		for i, text := range []string{"by the setting", "by itself"} {
			account := connectAs(t, a.db.View(id), fmt.Sprint("did:test:", i))
			posts = append(posts, draft(id, account, time.Time{}, text)...)
		}
		a.add(t, id, posts)
		held := func() int { return a.count(t, "SELECT COUNT(*) FROM posts WHERE status = 'queued' AND not_before > 0") }
		end := a.run(t)
		await(t, "two posts that are held", func() bool { return held() == 2 })
		if err := a.Release(t.Context()); err != nil || held() != 2 {
			t.Errorf("%d are held, %v: a process lets go what it has found itself", held(), err)
		}
		end()

		mu.Lock()
		clear(had)
		mu.Unlock()
		b := start(t, databaseURL, to, set("version 2 of it"))
		b.Hurry(0, time.Hour, time.Second)
		b.HurryUpkeep(20 * time.Millisecond)
		b.run(t)
		b.await(t, id, posts[0].ID, store.Published)
		if held() != 1 {
			t.Errorf("%d are held, want the one that waits for its platform", held())
		}
	})
}

// platformFunc is a platform that answers as it does.
type platformFunc func(platform.Publication) platform.Outcome

func (platformFunc) Preflight(platform.Content) *platform.Failure { return nil }

func (f platformFunc) Publish(_ context.Context, p platform.Publication) (platform.Outcome, error) {
	return f(p), nil
}
