// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("A deletion that waits for a replica", func() {
	It("waits on when the controller is killed, and completes when the replica wakes up", func(ctx SpecContext) {
		controller := startController(ctx)
		startAPI(ctx, "live")
		// No Lease of this one expires within the spec.
		var asleep *server
		lease := leaseOf(ctx, func() { asleep = startAPI(ctx, "live", "--lease-duration", "60s") })
		subjects := mintMany(ctx, newNamespace(ctx), 2)
		awaitServed(ctx, []string{asleep.url}, subjects)
		q := investigate(ctx, []string{asleep.url}, subjects)

		Expect(asleep.Signal(syscall.SIGSTOP)).To(Succeed())
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return q.remove(life, subjects[0], deleteKey) })
		awaitRevoking(ctx, subjects[0].ApiKey, lease)
		controller.end()
		startController(ctx)
		group.Go(func() error { return q.remove(life, subjects[1], deleteKey) })
		awaitRevoking(ctx, subjects[1].ApiKey, lease) // the new controller has seen the replicas, and decided
		for _, s := range subjects {
			Expect(exists(ctx, s.ApiKey)).To(BeTrue(), "%s, which %s may still accept", s.Name, lease)
		}

		Expect(asleep.Signal(syscall.SIGCONT)).To(Succeed())
		Expect(group.Wait()).To(Succeed())
		for _, s := range subjects {
			Expect(decided(ctx, asleep.whoami(ctx, s.plaintext))).To(Equal(http.StatusUnauthorized))
		}
		Expect(q.stop()).To(BeEmpty())
	}, SpecTimeout(3*patience))

	It("waits for the whole Lease of a dead replica, however often the controller is killed", func(ctx SpecContext) {
		const duration = 5 * time.Second
		controller := startController(ctx)
		var dead *server
		lease := leaseOf(ctx, func() { dead = startAPI(ctx, "live", "--lease-duration", duration.String()) })
		subjects := mintMany(ctx, newNamespace(ctx), 1)
		awaitServed(ctx, []string{dead.url}, subjects)
		dead.end()

		q := investigate(ctx, nil, subjects)
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return q.remove(life, subjects[0], deleteKey) })
		var last time.Time
		for range 3 {
			awaitRevoking(ctx, subjects[0].ApiKey, lease)
			controller.end()
			last = time.Now()
			controller = startController(ctx)
		}
		Expect(group.Wait()).To(Succeed())
		// What the one before it has seen is unknown to a new controller: every Lease that it sees is fresh.
		Expect(q.began.Add(time.Duration(subjects[0].gone.Load()))).To(BeTemporally(">", last.Add(duration)))
	}, SpecTimeout(3*patience))
})

var _ = Describe("Deleting keys while the controller changes", func() {
	It("never returns while a replica accepts the key, and always returns", func(ctx SpecContext) {
		leader := candidate(ctx)
		leader.awaitLeadership(ctx)
		replicas := seats(ctx, 3, leaseArgs...)
		t, stop := deleting(ctx, replicas)

		By("SIGTERM: the leader gives up its Lease")
		second := candidate(ctx)
		Expect(leader.Signal(syscall.SIGTERM)).To(Succeed())
		second.awaitLeadership(ctx)
		t.awaitDeletions(ctx, 5)

		By("kill -9: the Lease runs out")
		third := candidate(ctx)
		second.end()
		third.awaitLeadership(ctx)
		t.awaitDeletions(ctx, 5)

		By("SIGSTOP: the leader hangs, then wakes up and believes that it leads")
		fourth := candidate(ctx)
		Expect(third.Signal(syscall.SIGSTOP)).To(Succeed())
		fourth.awaitLeadership(ctx)
		t.awaitDeletions(ctx, 5)
		// What it has seen of the replicas is older than their Leases last, and deletions are waiting for them.
		for _, replica := range replicas {
			replica.proxy.SetMode(kube.Swallow)
		}
		waits := t.draw()
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return t.remove(life, waits, deleteKey) })
		awaitRevoking(ctx, waits.ApiKey, "letmepost-api-")
		Expect(third.Signal(syscall.SIGCONT)).To(Succeed())
		Eventually(third.Done(), patience).Should(BeClosed(), "a leader that lost its Lease must end")
		t.awaitDeletions(ctx, 5)
		for _, replica := range replicas {
			replica.proxy.SetMode(kube.Pass)
		}
		Expect(group.Wait()).To(Succeed())
		stop()
	}, SpecTimeout(6*patience))

	It("never returns while a replica accepts the key, and always returns, with 3, 1, 0 and 3 replicas", func(ctx SpecContext) {
		startController(ctx)
		replicas := seats(ctx, 3)
		t, stop := deleting(ctx, replicas)

		for _, left := range []int{1, 0} {
			By(fmt.Sprintf("%d replicas", left))
			for _, replica := range replicas[left:] {
				Expect(replica.leave(ctx)).To(Succeed())
			}
			Expect(leases(ctx)).To(HaveLen(left), "whoever ends in order takes its Lease along")
			t.awaitDeletions(ctx, 10)
		}

		By("3 replicas")
		for _, replica := range replicas {
			Expect(replica.start()).To(Succeed())
			Expect(replica.serves(ctx, t.stays)).To(Succeed())
		}
		t.awaitDeletions(ctx, 10)
		stop()
	}, SpecTimeout(6*patience))
})

// deleting deletes keys at a steady pace, while the replicas are asked about them, until it is told to stop; then it
// checks what came of it.
func deleting(ctx SpecContext, replicas []*seat) (t *trial, stop func()) {
	GinkgoHelper()
	// For more than a minute: on a loaded machine, what happens meanwhile takes far longer than it should.
	const pace, keys = 200 * time.Millisecond, 400
	subjects := mintMany(ctx, newNamespace(ctx), keys)
	awaitServed(ctx, urlsOf(replicas), subjects)
	t = &trial{inquest: investigate(ctx, urlsOf(replicas), subjects), stays: subjects[0], reserve: 1}
	over, end := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { return t.deleteEvery(ctx, over, pace) })
	return t, func() {
		GinkgoHelper()
		end()
		err := group.Wait()
		Expect(t.stop()).To(BeEmpty())
		t.report()
		Expect(err).NotTo(HaveOccurred())
	}
}

// awaitDeletions waits until so many more deletions have completed.
func (t *trial) awaitDeletions(ctx SpecContext, n int) {
	GinkgoHelper()
	n += len(t.took())
	Eventually(ctx, func() int { return len(t.took()) }, patience, interval).Should(BeNumerically(">=", n), "deletions that have completed")
}
