// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// fillAll fills each quota of the hostile tenant, one after the other, and returns the rules that it ran into. It goes
// on at each until it is refused for it.
func (h *hostile) fillAll(ctx context.Context) map[string]bool {
	ran := map[string]bool{}
	// until sends calls until the answer is that quota's; whatever else is refused is in the way of it.
	until := func(rule string, next func(int) call) {
		for i := range 2000 {
			a := h.on(ctx, next(i).once(rand.Text()))
			ran[rule] = a.is(http.StatusTooManyRequests, "quota_exceeded", rule)
			if ran[rule] || !a.ok() {
				return
			}
		}
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	until("organization.queued_posts", func(int) call { return h.writing("later "+rand.Text(), tomorrow, h.accounts...) })
	until("organization.posts", func(int) call { return h.writing("now "+rand.Text(), time.Time{}, h.accounts...) })
	until("organization.accounts", func(i int) call { return connecting("bluesky", fmt.Sprintf("more-%d.test", i)) })
	small, _ := uploadOf(pixel)
	until("organization.media_files", func(int) call { return small })
	// Room for one more file, which is larger than there are bytes left.
	var files struct{ Data []struct{ ID string } }
	if h.on(ctx, jsonCall(http.MethodGet, "/v1/media?limit=1", nil)).into(&files) == nil && len(files.Data) > 0 {
		h.on(ctx, jsonCall(http.MethodDelete, "/v1/media/"+files.Data[0].ID, nil).once(rand.Text()))
	}
	large, _ := uploadOf(append(bytes.Clone(pixel), make([]byte, 5<<20)...))
	until("organization.bytes", func(int) call { return large })
	return ran
}

// crowd makes n keys that stay.
func (h *hostile) crowd(ctx context.Context, n int) {
	var group errgroup.Group
	group.SetLimit(8)
	for range n {
		group.Go(func() error { return h.kube.Create(ctx, apiKey(h.namespace, h.name())) })
	}
	_ = group.Wait()
}

var _ = Describe("A hostile tenant that fills each quota", func() {
	const keys, more = 230, 20 // the neighbour has 200 in one namespace

	DescribeTable("is refused for it, and its neighbour works on", func(ctx SpecContext, database func() []string) {
		startController(ctx, "--leader-elect=false", fmt.Sprint("--max-organization-keys=", keys))
		quotas := []string{
			"--max-organization-queued-posts=60", "--max-organization-posts=300", "--max-organization-accounts=30",
			"--max-organization-media-files=20", "--max-organization-bytes=4Mi", fmt.Sprint("--max-organization-keys=", keys),
		}
		// A database is of one environment.
		live := limited{startAPI(ctx, "live", append(database(), quotas...)...), "the live API", "api"}
		test := limited{startAPI(ctx, "test", append(database(), quotas...)...), "the test API", "api"}
		n := newNeighbour(ctx, live, test)
		h := newHostile(ctx, live, test, n)

		var ran map[string]bool
		var group errgroup.Group
		working, end := context.WithCancel(ctx)
		group.Go(func() error {
			defer GinkgoRecover()
			h.crowd(ctx, keys+more)
			ran = h.fillAll(ctx)
			for working.Err() == nil { // and goes on
				h.fillAll(working)
			}
			return nil
		})
		d := n.work(ctx, 15*time.Second)
		end()
		Expect(group.Wait()).To(Succeed())
		AddReportEntry("the neighbour", d.String(), ReportEntryVisibilityAlways)
		Expect(d.wrong).To(BeEmpty())
		Expect(n.lost(ctx)).To(BeEmpty(), "posts that were accepted")
		Expect(h.seen()).To(BeEmpty(), "of the neighbour, by the hostile tenant")
		Expect(ran).To(Equal(map[string]bool{
			"organization.queued_posts": true, "organization.posts": true, "organization.accounts": true,
			"organization.media_files": true, "organization.bytes": true,
		}), "quotas that it ran into")

		By("minting no more keys than it may have, and a new one for each that goes")
		reasons := func(ctx context.Context) (map[string]int, error) {
			var all v1alpha1.ApiKeyList
			if err := admin.List(ctx, &all, client.InNamespace(h.namespace)); err != nil {
				return nil, err
			}
			found := map[string]int{}
			for i := range all.Items {
				if c := meta.FindStatusCondition(all.Items[i].Status.Conditions, v1alpha1.ConditionReady); c != nil {
					found[c.Reason]++
				}
			}
			return found, nil
		}
		Eventually(ctx, reasons, patience, interval).Should(Equal(map[string]int{
			v1alpha1.ReasonActive: keys, v1alpha1.ReasonQuotaReached: more + 1, // its desk has one
		}))
		Expect(admin.Delete(ctx, apiKey(h.namespace, "writer"))).To(Succeed())
		Eventually(ctx, reasons, patience, interval).Should(Equal(map[string]int{
			v1alpha1.ReasonActive: keys, v1alpha1.ReasonQuotaReached: more,
		}))
	},
		Entry("on SQLite", onSQLite, SpecTimeout(5*time.Minute)),
		Entry("on PostgreSQL", onPostgres, SpecTimeout(5*time.Minute)))
})
