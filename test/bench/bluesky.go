// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/outbound"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// How much is drained: as many posts of as many accounts, and how many the bare client writes to compare with.
const (
	drainedPosts    = 10_000
	drainedAccounts = 100
	barePosts       = 2_000
	// drainers is how many of its workers a replica lets one organization have.
	drainers = 6
)

// benchBluesky measures publishing to a real server of Bluesky's protocol, beside what that server takes by itself.
func benchBluesky(ctx context.Context, r *report) error {
	server, err := pds.Start(context.WithoutCancel(ctx), pds.Options{})
	if err != nil {
		return err
	}
	defer server.Stop()
	to, err := blueskyAt(server)
	if err != nil {
		return err
	}
	keyset, err := vault.NewKeyset()
	if err != nil {
		return err
	}
	s, err := newStageOf(ctx, 1, platform.List{to}, keyset)
	if err != nil {
		return err
	}
	defer s.close()
	api, err := serveOn(ctx, s.api)
	if err != nil {
		return err
	}
	defer api.stop()
	b := &blueskyBench{
		postBench: &postBench{stage: s, server: api, view: s.store.View(s.caller)},
		to:        to, pds: server, keys: syntax.NewTIDClock(1),
	}
	progress("connecting %d accounts to a PDS", drainedAccounts)
	for range drainedAccounts {
		if err := b.join(ctx); err != nil {
			return err
		}
	}
	return errors.Join(b.one(ctx, r), b.drain(ctx, r))
}

// blueskyAt is Bluesky on a server of loopback.
func blueskyAt(server *pds.Server) (to platform.Platform, err error) {
	var allowed []outbound.Exception
	for _, text := range []string{server.URL, server.PLCURL} {
		u, err := url.Parse(text)
		if err != nil {
			return to, err
		}
		e, err := outbound.ParseException(u.Host)
		if err != nil {
			return to, err
		}
		allowed = append(allowed, e)
	}
	return bluesky.New(bluesky.Config{
		Guard: outbound.NewGuard(allowed...), PLCURL: server.PLCURL, Clock: clock.RealClock{},
		Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	}), nil
}

type blueskyBench struct {
	*postBench
	to     platform.Platform
	pds    *pds.Server
	keys   *syntax.TIDClock // of records of the bare client
	owners []*pds.Account
	joined []store.Account
}

// join makes an account and connects it, as POST /v1/accounts/connect/bluesky/complete does.
func (b *blueskyBench) join(ctx context.Context) error {
	owner, err := b.pds.NewAccount(ctx)
	if err != nil {
		return err
	}
	c, err := b.to.Connector.Complete(ctx, platform.ConnectionAnswer{Credentials: map[string]string{
		platform.FieldIdentifier: owner.DID, platform.SecretAppPassword: owner.AppPassword, bluesky.FieldPDSURL: b.pds.URL,
	}})
	if err != nil {
		return err
	}
	now := time.Now()
	var account store.Account
	err = b.view.Write(ctx, func(tx *store.Tx) (err error) {
		if account, _, err = tx.PutAccount(store.Account{
			ID: newID(), Platform: b.to.Name, PlatformAccountID: c.PlatformAccountID, RefreshAt: c.RefreshAt,
			CreatedAt: now, UpdatedAt: now,
		}); err != nil {
			return err
		}
		sealed, err := b.connections.Seal(tx.Organization(), account.ID, c.Secrets)
		if err != nil {
			return err
		}
		return tx.PutSecrets(account.ID, sealed)
	})
	b.owners, b.joined = append(b.owners, owner), append(b.joined, account)
	return err
}

// putBare writes a record as an account's owner, and nothing else.
func (b *blueskyBench) putBare(ctx context.Context, owner *pds.Account) error {
	return owner.Call(ctx, "com.atproto.repo.putRecord", map[string]any{
		"repo": owner.DID, "collection": "app.bsky.feed.post", "rkey": b.keys.Next().String(),
		"record": map[string]any{
			"$type": "app.bsky.feed.post", "text": "A text of some length, as posts have one.",
			"createdAt": time.Now().UTC().Format(time.RFC3339Nano),
		},
	}, nil)
}

