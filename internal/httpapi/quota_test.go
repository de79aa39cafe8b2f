// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// filling is how a quota is filled, and how there comes to be room again.
type filling struct {
	room int64 // the quota
	// take sends what takes one of it. n tells each from the others.
	take func(key, account string, n int) sent
	// give undoes one of those that were let in, by the answer to it; nil: nothing does.
	give func(key string, answer string) sent
}

func completing(key, _ string, n int) sent {
	return sent{
		method: http.MethodPost, target: "/v1/accounts/connect/bluesky/complete", key: key,
		body: fmt.Sprintf(`{"identifier":"quota-%d.test","appPassword":"hunter2"}`, n),
	}
}

func deleting(path string) func(key, answer string) sent {
	return func(key, answer string) sent {
		return sent{method: http.MethodDelete, target: path + idIn(answer, `"id":"`), key: key}
	}
}

func idIn(answer, after string) string {
	_, rest, _ := strings.Cut(answer, after)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// fillings has all resources, and for each all ways to take it.
func fillings(t testing.TB) map[store.Resource][]filling {
	file := picture(t, 3)
	uploading := func(key, _ string, _ int) sent { return uploadOf(key, file) }
	text := strings.Repeat("x", 100)
	return map[store.Resource][]filling{
		store.Posts: {
			{3, func(key, account string, n int) sent {
				return publication(key, `{"accountId":"`+account+`"}`, fmt.Sprintf(`,"text":"at once %d"`, n))
			}, nil},
		},
		store.QueuedPosts: {
			{3, func(key, account string, n int) sent {
				return publication(key, `{"accountId":"`+account+`"}`, fmt.Sprintf(`,"text":"%d","scheduledAt":"%s"`, n, later))
			}, func(key, answer string) sent {
				return sent{method: http.MethodDelete, target: "/v1/posts/" + idIn(answer, `"postId":"`), key: key}
			}},
		},
		store.MediaFiles: {{3, uploading, deleting("/v1/media/")}},
		store.Bytes: {
			{3 * int64(len(file)), uploading, deleting("/v1/media/")},
			{300, func(key, account string, n int) sent {
				return publication(key, `{"accountId":"`+account+`"}`, fmt.Sprintf(`,"text":"%s%d"`, text[1:], n))
			}, nil},
		},
		store.Accounts: {{3, completing, deleting("/v1/accounts/")}},
	}
}

// TestQuotas fills each quota, by each way to do so, and looks at what whoever has no room left can do, and is told.
func TestQuotas(t *testing.T) { onBoth(t, quotasFilled) }

func quotasFilled(t *testing.T) {
	t.Helper()
	defer func() { quotas = nil }()
	all := fillings(t)
	for _, resource := range store.Resources {
		if len(all[resource]) == 0 {
			t.Errorf("%s is not tried", resource)
		}
		for i, fill := range all[resource] {
			t.Run(fmt.Sprint(resource, i), func(t *testing.T) { fillQuota(t, resource, fill) })
		}
	}
}

func fillQuota(t *testing.T, resource store.Resource, fill filling) {
	t.Helper()
	quotas = store.Amounts{resource: fill.room}
	published := 0
	k, key := live(t)
	profile := authntest.Profile()
	pinned, pinnedKey := live(t, authntest.PinnedTo(profile))
	other, otherKey := live(t, globex)
	f := newFixture(t, []any{k, profile, pinned, other}, playing(t, &played{publish: func() error { published++; return nil }}))
	account := f.connect(t, key)

	var answers []string
	take := func(n int) sent {
		return fill.take(key, account, n).with("Idempotency-Key", fmt.Sprint("quota-", n))
	}
	taken := 3
	if resource == store.Accounts {
		taken = 2 // there is one
	}
	for n := range taken {
		w := f.send(take(n))
		if w.Code >= http.StatusMultipleChoices {
			t.Fatalf("number %d of %d: %d %s", n+1, taken, w.Code, w.Body)
		}
		answers = append(answers, w.Body.String())
	}
	tables := []string{"posts", "media", "accounts", "attempts", "claims"}
	rows, files, sentOut := f.rows(t, tables...), len(f.files(t)), published
	request := take(taken)
	w := f.send(request)
	e := errorOf(t, w)
	if w.Code != http.StatusTooManyRequests || e.Code != "quota_exceeded" || e.Rule != "organization."+string(resource) {
		t.Fatalf("one too many: %d %s", w.Code, w.Body)
	}
	for _, number := range []int64{fill.room, fill.room} { // the quota, and what there is
		if !strings.Contains(e.Message, strconv.FormatInt(number, 10)) {
			t.Errorf("%d is not in %q", number, e.Message)
		}
	}
	if !strings.Contains(e.Remediation, "--max-organization-"+strings.ReplaceAll(string(resource), "_", "-")) {
		t.Errorf("who can raise it is not in %q", e.Remediation)
	}
	if f.rows(t, tables...) != rows || len(f.files(t)) != files || published != sentOut {
		t.Errorf("what was refused has left %d rows, %d files, %d publications", f.rows(t, tables...)-rows, len(f.files(t))-files, published-sentOut)
	}
	for _, path := range []string{"/v1/posts", "/v1/media", "/v1/accounts", "/v1/whoami"} {
		f.get(t, path, key)
	}
	// Another organization has room of its own.
	if w := f.send(fill.take(otherKey, f.connect(t, otherKey), 50)); w.Code >= http.StatusMultipleChoices {
		t.Errorf("another organization: %d %s", w.Code, w.Body)
	}
	if resource == store.MediaFiles { // which need no account of the profile
		e := errorOf(t, f.send(fill.take(pinnedKey, "", 51)))
		if e.Code != "quota_exceeded" || strings.Contains(e.Message, "It has") {
			t.Errorf("who is confined to a profile is told %+v", e)
		}
	}
	if fill.give == nil {
		return
	}
	ok[map[string]any](t, f, fill.give(key, answers[0]))
	// The very same request: what was refused is no answer that is kept.
	if w := f.send(request); w.Code >= http.StatusMultipleChoices {
		t.Errorf("with room again: %d %s", w.Code, w.Body)
	}
}

// TestRetriesAtQuota: to queue a post again takes a place in the queue, like any other.
func TestRetriesAtQuota(t *testing.T) {
	defer func() { quotas = nil }()
	quotas = store.Amounts{store.QueuedPosts: 1}
	k, key := live(t)
	f := newFixture(t, []any{k})
	account := f.connect(t, key)
	canceled := sent{method: http.MethodDelete, target: "/v1/posts/" + f.schedule(t, key, account, ""), key: key}
	ok[map[string]any](t, f, canceled)
	waiting := f.schedule(t, key, account, "")
	again := sent{method: http.MethodPost, target: canceled.target + "/retry", key: key}
	f.refused(t, "again, with a full queue", again, http.StatusTooManyRequests, "organization.queued_posts")
	ok[map[string]any](t, f, sent{method: http.MethodPatch, target: "/v1/posts/" + waiting, key: key, body: `{"text":"still"}`})
	ok[map[string]any](t, f, sent{method: http.MethodDelete, target: "/v1/posts/" + waiting, key: key})
	ok[map[string]any](t, f, again)
}

// TestUploadsTogether has many uploads on their way at once. None is too large by itself, and together they bring no
// more than there is room for: what stands in the library before it has its row is bounded too.
func TestUploadsTogether(t *testing.T) {
	const left, chunk = 1000, 100
	var u uploads
	var all sync.WaitGroup
	var mu sync.Mutex
	refused, brought := fmt.Errorf("refused"), 0
	begun, goOn := make(chan func(), 20), make(chan struct{})
	for range 20 {
		all.Go(func() {
			r, done := u.bounded(bytes.NewReader(make([]byte, chunk)), "acme", left, func() error { return refused })
			content, err := io.ReadAll(r)
			mu.Lock()
			if err == nil {
				brought += len(content)
			}
			mu.Unlock()
			begun <- done
			<-goOn // it is not over
		})
	}
	var ends []func()
	for range 20 {
		ends = append(ends, <-begun)
	}
	if brought != left {
		t.Errorf("%d bytes came in, with room for %d", brought, left)
	}
	if r, done := u.bounded(strings.NewReader("x"), "globex", 1, func() error { return refused }); true {
		if _, err := io.ReadAll(r); err != nil {
			t.Error("another organization is refused")
		}
		done()
	}
	for _, done := range ends {
		done()
	}
	close(goOn)
	all.Wait()
	if len(u.of) != 0 {
		t.Errorf("when all are over, %v is left", u.of)
	}
}
