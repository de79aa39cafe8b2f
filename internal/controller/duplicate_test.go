// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// beDuplicate matches the loser of two keys of one organization with one hash.
func beDuplicate() OmegaMatcher {
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
	It("do not stand in each other's way when the first can't be minted any more, and its status was not to be written", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		at := time.Now().Add(4 * time.Second).Truncate(time.Second)
		late := keyIn(org, withHash(hash), expiring(at))
		lift := op.wire.refuse(http.MethodPatch, statusPath(late), http.StatusInternalServerError)
		DeferCleanup(lift)
		since := said.now()
		Expect(admin.Create(ctx, late)).To(Succeed())
		Eventually(ctx, func() []string { return said.lines(since, late.Name) }).ShouldNot(BeEmpty(), "an attempt that fails")
		Eventually(ctx, time.Now).Should(BeTemporally(">", at))
		lift()
		await(ctx, late, haveReason(v1alpha1.ReasonExpired), lackHash)
		mintKey(ctx, org, withHash(hash))
	})

	It("end as one that is served and one that is refused, however many come at once", func(ctx SpecContext) {
		const pairs = 40
		org := newOrg(ctx).Name
		var all [pairs][2]*v1alpha1.ApiKey
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(16)
		for i := range pairs {
			hash := newHash()
			for j := range 2 {
				k := &v1alpha1.ApiKey{
					ObjectMeta: metav1.ObjectMeta{Namespace: org, GenerateName: "pair-"},
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
				k := await(ctx, k, Or(haveReason(v1alpha1.ReasonActive), beDuplicate()))
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

	It("take over, one after the other, when the one before is gone, also after a restart", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		first := mintKey(ctx, org, withHash(hash))
		second := await(ctx, createKey(ctx, org, withHash(hash)), beDuplicate(), haveMessage("ApiKey "+first.Name+" has this key"))
		awaitEvent(ctx, second, v1alpha1.ReasonDuplicateHash)
		bystander := mintKey(ctx, org)
		By("restarting")
		restart()
		awaitReconciled(ctx, second, op.began)
		Expect(fetch(ctx, second).ResourceVersion).To(Equal(second.ResourceVersion), "nothing has changed for it")
		Expect(eventsOf(ctx, second)).To(HaveLen(1))

		revoke(ctx, first)
		second = awaitReason(ctx, second, v1alpha1.ReasonActive)
		Expect(second.Status.Hash).To(Equal(hash))
		Expect(second).To(lackCondition(v1alpha1.ConditionStalled))
		Expect(readyCondition(fetch(ctx, bystander)).Reason).To(Equal(v1alpha1.ReasonActive))
	})

	It("wait for the one before to be gone, if it is being deleted", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		first := mintKey(ctx, org, withHash(hash), func(k *v1alpha1.ApiKey) { k.Finalizers = []string{"example.com/held"} })
		Expect(admin.Delete(ctx, first)).To(Succeed())
		second := await(ctx, createKey(ctx, org, withHash(hash)), haveReason(v1alpha1.ReasonPending),
			haveMessage("Waiting for ApiKey "+first.Name), lackCondition(v1alpha1.ConditionStalled))
		Expect(second.Status.Hash).To(BeEmpty())

		loseFinalizers(ctx, first)
		awaitReason(ctx, second, v1alpha1.ReasonActive)
	})

	It("are renamed in one commit: the new one is made first, and then the old one deleted", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		old := mintKey(ctx, org, withHash(hash))
		renamed := createKey(ctx, org, withHash(hash)) // and not waited for
		Expect(admin.Delete(ctx, old)).To(Succeed())
		awaitReason(ctx, renamed, v1alpha1.ReasonActive)
		awaitGone(ctx, old)
	})

	It("of two organizations do not exist for each other, whoever comes first", func(ctx SpecContext) {
		acme, globex := newOrg(ctx), newOrg(ctx)
		victim := mintKey(ctx, acme)
		thief := mintKey(ctx, globex, withHash(victim.Status.Hash))
		hash := newHash()
		early, late := mintKey(ctx, globex, withHash(hash)), mintKey(ctx, acme, withHash(hash))
		Expect(eventsOf(ctx, thief)).NotTo(HaveKey(v1alpha1.ReasonDuplicateHash))
		for _, k := range []*v1alpha1.ApiKey{victim, thief, early, late} {
			Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion))
		}
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
		await(ctx, late, beDuplicate(), HaveField("Status.Hash", hash))
	})

	It("are told apart also if the failover comes in the middle of a reconcile", func(ctx SpecContext) {
		org := newOrg(ctx)
		early := mintKey(ctx, org, withHash(newHash()))
		books.tolerate(early.Status.Hash)
		late := keyIn(org, withHash(early.Status.Hash))
		forced := late.DeepCopy()
		// When this controller is about to say that late is a duplicate, an old leader has just given it the hash.
		struck := op.wire.cutAt(cut{method: http.MethodPatch, path: "/apikeys/" + late.Name + "/status", instead: func() {
			defer GinkgoRecover()
			forceStatus(ctx, forced, early.Status.Hash, early.Status.MintedAt.Add(time.Minute))
		}})
		Expect(admin.Create(ctx, late)).To(Succeed())
		Eventually(ctx, struck).Should(BeClosed())
		await(ctx, late, beDuplicate(), HaveField("Status.Hash", early.Status.Hash))
		Expect(readyCondition(fetch(ctx, early)).Reason).To(Equal(v1alpha1.ReasonActive))
	})

	It("are not in each other's way, if the older can't be given its hash", func(ctx SpecContext) {
		org, hash := newOrg(ctx), newHash()
		waiting, release := heldKey(ctx, org, withHash(hash))
		mintKey(ctx, org, withHash(hash))
		release()
		await(ctx, waiting, beDuplicate())
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
		loser := await(ctx, createKey(ctx, org, withHash(hash)), beDuplicate())
		revoke(ctx, loser)
		mintKey(ctx, org, named(loser.Name), withHash(newHash()))
	})
})
