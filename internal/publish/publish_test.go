// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package publish_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/bluesky"
	"github.com/letmepost/letmepost-operator/internal/platform/linkedin"
	"github.com/letmepost/letmepost-operator/internal/publish"
	"github.com/letmepost/letmepost-operator/internal/store"
)

func sqlite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

// begun makes posts as they are when their attempts have begun.
func begun(texts ...string) (posts []store.Post, attempts []store.Attempt) {
	for i, text := range texts {
		id := fmt.Sprint("post ", i)
		account := &store.AccountRef{ID: "a", Platform: bluesky.Name, PlatformAccountID: "did:test:alice"}
		posts = append(posts, store.Post{ID: id, Platform: bluesky.Name, Account: account, Text: text})
		attempts = append(attempts, store.Attempt{ID: fmt.Sprint("attempt ", i), PostID: id, Number: 1})
	}
	return posts, attempts
}

// TestCutOff: an attempt that this server cuts off itself may have been successful; one that it never made was not.
func TestCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := start(t, sqlite(t), faulty(func(ctx context.Context, _ platform.Account, _ platform.Content) (platform.Receipt, error) {
		cancel()
		return platform.Receipt{}, ctx.Err()
	}))
	posts, attempts := begun("hello")
	if f := p.Publish(ctx, posts, attempts, nil)[0].Failure; f == nil || f.Rule != publish.RuleOutcomeUnknown {
		t.Errorf("cut off: failure is %+v", f)
	}
	if f := p.Publish(ctx, posts, attempts, nil)[0].Failure; f == nil || f.Rule != publish.RuleNotSent {
		t.Errorf("not begun: failure is %+v", f)
	}
}

// TestSeveral posts of a request are sent at once, but not all of many, and come back in order.
func TestSeveral(t *testing.T) {
	var running, most, all atomic.Int32
	together := make(chan struct{})
	p := start(t, sqlite(t), faulty(func(_ context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if all.Add(1) == 5 {
			close(together)
		}
		select {
		case <-together:
		case <-time.After(patience):
		}
		return platform.Receipt{URI: c.Text}, nil
	}))
	var texts []string
	for i := range 25 {
		texts = append(texts, fmt.Sprint("text ", i))
	}
	posts, attempts := begun(texts...)
	for i, o := range p.Publish(t.Context(), posts, attempts, nil) {
		if o.Receipt.URI != texts[i] || o.Attempt.ID != attempts[i].ID {
			t.Errorf("outcome %d is %+v", i, o)
		}
	}
	if most.Load() != 5 {
		t.Errorf("%d were sent at once, want 5", most.Load())
	}
}

func TestPreflight(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	if f := p.Preflight(bluesky.Name, platform.Content{Text: "hello"}); f != nil {
		t.Errorf("failure is %+v", f)
	}
	if f := p.Preflight(bluesky.Name, platform.Content{}); f == nil || f.Code != platform.CodePreflightFailed {
		t.Errorf("failure is %+v", f)
	}
	if f := p.Preflight(linkedin.Name, platform.Content{Text: "hello"}); f == nil || f.Code != platform.CodeNotEnabled {
		t.Errorf("failure is %+v", f)
	}
}

