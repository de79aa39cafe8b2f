// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// newReplicas are two processes on one database, which know the same keys. The first publishes when it is told to.
func newReplicas(t *testing.T, mods ...func(*parts)) (first *slowly, second *fixture) {
	t.Helper()
	url := databaseURL(t)
	if url == "" {
		url = "sqlite:" + filepath.Join(t.TempDir(), "shared.db")
	}
	first = newSlowly(t, func(c *parts) { publishing(t, c, url) })
	second = newFixture(t, nil, append(mods, func(c *parts) {
		publishing(t, c, url)
		c.Directory, c.Admission.Authenticator = first.index, first.authenticator
	})...)
	return first, second
}

// disown takes every claim from its process, as happens to one that can't tell whether it has begun, or was stopped for
// a while. What it publishes stays its own.
func (f *fixture) disown(t *testing.T, key string) {
	t.Helper()
	check(t, f.config.Store.View(f.admitted(t, key)).Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.SQL().ExecContext(t.Context(), "UPDATE claims SET process_id = ''")
		return err
	}))
}

// Whoever sends a request again to another replica waits for the one that runs it, whether that still has the claim or
// only the posts.
func TestARetryAtAnotherReplica(t *testing.T) { onBoth(t, aRetryAtAnotherReplica) }

func aRetryAtAnotherReplica(t *testing.T) {
	t.Helper()
	for reason, lost := range map[string]bool{"it has the claim": false, "it has lost the claim": true} {
		first, second := newReplicas(t)
		key := first.newKey(t)
		r := hello(key, first.connect(t, key))
		first.begin(r)
		if lost {
			first.disown(t, key)
		}
		w, answered := second.await(r)
		close(first.release)
		done := <-first.first
		<-answered
		if was := w.Header().Get(replayed); done.Code != http.StatusOK || w.Code != done.Code || (was == "true") == lost {
			t.Errorf("%s: first %d %s; again %d, replayed: %q", reason, done.Code, done.Body, w.Code, was)
		}
		if got, want := w.Body.String(), done.Body.String(); got != want {
			t.Errorf("%s: first %s; again %s", reason, want, got)
		}
		if n := first.rows(t, "posts"); n != 1 {
			t.Errorf("%s: %d posts", reason, n)
		}
		again := first.send(r)
		if again.Header().Get(replayed) != "true" || again.Body.String() != done.Body.String() {
			t.Errorf("%s: afterwards %d %s", reason, again.Code, again.Body)
		}
	}
}

// It waits for so long and no longer.
func TestARetryAtAnotherReplicaDoesNotWaitForEver(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		for reason, lost := range map[string]bool{"it has the claim": false, "it has lost the claim": true} {
			first, second := newReplicas(t, func(c *parts) { c.Wait = 1 })
			key := first.newKey(t)
			r := hello(key, first.connect(t, key))
			first.begin(r)
			if lost {
				first.disown(t, key)
			}
			second.refused(t, reason, r, http.StatusConflict, "idempotency_key.in_progress")
			close(first.release)
			checkStatus(t, reason, <-first.first, http.StatusOK)
			if w := second.send(r); w.Code != http.StatusOK {
				t.Errorf("%s: afterwards %d %s", reason, w.Code, w.Body)
			}
		}
	})
}

// A revocation ends the waiting at another replica as it does at the one.
func TestARevocationEndsTheWaitingAtAnotherReplica(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		for reason, lost := range map[string]bool{"it has the claim": false, "it has lost the claim": true} {
			first, second := newReplicas(t)
			k, key := live(t)
			first.index.PutKey(k)
			r := hello(key, first.connect(t, key))
			first.begin(r)
			if lost {
				first.disown(t, key)
			}
			w, answered := second.await(r)
			gone := k.DeepCopy()
			authntest.Deleting(gone)
			first.index.PutKey(gone)
			<-answered
			checkStatus(t, reason, w.ResponseRecorder, http.StatusUnauthorized)
			close(first.release)
			<-first.first
		}
	})
}

// What a process has begun and does not know of is undone by it. Whoever sends the request again meanwhile waits for
// that, and then it runs.
func TestARetryWaitsForTheUndoing(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		first, second := newReplicas(t)
		key := first.newKey(t)
		r := hello(key, first.connect(t, key))
		batchID := first.abandonBegun(t, r)
		w, answered := second.await(r)
		view := first.config.Store.View(first.admitted(t, key))
		check(t, view.Write(t.Context(), func(tx *store.Tx) error { return tx.Undo(batchID) }))
		<-answered
		if got := decode[batch](t, w.Body.String()); w.Code != http.StatusOK || got.Status != "published" || got.ID == batchID {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if n := first.rows(t, "posts"); n != 1 {
			t.Errorf("%d posts", n)
		}
	})
}

// abandonBegun leaves a request as a process does whose connection breaks while it stores the posts: they are there, as
// being published by it, and it does not know.
func (f *fixture) abandonBegun(t *testing.T, r sent) (batchID string) {
	t.Helper()
	view := f.config.Store.View(f.admitted(t, r.key))
	claim, _, err := view.Claim(t.Context(), store.Request{
		IdempotencyKey: r.headers.Get("Idempotency-Key"), Method: r.method, Path: r.target, BodyHash: bodyHash(r),
	})
	check(t, err)
	accounts, _, err := view.Accounts(t.Context(), store.Page{Limit: 1})
	check(t, err)
	p := store.Post{
		ID: newID(), BatchID: newID(), MadeBy: view.Actor(), AccountID: accounts[0].ID,
		Platform: accounts[0].Platform, Status: store.Publishing, Text: "hello", CreatedAt: now,
	}
	check(t, view.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.AddPosts([]store.Post{p}); err != nil {
			return err
		}
		return tx.Begin(claim, p.BatchID)
	}))
	check(t, view.Abandon(t.Context(), claim))
	return p.BatchID
}
