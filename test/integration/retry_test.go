// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
)

var _ = Describe("A write that is sent again to another replica while it runs", func() {
	DescribeTable("is waited for, and its answer is the same", func(ctx SpecContext, database func() []string) {
		const posts = 11 // of which five are sent at a time, for three seconds each: what is done meanwhile may take nine
		startController(ctx)
		flags := database()
		first, second := startAPI(ctx, "test", flags...), startAPI(ctx, "test", flags...)
		d := newDesk(ctx, first)
		Eventually(ctx, second.whoami(ctx, d.key), patience, interval).Should(Equal(http.StatusOK))

		for text, lost := range map[string]bool{"that has the claim": false, "that has the posts alone": true} {
			By("by a process "+text, func() {
				c := d.writing("sandbox:slow", time.Time{}, d.accounts[0])
				running := under(ctx, first, d.key, c)
				d.awaitPublishing(ctx, second)
				if lost { // as one that was stopped for a while; its posts are its own
					db := openDatabase(flags)
					defer db.Close()
					_, err := db.ExecContext(ctx, `UPDATE claims SET process_id = '' WHERE settled_at = 0`)
					Expect(err).NotTo(HaveOccurred())
				}
				again, err := c.send(ctx, second.url, d.key)
				Expect(err).NotTo(HaveOccurred())
				answered := running()
				Expect(answered.status).To(Equal(http.StatusOK), answered.String())
				Expect(again.String()).To(Equal(answered.String()))
				Expect(again.replayed).To(Equal(!lost), "who has lost the claim does not answer for others")
				var b batch
				Expect(again.into(&b)).To(Succeed())
				Expect(b.Results).To(HaveLen(1))
				Expect(d.read(ctx, second, b.Results[0].PostID)()).To(publishedOnce)
			})
		}
		By("until the key is deleted", func() {
			key := d.mint(ctx, second, "leaving", nil)
			Eventually(ctx, first.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
			c := d.slowly(posts)
			running := under(ctx, first, key, c)
			d.awaitPublishing(ctx, second)
			again := under(ctx, second, key, c)
			Eventually(ctx, func() string { return second.scrape(ctx) }, patience, interval).
				ShouldNot(ContainSubstring("\nlmp_http_bytes_in_flight 0\n"), "it has come there")
			deleteNow(ctx, d.namespace, "leaving")
			Expect(again().unauthenticated()).To(BeTrue())
			Expect(running().ok()).To(BeTrue(), "what has begun is done, and says so")
		})
		listed, err := fetchAll[postView](ctx, second.url, d.key, "/v1/posts")
		Expect(err).NotTo(HaveOccurred())
		Expect(listed).To(HaveLen(2+posts), "each is there once")
	},
		Entry("on one SQLite file", onSQLite, SpecTimeout(2*patience)),
		Entry("on one PostgreSQL", onPostgres, SpecTimeout(2*patience)),
	)
})

// slowly is a call that publishes so many posts, each of which takes three seconds.
func (d desk) slowly(posts int) call {
	targets := make([]map[string]string, posts)
	for i := range targets {
		targets[i] = map[string]string{"accountId": d.accounts[0], "text": fmt.Sprint("sandbox:slow ", i)}
	}
	return jsonCall(http.MethodPost, "/v1/posts", map[string]any{"targets": targets}).once(rand.Text())
}

// under sends a call, and returns what waits for its answer.
func under(ctx context.Context, s *server, key string, c call) func() answer {
	var a answer
	var group errgroup.Group
	group.Go(func() (err error) {
		a, err = c.send(ctx, s.url, key)
		return err
	})
	return func() answer {
		GinkgoHelper()
		Expect(group.Wait()).To(Succeed())
		return a
	}
}

// awaitPublishing waits until a replica sees that something is on its way to a platform.
func (d desk) awaitPublishing(ctx context.Context, s *server) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		a, err := jsonCall(http.MethodGet, "/v1/posts?status=publishing", nil).send(ctx, s.url, d.key)
		return strings.TrimSpace(a.String()), err
	}, patience, interval).Should(ContainSubstring(`"status":"publishing"`))
}
