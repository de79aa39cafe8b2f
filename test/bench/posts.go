// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// benchPosts measures the publishing API on SQLite, each figure beside what the database alone takes.
func benchPosts(ctx context.Context, r *report) error {
	s, err := newStage(ctx, 1)
	if err != nil {
		return err
	}
	defer s.close()
	api, err := serveOn(ctx, s.api)
	if err != nil {
		return err
	}
	defer api.stop()
	b := &postBench{stage: s, server: api, view: s.store.View(s.caller)}
	if err := b.connect(ctx); err != nil {
		return err
	}
	if err := errors.Join(b.creates(ctx, r), b.fill(ctx)); err != nil {
		return err
	}
	return errors.Join(b.gets(ctx, r), b.pages(ctx, r), b.searches(ctx, r))
}

type postBench struct {
	*stage
	server  *server
	view    *store.View
	account store.Account
	ids     []string // of the posts that fill has written
}

func (b *postBench) connect(ctx context.Context) error {
	now := time.Now()
	return b.view.Write(ctx, func(tx *store.Tx) (err error) {
		b.account, _, err = tx.PutAccount(store.Account{
			ID: newID(), Platform: bluesky.Name, PlatformAccountID: "did:sandbox:bench", CreatedAt: now, UpdatedAt: now,
		})
		return err
	})
}

// post is one for the account, as the API makes it.
func (b *postBench) post() store.Post {
	now := time.Now()
	return store.Post{
		ID: newID(), BatchID: newID(), MadeBy: b.caller.Actor.Ref(), AccountID: b.account.ID, Platform: b.account.Platform,
		Status: store.Publishing, Text: "A text of some length, as posts have one.", CreatedAt: now, UpdatedAt: now,
	}
}

// publish is the transaction that publishing takes at least: the posts, their attempts, and how those ended.
func (b *postBench) publish(ctx context.Context, posts []store.Post) error {
	return b.view.Write(ctx, func(tx *store.Tx) error {
		attempts, err := tx.AddPosts(posts)
		if err != nil {
			return err
		}
		outcomes := make([]store.Outcome, len(attempts))
		for i, a := range attempts {
			outcomes[i] = store.Outcome{
				Attempt: a,
				Receipt: platform.Receipt{URI: "at://did:plc:bench/app.bsky.feed.post/" + a.PostID, CID: a.ID},
			}
		}
		return tx.Finish(outcomes)
	})
}

// send sends a request to publish, and returns the id of the post.
func (b *postBench) send(ctx context.Context, idempotencyKey string) (string, error) {
	body := fmt.Sprintf(`{"targets":[{"accountId":%q}],"text":"A text of some length, as posts have one."}`, b.account.ID)
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		"http://"+b.server.address+"/v1/posts",
		bytes.NewReader([]byte(body)),
	)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+b.plaintext)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", idempotencyKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST /v1/posts: %s %s %w", resp.Status, answer, err)
	}
	var batch struct {
		Results []struct{ PostID string }
	}
	if err := json.Unmarshal(answer, &batch); err != nil || len(batch.Results) != 1 {
		return "", fmt.Errorf("POST /v1/posts: %s %w", answer, err)
	}
	return batch.Results[0].PostID, nil
}

// creates measures a request to publish, its replay, and the bare transaction, in turns.
func (b *postBench) creates(ctx context.Context, r *report) error {
	const times = 300
	var first, replay, bare []time.Duration
	timed := func(into *[]time.Duration, do func() error) error {
		began := time.Now()
		err := do()
		*into = append(*into, time.Since(began))
		return err
	}
	for i := range times {
		idempotencyKey := "bench-" + strconv.Itoa(i)
		send := func() error {
			_, err := b.send(ctx, idempotencyKey)
			return err
		}
		if err := errors.Join(
			timed(&bare, func() error { return b.publish(ctx, []store.Post{b.post()}) }),
			timed(&first, send), timed(&replay, send),
		); err != nil {
			return err
		}
	}
	f, again, alone := percentile(first, 50), percentile(replay, 50), percentile(bare, 50)
	r.atMost("POST /v1/posts: p50 / the bare transaction", float64(f)/float64(alone), 3, "x",
		fmt.Sprintf("%.2f ms, %.2f ms", milliseconds(f), milliseconds(alone)))
	r.atMost("replay of a stored answer: p50 / first execution", float64(again)/float64(f), 0.5, "x",
		fmt.Sprintf("%.2f ms", milliseconds(again)))
	return nil
}

