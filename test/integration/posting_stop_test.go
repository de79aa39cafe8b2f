// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("A publishing API that is stopped", func() {
	DescribeTable("knows what became of a post whose request it has cut off", func(ctx SpecContext, database func() []string) {
		startController(ctx)
		flags := append(database(), "--drain-timeout", "100ms")
		api := startAPI(ctx, "test", flags...)
		d := newDesk(ctx, api)
		c := d.writing("sandbox:slow stopped", time.Time{})
		cut := make(chan error, 1)
		go func() {
			_, err := c.send(context.WithoutCancel(ctx), api.url, d.key)
			cut <- err
		}()
		Eventually(ctx, func() ([]postView, error) {
			page, err := fetch[struct{ Data []postView }](ctx, api.url, d.key, "/v1/posts?status=publishing")
			return page.Data, err
		}, patience, interval).Should(HaveLen(1))
		_ = api.Stop(ctx) // it says that it has cut a request off
		Expect(<-cut).To(HaveOccurred(), "the request has no answer")

		api = startAPI(ctx, "test", flags...)
		a, err := c.send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.replayed).To(BeTrue(), a.String())
		Expect(a.status).To(Equal(http.StatusOK))
		var b batch
		Expect(a.into(&b)).To(Succeed())
		Expect(b.Results).To(HaveLen(1))
		Expect(b.Results[0].Status).To(Equal(published), a.String())
		Expect(d.read(ctx, api, b.Results[0].PostID)()).To(publishedOnce)
	},
		Entry("on SQLite", onSQLite, SpecTimeout(2*patience)),
		Entry("on PostgreSQL", onPostgres, SpecTimeout(2*patience)),
	)
})
