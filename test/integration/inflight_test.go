// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
)

var _ = Describe("What is under way when its key is deleted", func() {
	It("is a post that is committed, and says so", func(ctx SpecContext) {
		startController(ctx)
		api := startAPI(ctx, "test", onSQLite()...)
		d := newDesk(ctx, api)
		key := d.mint(ctx, api, "leaving", nil)
		var a answer
		var group errgroup.Group
		group.Go(func() (err error) {
			a, err = d.writing("sandbox:slow", time.Time{}, d.accounts[:2]...).send(ctx, api.url, key)
			return err
		})
		Eventually(ctx, func() ([]postView, error) {
			page, err := fetch[struct{ Data []postView }](ctx, api.url, d.key, "/v1/posts?status=publishing")
			return page.Data, err
		}, patience, interval).Should(HaveLen(2), "it is on its way to the platform")
		deleteNow(ctx, d.namespace, "leaving")
		Expect(decided(ctx, api.whoami(ctx, key))).To(Equal(http.StatusUnauthorized))

		Expect(group.Wait()).To(Succeed())
		var b batch
		Expect(a.into(&b)).To(Succeed())
		for _, r := range b.Results {
			Expect(r.Status).To(Equal(published))
			Expect(d.read(ctx, api, r.PostID)()).To(publishedOnce)
		}
	}, SpecTimeout(2*patience))

	It("is done and says so, or is refused and leaves nothing, whenever the key goes", func(ctx SpecContext) {
		startController(ctx)
		api := startAPI(ctx, "test", onSQLite()...)
		d := newDesk(ctx, api)
		const keys, callersOfKey = 10, 4
		t := &tellings{done: map[string]answer{}}
		dice := random(6000)
		for i := range keys {
			name := fmt.Sprintf("leaving-%d", i)
			key := d.mint(ctx, api, name, nil)
			var group errgroup.Group
			for j := range callersOfKey {
				group.Go(func() error { return t.write(ctx, d, api.url, key, fmt.Sprintf("%s caller %d", name, j)) })
			}
			Expect(pass(ctx, time.Duration(dice.IntN(50_000))*time.Microsecond)).To(Succeed())
			deleteNow(ctx, d.namespace, name)
			Expect(group.Wait()).To(Succeed())
		}
		Expect(t.refused).To(Equal(keys * callersOfKey))

		listed, err := fetchAll[postView](ctx, api.url, d.key, "/v1/posts")
		Expect(err).NotTo(HaveOccurred())
		for _, p := range listed {
			Expect(t.done).To(HaveKey(p.Text), "only what was accepted is there")
			delete(t.done, p.Text)
			Expect(p.Status).To(Equal(published))
		}
		Expect(t.done).To(BeEmpty(), "all that was accepted is there")
	}, SpecTimeout(2*patience))

	It("is an upload that is cut off, leaves nothing, and holds nobody up", func(ctx SpecContext) {
		startController(ctx)
		flags := onSQLite()
		api := startAPI(ctx, "test", flags...)
		d := newDesk(ctx, api)
		key := d.mint(ctx, api, "leaving", nil)
		body, writer := io.Pipe()
		DeferCleanup(writer.Close)
		c, _ := uploadOf(nil)
		var a answer
		var answered error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a, answered = c.once("cut").stream(ctx, api.url, key, body)
			_ = body.Close() // so that whoever writes on hears of it
		}()
		_, err := writer.Write(append([]byte(uploadHead), pixel...))
		Expect(err).NotTo(HaveOccurred())
		_, err = writer.Write(make([]byte, 20<<20)) // more than all buffers on the way hold
		Expect(err).NotTo(HaveOccurred())
		media := filepath.Join(flags[1], "media-test")
		Expect(uploads(media)).NotTo(BeEmpty())
		go drip(ctx, writer)

		deleteNow(ctx, d.namespace, "leaving") // the upload would go on for a quarter of an hour
		Eventually(ctx, ended, patience).Should(BeClosed())
		if answered == nil { // else the connection was closed, which is as good
			Expect(a.unauthenticated()).To(BeTrue(), a.String())
		}
		Expect(fetchAll[medium](ctx, api.url, d.key, "/v1/media")).To(BeEmpty())
		Eventually(ctx, func() []place { return uploads(media) }, patience, interval).Should(BeEmpty())
	}, SpecTimeout(2*patience))
})

// tellings are what callers were told of their posts, by text.
type tellings struct {
	mu      sync.Mutex
	done    map[string]answer
	refused int
}

// write posts until the key is refused.
func (t *tellings) write(ctx context.Context, d desk, url, key, name string) error {
	for i := 0; ; i++ {
		text := fmt.Sprintf("%s post %d", name, i)
		a, err := d.writing(text, time.Time{}).send(ctx, url, key)
		if err != nil {
			return fmt.Errorf("%s: every request has an answer: %w", text, err)
		}
		t.mu.Lock()
		switch {
		case a.ok():
			t.done[text] = a
		case a.unauthenticated():
			t.refused++
		default:
			err = fmt.Errorf("%s: %s", text, a)
		}
		t.mu.Unlock()
		if err != nil || a.unauthenticated() {
			return err
		}
	}
}

// drip writes a little now and then until nobody reads it any more.
func drip(ctx context.Context, w io.Writer) {
	for {
		if _, err := w.Write(make([]byte, 1024)); err != nil || pass(ctx, interval) != nil {
			return
		}
	}
}
