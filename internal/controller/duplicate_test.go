// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// refusedForGood matches the loser of two keys with one hash.
func refusedForGood() OmegaMatcher {
	return SatisfyAll(haveReason(v1alpha1.ReasonDuplicateHash), beStalled(v1alpha1.ReasonDuplicateHash))
}

// forceStatus writes status as an administrator, in the place of a controller that has lost its leadership and doesn't
// know yet.
func forceStatus(ctx context.Context, k *v1alpha1.ApiKey, hash string, mintedAt time.Time) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		fresh := fetch(ctx, k)
		fresh.Status.Hash, fresh.Status.MintedAt = hash, &metav1.Time{Time: mintedAt}
		return admin.Status().Update(ctx, fresh)
	}).Should(Succeed())
}

// That no two are Ready at once the ledger sees to.
var _ = Describe("Two keys with one hash", func() {
	It("end as one that is served and one that is refused, however many come at once", func(ctx SpecContext) {
		const pairs = 40
		orgs := [2]string{newOrg(ctx).Name, newOrg(ctx).Name}
		var all [pairs][2]*v1alpha1.ApiKey
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(16)
		for i := range pairs {
			hash := newHash()
			for j := range 2 {
				k := &v1alpha1.ApiKey{
					ObjectMeta: metav1.ObjectMeta{Namespace: orgs[j], GenerateName: "pair-"},
					Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, SecretHash: hash},
				}
				all[i][j] = k
				group.Go(func() error { return admin.Create(groupCtx, k) })
			}
		}
		Expect(group.Wait()).To(Succeed())
		for _, pair := range all {
			var served int
			for _, k := range pair {
				k := await(ctx, k, Or(haveReason(v1alpha1.ReasonActive), refusedForGood()))
				if readyCondition(k).Status == metav1.ConditionTrue {
					served++
					Expect(k.Status.Hash).To(Equal(k.Spec.SecretHash))
				} else {
					Expect(k.Status.Hash).To(BeEmpty())
				}
			}
			Expect(served).To(Equal(1))
		}
	})

	It("stay as they are when the first is gone, also after a restart; a third key suffers from neither", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		winner := mintKey(ctx, org, withHash(hash))
		loser := await(ctx, createKey(ctx, org, withHash(hash)), refusedForGood())
		awaitEvent(ctx, loser, v1alpha1.ReasonDuplicateHash)
		bystander := mintKey(ctx, org)

		revoke(ctx, winner)
		By("restarting")
		restart()
		third := mintKey(ctx, org, withHash(hash))
		awaitReconciled(ctx, loser, op.began)
		Expect(fetch(ctx, loser).ResourceVersion).To(Equal(loser.ResourceVersion))
		Expect(readyCondition(fetch(ctx, bystander)).Reason).To(Equal(v1alpha1.ReasonActive))
		Expect(third.Status.Hash).To(Equal(hash))
		Expect(eventsOf(ctx, loser)).To(HaveLen(1))
	})

	It("may be of two organizations: the newcomer is refused, and told nothing of the other", func(ctx SpecContext) {
		acme, globex := newOrg(ctx), newOrg(ctx)
		victim := mintKey(ctx, acme)
		k := await(ctx, createKey(ctx, globex, withHash(victim.Status.Hash)), refusedForGood())
		event := awaitEvent(ctx, k, v1alpha1.ReasonDuplicateHash)

		told, err := json.Marshal([]any{k, event})
		Expect(err).NotTo(HaveOccurred())
		for _, secret := range []string{acme.Name, string(acme.UID), victim.Name, string(victim.UID), victim.Status.Hint} {
			Expect(string(told)).NotTo(ContainSubstring(secret))
		}
		Expect(fetch(ctx, victim).ResourceVersion).To(Equal(victim.ResourceVersion))
	})

	It("are told apart by the time of their hash, if a failover has given it to both", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		books.tolerate(hash)
		op.stop()
		late, early := createKey(ctx, org, withHash(hash)), createKey(ctx, org, withHash(hash))
		now := time.Now()
		forceStatus(ctx, late, hash, now)
		forceStatus(ctx, early, hash, now.Add(-time.Minute))
		op = startOperator()
		awaitReason(ctx, early, v1alpha1.ReasonActive)
		await(ctx, late, refusedForGood(), HaveField("Status.Hash", hash))
	})

	It("are told apart also if the failover comes in the middle of a reconcile", func(ctx SpecContext) {
		org := newOrg(ctx)
		early := mintKey(ctx, org, withHash(newHash()))
		books.tolerate(early.Status.Hash)
		late := keyIn(org, withHash(early.Status.Hash))
		forced := late.DeepCopy()
		// When this controller has a close look before it gives late a hash, an old leader has just done so.
		struck := op.wire.cutAt(cut{method: http.MethodGet, path: "/apikeys/" + late.Name, instead: func() {
			defer GinkgoRecover()
			forceStatus(ctx, forced, early.Status.Hash, early.Status.MintedAt.Add(time.Minute))
		}})
		Expect(admin.Create(ctx, late)).To(Succeed())
		Eventually(ctx, struck).Should(BeClosed())
		await(ctx, late, refusedForGood(), HaveField("Status.Hash", early.Status.Hash))
		Expect(readyCondition(fetch(ctx, early)).Reason).To(Equal(v1alpha1.ReasonActive))
	})

	It("are not in each other's way, if the older can't be given its hash", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		waiting, release := heldKey(ctx, org, withHash(hash))
		mintKey(ctx, org, withHash(hash))
		release()
		await(ctx, waiting, refusedForGood())
	})

	It("are one, if a key is deleted and applied again under its name", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		k := keyIn(org, withHash(hash))
		for range 50 {
			again := k.DeepCopy()
			Expect(admin.Create(ctx, again)).To(Succeed())
			revoke(ctx, again)
		}
		Expect(admin.Create(ctx, k)).To(Succeed())
		awaitReason(ctx, k, v1alpha1.ReasonActive)
	})

	It("cost the loser nothing but itself: its name can be used again", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		mintKey(ctx, org, withHash(hash))
		loser := await(ctx, createKey(ctx, org, withHash(hash)), refusedForGood())
		revoke(ctx, loser)
		mintKey(ctx, org, named(loser.Name), withHash(newHash()))
	})
})