// one measures a request that publishes a text, and the server's own putRecord, in turns: several times by each
// account, since what opens it is looked up and unsealed for the first.
func (b *blueskyBench) one(ctx context.Context, r *report) error {
	const times = 6 * drainedAccounts
	var published, bare []time.Duration
	for i := range times {
		b.account = b.joined[i%len(b.joined)]
		began := time.Now()
		if err := b.putBare(ctx, b.owners[i%len(b.owners)]); err != nil {
			return err
		}
		bare, began = append(bare, time.Since(began)), time.Now()
		if _, err := b.send(ctx, newID()); err != nil {
			return err
		}
		published = append(published, time.Since(began))
	}
	p, alone := percentile(published, 50), percentile(bare, 50)
	r.atMost("POST /v1/posts to a PDS: p50 / its own putRecord", float64(p)/float64(alone), 1.3, "x",
		fmt.Sprintf("%.2f ms, %.2f ms", milliseconds(p), milliseconds(alone)))
	return nil
}

// drain measures how fast posts that are due go out, and how fast the server takes records of as many clients at once:
// half of those before and half of them after, as the drain takes long and the machine has other work.
func (b *blueskyBench) drain(ctx context.Context, r *report) error {
	before, err := b.bare(ctx, barePosts/2)
	if err != nil {
		return err
	}
	due := time.Now().Add(-time.Second)
	progress("queueing %d posts of %d accounts", drainedPosts, drainedAccounts)
	for i := range drainedAccounts {
		posts := make([]store.Post, drainedPosts/drainedAccounts)
		for n := range posts {
			b.account = b.joined[i]
			posts[n] = b.post()
			posts[n].Status, posts[n].Text = store.Queued, fmt.Sprintf("post %04d", n)
			posts[n].ScheduledAt = due.Add(time.Duration(n) * time.Millisecond)
		}
		if err := b.view.Write(ctx, func(tx *store.Tx) error {
			if _, err := tx.AddPosts(posts); err != nil {
				return err
			}
			return b.publisher.Enqueue(ctx, tx, posts)
		}); err != nil {
			return err
		}
	}
	progress("draining them")
	running, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() { b.publisher.Run(running) })
	began := time.Now()
	err = b.awaitDrained(ctx)
	took := time.Since(began)
	stop()
	ended.Wait()
	if err != nil {
		return err
	}
	after, err := b.bare(ctx, barePosts/2)
	if err != nil {
		return err
	}
	rate, bare := float64(drainedPosts)/took.Seconds(), barePosts/(before+after).Seconds()
	r.atLeast("due posts of 100 accounts / records of a bare client", rate/bare, 0.8, "x",
		fmt.Sprintf("%.0f/s, %.0f/s, %d at a time; %d posts", rate, bare, drainers, drainedPosts))
	return b.checkOrder(ctx)
}

// bare is how long the server takes for so many records.
func (b *blueskyBench) bare(ctx context.Context, records int) (time.Duration, error) {
	progress("writing %d records as a bare client", records)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var running sync.WaitGroup
	began := time.Now()
	for range drainers {
		running.Go(func() {
			for n := int(next.Add(1)); n <= records && failed.Load() == nil; n = int(next.Add(1)) {
				if err := b.putBare(ctx, b.owners[n%len(b.owners)]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	running.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(began), nil
}

// awaitDrained waits until nothing is queued.
func (b *blueskyBench) awaitDrained(ctx context.Context) error {
	for deadline := time.Now().Add(15 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		left := 0
		for _, status := range []string{string(store.Queued), string(store.Publishing)} {
			posts, _, err := b.view.Posts(ctx, store.PostFilter{Statuses: []string{status}}, store.Page{Limit: 1})
			if err != nil {
				return err
			}
			left += len(posts)
		}
		if left == 0 {
			return nil
		}
	}
	return errors.New("the posts did not go out in a quarter of an hour")
}

// checkOrder makes sure that the newest posts of some accounts were sent in their order.
func (b *blueskyBench) checkOrder(ctx context.Context) error {
	for _, owner := range b.owners[:10] {
		records, err := owner.Posts(ctx)
		if err != nil {
			return err
		}
		sent := map[string]string{} // by text
		for _, record := range records {
			var post struct{ Text, CreatedAt string }
			if err := json.Unmarshal(record.Value, &post); err != nil {
				return err
			}
			if strings.HasPrefix(post.Text, "post ") {
				sent[post.Text] = post.CreatedAt
			}
		}
		last := ""
		for _, text := range slices.Sorted(maps.Keys(sent)) {
			if sent[text] < last {
				return fmt.Errorf("%s: %s was sent before one that comes first", owner.Handle, text)
			}
			last = sent[text]
		}
	}
	return nil
}
