// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

func expiring(at time.Time) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.ExpiresAt = &metav1.Time{Time: at} }
}

func withCeiling(lifetime time.Duration) func(*v1alpha1.Profile) {
	return func(p *v1alpha1.Profile) { p.Spec.MaxKeyLifetime = &metav1.Duration{Duration: lifetime} }
}

var _ = Describe("Expiry", func() {
	It("at birth means that nothing is minted", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := await(ctx, createKey(ctx, org, expiring(time.Now().Add(-time.Hour))),
			haveReason(v1alpha1.ReasonExpired), beStalled(v1alpha1.ReasonExpired))
		Expect(k.Status.Hash).To(BeEmpty())
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(BeZero())
		var secrets corev1.SecretList
		Expect(admin.List(ctx, &secrets, inNamespace(org))).To(Succeed())
		Expect(secrets.Items).To(BeEmpty())
		awaitEvent(ctx, k, v1alpha1.ReasonExpired)
	})

	// All of them at once. The clock comes near their time when they have been served, however long that has taken: a
	// controller that has just started has to wait for what is left then.
	It("shows by itself, when its time has come, also of keys that nothing else wakes", func(ctx SpecContext) {
		DeferCleanup(func() {
			aheadBy.Store(0)
			restart()
		})
		at := time.Now().Add(time.Hour).Truncate(time.Second)
		org := newOrg(ctx)
		minted, brought := mintKey(ctx, org, expiring(at)), mintKey(ctx, org, expiring(at), withHash(newHash()))
		waiting, _ := heldKey(ctx, org, expiring(at))
		op.stop()
		aheadBy.Store(int64(time.Until(at) - 3*time.Second))
		op = startOperator()
		for _, k := range []*v1alpha1.ApiKey{minted, brought} {
			Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", at))
			k = await(ctx, k, haveReason(v1alpha1.ReasonExpired), beStalled(v1alpha1.ReasonExpired))
			Expect(ahead{}.Now()).To(BeTemporally(">=", at))
			Expect(readyCondition(k).LastTransitionTime.Time).To(BeTemporally(">=", at))
			Expect(k.Status.Hash).NotTo(BeEmpty())
			awaitEvent(ctx, k, v1alpha1.ReasonExpired)
		}
		await(ctx, waiting, haveReason(v1alpha1.ReasonExpired), HaveField("Status.Hash", BeEmpty()))
	})

	It("is never later than the Profile's maxKeyLifetime allows", func(ctx SpecContext) {
		org := newOrg(ctx)
		createProfile(ctx, org, "shop", withCeiling(48*time.Hour))
		ceiling := func(k *v1alpha1.ApiKey) time.Time { return k.Status.MintedAt.Add(48 * time.Hour) }

		By("not asking for one")
		k := mintKey(ctx, org, pinnedTo("shop"))
		Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", ceiling(k)))

		By("asking for a later one")
		k = mintKey(ctx, org, pinnedTo("shop"), expiring(time.Now().Add(100*time.Hour)))
		Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", ceiling(k)))

		By("asking for a sooner one")
		soon := time.Now().Add(time.Hour).Truncate(time.Second)
		k = mintKey(ctx, org, pinnedTo("shop"), expiring(soon))
		Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", soon))

		By("bringing a hash")
		k = mintKey(ctx, org, pinnedTo("shop"), withHash(newHash()))
		Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", ceiling(k)))

		By("not being pinned")
		Expect(mintKey(ctx, org).Status.ExpiresAt).To(BeNil())
	})

	It("comes by maxKeyLifetime alone, too", func(ctx SpecContext) {
		org := newOrg(ctx)
		createProfile(ctx, org, "shop", withCeiling(2*time.Second))
		k := createKey(ctx, org, pinnedTo("shop"))
		k = await(ctx, k, haveReason(v1alpha1.ReasonExpired), HaveField("Status.Hash", Not(BeEmpty())))
		Expect(k.Status.ExpiresAt.Sub(k.Status.MintedAt.Time)).To(Equal(2 * time.Second))
	})

	It("may be as far away as a time can be", func(ctx SpecContext) {
		last := time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
		k := mintKey(ctx, newOrg(ctx), expiring(last))
		Expect(k.Status.ExpiresAt.Time).To(BeTemporally("==", last))
		awaitLooks(ctx, k, 2) // and is looked after as usual
	})
})
