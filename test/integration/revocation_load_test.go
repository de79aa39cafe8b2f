// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("Deleting keys", func() {
	It("returns when no replica under load accepts the key any more", func(ctx SpecContext) {
		const revocations = 200
		startController(ctx)
		replicas := seats(ctx, 3, longLease...)
		urls := urlsOf(replicas)
		subjects := mintMany(ctx, newNamespace(ctx), revocations+20)
		awaitServed(ctx, urls, subjects)

		hearLate(ctx, replicas[0])
		q := investigate(ctx, urls, subjects)
		for i, s := range subjects[:revocations] {
			by := deleteKey
			if i%10 == 9 {
				by = kubectlDelete
			}
			q.attend(subjects[i+1]) // hammered before as well
			Expect(q.remove(ctx, s, by)).To(Succeed())
			for _, url := range urls {
				Expect(q.ask(ctx, url, s)).To(Equal(http.StatusUnauthorized), "at once, at %s", url)
			}
		}
		Expect(q.stop()).To(BeEmpty())
		q.report()
		for _, url := range urls {
			Expect(q.answers[url][http.StatusOK]).To(BeNumerically(">", revocations))
			Expect(q.answers[url][http.StatusUnauthorized]).To(BeNumerically(">", revocations))
			Expect(q.answers[url]).To(HaveLen(2), "nothing else is answered where nothing is wrong")
		}
	}, SpecTimeout(6*patience))

	It("500 at once costs each replica writes by time, not by keys", func(ctx SpecContext) {
		const revocations = 500
		// Renewals, and what is announced between them, at most every 50 ms.
		const writesASecond = 25
		startController(ctx)
		replicas := seats(ctx, 3, longLease...)
		urls := urlsOf(replicas)
		namespace := newNamespace(ctx)
		subjects := mintMany(ctx, namespace, revocations)
		awaitServed(ctx, urls, subjects)

		hearLate(ctx, replicas[0])
		q := investigate(ctx, urls, subjects)
		writes := countLeaseWrites(ctx)
		began := time.Now()
		Expect(q.removeAll(ctx, namespace, func(ctx context.Context) error {
			group, ctx := errgroup.WithContext(ctx)
			group.SetLimit(sideBySide)
			for _, s := range subjects {
				group.Go(func() error { return admin.Delete(ctx, s.ApiKey) })
			}
			return group.Wait()
		})).To(Succeed())
		took := time.Since(began)
		byLease := writes()
		AddReportEntry(fmt.Sprintf("%d deletions in %s", revocations, took.Round(time.Millisecond)), byLease, ReportEntryVisibilityFailureOrVerbose)
		Expect(byLease).To(HaveLen(len(replicas)))
		for lease, n := range byLease {
			Expect(float64(n)).To(BeNumerically("<=", writesASecond*took.Seconds()+writesASecond), "writes of %s within %s", lease, took)
		}
		for _, url := range urls {
			for _, s := range subjects {
				Expect(q.ask(ctx, url, s)).To(Equal(http.StatusUnauthorized), s.Name)
			}
		}
		Expect(q.stop()).To(BeEmpty())
		q.report()
	}, SpecTimeout(6*patience))
})

// longLease lasts for longer than a loaded machine may stand still, so that no fence shuts where nothing is wrong.
var longLease = []string{"--lease-duration", "60s"}

// hearLate makes a replica's way to the apiserver a slow one, up to the spec's end.
func hearLate(ctx SpecContext, replica *seat) {
	const late = 50 * time.Millisecond
	life, cancel := context.WithCancel(ctx)
	var pausing sync.WaitGroup
	DeferCleanup(func() {
		cancel()
		pausing.Wait()
	})
	pausing.Go(func() {
		for life.Err() == nil {
			for _, mode := range []kube.Mode{kube.Paused, kube.Pass} {
				replica.proxy.SetMode(mode)
				_ = pass(life, late)
			}
		}
	})
}

// countLeaseWrites counts the writes of each replica's Lease, by whomever, until it is asked how many there were.
func countLeaseWrites(ctx SpecContext) (stop func() map[string]int) {
	GinkgoHelper()
	life, cancel := context.WithCancel(ctx)
	events, err := admin.Watch(life, &coordinationv1.LeaseList{}, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(events.Stop)
	count := map[string]int{}
	var counting sync.WaitGroup
	counting.Go(func() {
		for event := range events.ResultChan() {
			if l, ok := event.Object.(*coordinationv1.Lease); ok && event.Type == watch.Modified {
				count[l.Name]++
			}
		}
	})
	return func() map[string]int {
		cancel()
		counting.Wait()
		return count
	}
}