// TestMedia are opened when the platform wants them.
func TestMedia(t *testing.T) {
	got := make(chan string, 1)
	p := start(t, sqlite(t), faulty(func(ctx context.Context, _ platform.Account, c platform.Content) (platform.Receipt, error) {
		m := c.Media[0]
		r, err := m.Open(ctx)
		if err != nil {
			return platform.Receipt{}, err
		}
		defer r.Close()
		bytes, err := io.ReadAll(r)
		got <- fmt.Sprintf("%s %s %q %d %d", m.Kind, m.ContentType, m.AltText, m.SizeBytes, len(bytes))
		return platform.Receipt{}, err
	}))
	id := admitted(t)
	view := p.db.View(id)
	mediaID := "med_" + strings.Repeat("a", 22)
	file, err := p.library.Put(t.Context(), view.BlobKey(mediaID), strings.NewReader(pixel))
	if err != nil {
		t.Fatal(err)
	}
	posts := draft(id, connect(t, view), time.Time{}, "look")
	posts[0].Media = []store.MediaRef{{Kind: platform.Image, MediaID: mediaID, AltText: "a dot"}}
	err = view.Write(t.Context(), func(tx *store.Tx) error {
		m := store.Media{ID: mediaID, ContentType: file.ContentType, SizeBytes: file.SizeBytes, SHA256: file.SHA256, CreatedAt: time.Now()}
		if err := tx.AddMedia(m); err != nil {
			return err
		}
		if _, err := tx.AddPosts(posts); err != nil {
			return err
		}
		return p.Enqueue(t.Context(), tx, posts)
	})
	if err != nil {
		t.Fatal(err)
	}
	p.run(t)
	p.await(t, id, posts[0].ID, store.Published)
	if want := fmt.Sprintf("image image/gif %q %d %d", "a dot", len(pixel), len(pixel)); <-got != want {
		t.Errorf("want %s", want)
	}
}

// pixel is a GIF of one pixel.
const pixel = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// TestOrphans are deleted once they are old, and nothing else.
func TestOrphans(t *testing.T) {
	p := start(t, sqlite(t), newSandbox())
	view := p.db.View(admitted(t))
	kept, orphan := "med_"+strings.Repeat("a", 22), "med_"+strings.Repeat("b", 22)
	for _, id := range []string{kept, orphan} {
		if _, err := p.library.Put(t.Context(), view.BlobKey(id), strings.NewReader(pixel)); err != nil {
			t.Fatal(err)
		}
	}
	other := strings.Replace(view.BlobKey(orphan), "/", "-other/", 1) // of an environment with another database
	if _, err := p.library.Put(t.Context(), other, strings.NewReader(pixel)); err != nil {
		t.Fatal(err)
	}
	err := view.Write(t.Context(), func(tx *store.Tx) error {
		return tx.AddMedia(store.Media{ID: kept, ContentType: "image/gif", SizeBytes: 1, CreatedAt: time.Now()})
	})
	if err != nil {
		t.Fatal(err)
	}
	left := func() (left string) {
		for _, id := range []string{kept, orphan} {
			if r, err := p.library.Get(t.Context(), view.BlobKey(id)); err == nil {
				r.Close()
				left += id[4:5]
			}
		}
		r, err := p.library.Get(t.Context(), other)
		if err != nil {
			t.Fatalf("a file of another environment: %v", err)
		}
		r.Close()
		return left
	}
	for _, tc := range []struct {
		reason string
		after  time.Duration
		want   string
	}{
		{"an upload may still be running", 24 * time.Hour, "ab"},
		{"nobody will claim it any more", -time.Hour, "a"},
	} {
		p.Hurry(0, tc.after, time.Second)
		if err := p.DeleteOrphans(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := left(); got != tc.want {
			t.Errorf("%s: left are %q, want %q", tc.reason, got, tc.want)
		}
	}
}

// TestUnpublishable: a platform that is known, and that this server does not publish to yet.
func TestUnpublishable(t *testing.T) {
	p := start(t, sqlite(t), newSandbox(), func(o *publish.Options) { o.Platforms = platform.List{asBluesky(nil)} })
	if f := p.Preflight(bluesky.Name, platform.Content{Text: "hello"}); f == nil || f.Code != platform.CodeNotEnabled {
		t.Errorf("preflight says %+v", f)
	}
	posts, attempts := begun("hello")
	if f := p.Publish(t.Context(), posts, attempts, nil)[0].Failure; f == nil || f.Code != platform.CodeNotEnabled {
		t.Errorf("failure is %+v", f)
	}
}
