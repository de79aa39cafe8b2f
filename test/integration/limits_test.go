// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/redis"
)

var _ = Describe("The rate of a key", func() {
	const fallbacks = "lmp_rate_limit_fallbacks_total"

	It("is exact over two replicas with a Redis, and each one's own while that is away", func(ctx SpecContext) {
		startController(ctx)
		shared := redis.Start(GinkgoTB())
		flags := append(onSQLite(), "--redis-url", shared.URL, "--access-log", "none")
		replicas := []*server{startAPI(ctx, "test", flags...), startAPI(ctx, "test", flags...)}
		d := newDesk(ctx, replicas[0])
		// So long a window that nothing of it comes back while this runs.
		const rate, sent = 50, 200
		alone := func() (counts []float64) { // how often each has not been told by Redis
			for _, s := range replicas {
				n, err := metric(ctx, s.metrics, fallbacks)()
				Expect(err).NotTo(HaveOccurred())
				counts = append(counts, n)
			}
			return counts
		}
		var key string
		var allowed []int
		var before []float64
		// A replica waits for Redis for a tenth of a second. While the machine stands still for as long, each counts for
		// itself, as it should, and nothing is shown of both: then it is done once more, with another key.
		for turn := 0; allowed == nil; turn++ {
			Expect(turn).To(BeNumerically("<", 20), "there was always somebody who was not told by Redis: %v", before)
			key = d.mint(ctx, replicas[0], fmt.Sprint("limited-", turn), &v1alpha1.RateLimit{Requests: rate, Window: metav1.Duration{Duration: 24 * time.Hour}})
			d.mint(ctx, replicas[1], fmt.Sprint("marker-", turn), nil) // who knows this one knows the one before
			before = alone()
			allowed = flood(ctx, replicas, key, sent)
			if now := alone(); !slices.Equal(now, before) {
				allowed = nil
			}
		}
		Expect(allowed[0]+allowed[1]).To(Equal(rate), "exactly")
		Expect(allowed).To(HaveEach(BeNumerically(">", 0)), "both were asked")

		shared.Kill()
		since := flood(ctx, replicas, key, sent)
		counts := alone()
		for i, s := range replicas {
			Expect(allowed[i]+since[i]).To(Equal(rate), "%s counts what it has allowed, before and since", s.Name())
			Expect(counts[i] - before[i]).To(BeEquivalentTo(sent / len(replicas)))
			Expect(s.logText()).To(ContainSubstring("Redis can't be asked"))
		}

		shared.Restart(GinkgoTB())
		for _, s := range replicas { // it has forgotten everything, which shows that it is asked
			Eventually(ctx, s.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
		}
	}, SpecTimeout(2*patience))
})

// flood sends requests to all replicas at once, n in all, and returns how many of them each has allowed.
func flood(ctx SpecContext, replicas []*server, key string, n int) []int {
	GinkgoHelper()
	statuses := make([]int, n)
	var group errgroup.Group
	group.SetLimit(32)
	for i := range n {
		group.Go(func() (err error) {
			statuses[i], err = replicas[i%len(replicas)].whoami(ctx, key)()
			return err
		})
	}
	Expect(group.Wait()).To(Succeed())
	allowed := make([]int, len(replicas))
	for i, status := range statuses {
		Expect(status).To(BeElementOf(http.StatusOK, http.StatusTooManyRequests))
		if status == http.StatusOK {
			allowed[i%len(replicas)]++
		}
	}
	return allowed
}
