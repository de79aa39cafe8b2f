// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("A replica that is cut off", func() {
	It("is named to whoever waits for it, refuses everything, is counted out, and comes back", func(ctx SpecContext) {
		const duration = 6 * time.Second
		controller := startController(ctx)
		startAPI(ctx, "live")
		var replica *seat
		lease := leaseOf(ctx, func() {
			replica = seats(ctx, 1, "--lease-duration", duration.String())[0]
			replica.waitReady(ctx)
		})
		subjects := mintMany(ctx, newNamespace(ctx), 2)
		awaitServed(ctx, []string{replica.url}, subjects)
		goes, stays := subjects[0], subjects[1]
		live, expired := metric(ctx, controller.metrics, `lmp_replicas{state="live"}`), metric(ctx, controller.metrics, `lmp_replicas{state="expired"}`)
		fenced, staleness := metric(ctx, replica.metrics, "lmp_fenced"), metric(ctx, replica.metrics, "lmp_cache_staleness_seconds")
		revoked := metric(ctx, controller.metrics, "lmp_revocation_seconds_count")
		Expect(live()).To(BeEquivalentTo(2))
		for _, zero := range []func() (float64, error){expired, fenced, revoked} {
			Expect(zero()).To(BeZero())
		}
		Expect(staleness()).To(BeNumerically("<", duration.Seconds()))

		replica.proxy.SetMode(kube.Silent)
		q := investigate(ctx, []string{replica.url}, subjects)
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return q.remove(life, goes, deleteKey) })
		awaitRevoking(ctx, goes.ApiKey, lease)
		Eventually(ctx, eventNotes(ctx, goes.ApiKey), patience, interval).Should(ContainElement(ContainSubstring(lease)))
		Expect(group.Wait()).To(Succeed())
		Expect(replica.status(ctx, "/v1/whoami", stays)()).To(Equal(http.StatusServiceUnavailable), "its fence has shut")
		Expect(fenced()).To(BeEquivalentTo(1))
		Expect(live()).To(BeEquivalentTo(1))
		Expect(expired()).To(BeEquivalentTo(1))
		Eventually(ctx, revoked, patience, interval).Should(BeEquivalentTo(1))
		Eventually(ctx, staleness, patience, interval).Should(BeNumerically(">", duration.Seconds()))

		// Its connections are dead, and nobody tells it so.
		replica.proxy.SetMode(kube.Pass)
		healed := time.Now()
		Expect(replica.serves(ctx, stays)).To(Succeed())
		Expect(time.Since(healed)).To(BeNumerically("<", 3*duration))
		Expect(fenced()).To(BeZero())
		Expect(staleness()).To(BeNumerically("<", duration.Seconds()))
		Eventually(ctx, live, patience, interval).Should(BeEquivalentTo(2))
		Expect(q.stop()).To(BeEmpty())
		q.report()
	}, SpecTimeout(3*patience))
})

// waitReady waits until the replica is ready.
func (s *seat) waitReady(ctx SpecContext) {
	GinkgoHelper()
	(&server{process: s.current(), url: s.url}).waitReady(ctx)
}

// status asks about a key, and returns the status.
func (s *seat) status(ctx SpecContext, path string, key *subject) func() (int, error) {
	return (&server{url: s.url}).status(ctx, path, "Bearer "+key.plaintext)
}

// eventNotes are the texts of the events about a key.
func eventNotes(ctx SpecContext, k *v1alpha1.ApiKey) func() ([]string, error) {
	return func() (notes []string, err error) {
		list := &eventsv1.EventList{}
		if err := admin.List(ctx, list, client.InNamespace(k.Namespace)); err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		for _, e := range list.Items {
			if e.Regarding.UID == k.UID {
				notes = append(notes, e.Note)
			}
		}
		return notes, nil
	}
}