// gets measures GET /v1/posts/{id} beside the queries that it makes, both as often as possible, on posts here and there
// among 100,000; the best of each counts. This process has one processor meanwhile, and the client, a process of its
// own, another: on the same one it would count as the server's. The client never sleeps, because whoever answers a
// sleeping one pays for waking it.
func (b *postBench) gets(ctx context.Context, r *report) error {
	const some, length = 1000, time.Second
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ids, paths []string
	for i := range some {
		id := b.ids[i*7919%len(b.ids)] // a prime: no two neighbours
		ids, paths = append(ids, id), append(paths, "/v1/posts/"+id)
	}
	var asked, queried float64 // a second
	for range 2 * rounds {
		q, err := b.query(ctx, ids, length)
		if err != nil {
			return err
		}
		a, err := b.server.ask(ctx, paths, b.plaintext, length)
		if err != nil {
			return err
		}
		asked, queried = max(asked, a), max(queried, q)
	}
	r.atLeast("GET /v1/posts/{id}: requests/s / its queries alone", asked/queried, 0.6, "x",
		fmt.Sprintf("%.0f/s, %.0f/s on one processor, the client on another", asked, queried))
	return nil
}

// query makes the queries of a GET as often as possible, and returns how often in a second.
func (b *postBench) query(ctx context.Context, ids []string, length time.Duration) (float64, error) {
	var answered atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	began := time.Now()
	for c := range connections {
		running.Go(func() {
			for i := c * len(ids) / connections; time.Since(began) < length; i++ {
				id := ids[i%len(ids)]
				_, err := b.view.Post(ctx, id)
				if err == nil {
					_, err = b.view.Attempts(ctx, id)
				}
				if err != nil {
					failed.Store(&err)
					return
				}
				answered.Add(1)
				// As after a request. Otherwise what a query has started for its context waits for the processor by the hundred.
				runtime.Gosched()
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(answered.Load()) / time.Since(began).Seconds(), nil
}

// fill writes 100,000 posts that were published at once, by one attempt each.
func (b *postBench) fill(ctx context.Context) error {
	const posts, batch = 100_000, 500
	progress("writing %d posts", posts)
	for range posts / batch {
		var some []store.Post
		for range batch {
			some = append(some, b.post())
		}
		if err := b.publish(ctx, some); err != nil {
			return err
		}
		for _, p := range some {
			b.ids = append(b.ids, p.ID)
		}
	}
	return nil
}

// pages measures the first page of 100,000 posts and the thousandth.
func (b *postBench) pages(ctx context.Context, r *report) error {
	const limit, page = 100, 1000
	first := "/v1/posts?limit=" + strconv.Itoa(limit)
	last := first
	for range page - 1 {
		next, err := b.page(ctx, last)
		if err != nil {
			return err
		}
		last = first + "&cursor=" + next
	}
	var ratios []float64
	for range rounds {
		at1, err := b.server.load(ctx, first, b.plaintext, time.Second)
		if err != nil {
			return err
		}
		at1000, err := b.server.load(ctx, last, b.plaintext, time.Second)
		if err != nil {
			return err
		}
		ratios = append(ratios, at1/at1000)
	}
	r.atMost("GET /v1/posts: page 1,000 of 100,000 posts / page 1", median(ratios), 1.5, "x", "time of a page of 100")
	return nil
}

// page asks for a page, and returns the cursor of the next one.
func (b *postBench) page(ctx context.Context, path string) (string, error) {
	next, err := b.get(ctx, path)
	if err == nil && next == nil {
		err = fmt.Errorf("GET %s: no next page", path)
	}
	if err != nil {
		return "", err
	}
	return *next, nil
}

// get asks for a page, and returns the cursor of the next one; nil: it is the last.
func (b *postBench) get(ctx context.Context, path string) (*string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.server.address+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.plaintext)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ NextCursor *string }
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s, %w", path, resp.Status, err)
	}
	return answer.NextCursor, nil
}

// searches measures a page of a search among 100,000 posts: for what is in all of them, in some, and in none, where a
// page looks at as many as it may.
func (b *postBench) searches(ctx context.Context, r *report) error {
	const each = 50
	var took []time.Duration
	for i := range each {
		for _, q := range []string{"LENGTH", "posts%20have%20one.", "zebra-" + strconv.Itoa(i)} {
			began := time.Now()
			if _, err := b.get(ctx, "/v1/posts?q="+q); err != nil {
				return err
			}
			took = append(took, time.Since(began))
		}
	}
	r.atMost("GET /v1/posts?q=: a page, 100,000 posts, p95", milliseconds(percentile(took, 95)), 20, " ms",
		fmt.Sprintf("p50 %.2f ms", milliseconds(percentile(took, 50))))
	pages, began := 0, time.Now()
	for cursor := ""; ; pages++ {
		next, err := b.get(ctx, "/v1/posts?q=zebra"+cursor)
		if err != nil {
			return err
		}
		if next == nil {
			break
		}
		cursor = "&cursor=" + *next
	}
	r.plain("GET /v1/posts?q=: pages until 100,000 posts are looked at", float64(pages+1), "",
		fmt.Sprintf("in %.0f ms, of what none of them has", milliseconds(time.Since(began))))
	return nil
}
