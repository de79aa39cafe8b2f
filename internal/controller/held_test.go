// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// setFinalizers is what replacing an ApiKey does to it, whose manifest knows of no finalizer.
func setFinalizers(ctx context.Context, k *v1alpha1.ApiKey, finalizers ...string) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		now := fetch(ctx, k)
		now.Finalizers = finalizers
		return admin.Update(ctx, now)
	}).Should(Succeed())
}

// loseFinalizers takes all finalizers off an object at once, whoever writes to it meanwhile.
func loseFinalizers(ctx context.Context, o client.Object) {
	GinkgoHelper()
	none := client.RawPatch(apitypes.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	Expect(client.IgnoreNotFound(admin.Patch(ctx, o, none))).To(Succeed())
}

// unconfirmedLines are those of the audit log that say of a key that it went past the barrier.
func unconfirmedLines(k *v1alpha1.ApiKey) func() []string {
	return func() []string { return said.lines(0, `"event"="key.unconfirmed"`, string(k.UID)) }
}

var _ = Describe("The finalizer", Serial, func() {
	const theirs = "example.com/hold"

	// No policy keeps anybody from taking it off here. Nothing else wakes the controller.
	DescribeTable("is put back at once if somebody takes it off", func(ctx SpecContext, mod func(*v1alpha1.ApiKey), reason string) {
		k := awaitReason(ctx, createKey(ctx, newOrg(ctx), mod), reason)
		setFinalizers(ctx, k)
		await(ctx, k, HaveField("Finalizers", ConsistOf(v1alpha1.FinalizerRevocation)))
		setFinalizers(ctx, k, theirs)
		await(ctx, k, HaveField("Finalizers", ConsistOf(v1alpha1.FinalizerRevocation, theirs)))
		setFinalizers(ctx, k, v1alpha1.FinalizerRevocation)
	},
		Entry("of a minted key", func(*v1alpha1.ApiKey) {}, v1alpha1.ReasonActive),
		Entry("of a key brought by hash", withHash(newHash()), v1alpha1.ReasonActive),
	)

	It("is put back on a key that was released, whose mark goes, and no other annotation", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		Eventually(ctx, func() error {
			now := fetch(ctx, k)
			now.Finalizers = nil
			now.Annotations = map[string]string{v1alpha1.AnnotationUnconfirmed: v1alpha1.Unconfirmed, "example.com/note": "of ours"}
			return admin.Update(ctx, now)
		}).Should(Succeed())
		await(ctx, k, And(HaveField("Finalizers", ConsistOf(v1alpha1.FinalizerRevocation)),
			HaveField("Annotations", Equal(map[string]string{"example.com/note": "of ours"}))))
	})

	It("goes however often a key has it", func(ctx SpecContext) {
		k := createKey(ctx, newOrg(ctx), func(k *v1alpha1.ApiKey) {
			k.Finalizers = slices.Repeat([]string{v1alpha1.FinalizerRevocation, theirs}, 200)
		})
		awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(admin.Delete(ctx, k)).To(Succeed())
		await(ctx, k, HaveField("Finalizers", HaveEach(theirs)))
		setFinalizers(ctx, k)
		awaitGone(ctx, k)
		Consistently(unconfirmedLines(k)).Should(BeEmpty(), "it was confirmed")
	})

	It("of others leaves a key that says what it is", func(ctx SpecContext) {
		org := newOrg(ctx)
		held := func(reason string) types.GomegaMatcher {
			return haveCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, reason)
		}
		k := mintKey(ctx, org)
		setFinalizers(ctx, k, theirs, v1alpha1.FinalizerRevocation)
		Expect(admin.Delete(ctx, k)).To(Succeed())
		left := await(ctx, k, HaveField("Finalizers", ConsistOf(theirs)))
		Expect(left).To(held(v1alpha1.ReasonRevoked), "from the moment that the finalizer is off")
		Expect(conditionMessage(left, v1alpha1.ConditionReady)).To(And(
			ContainSubstring("No API replica accepts the key"), ContainSubstring(theirs)))
		Expect(conditionMessage(left, v1alpha1.ConditionRevoking)).To(BeEmpty())

		By("also to a controller that comes later")
		restart()
		awaitReconciled(ctx, createKey(ctx, org), op.began)
		Consistently(ctx, func() *v1alpha1.ApiKey { return fetch(ctx, k) }).Should(held(v1alpha1.ReasonRevoked))
		setFinalizers(ctx, k)
		awaitGone(ctx, k)
		Consistently(unconfirmedLines(k)).Should(BeEmpty(), "it was confirmed")

		By("if there never was a key")
		never, _ := heldKey(ctx, org)
		setFinalizers(ctx, never, theirs)
		Expect(admin.Delete(ctx, never)).To(Succeed())
		Expect(conditionMessage(await(ctx, never, held(v1alpha1.ReasonRevoked)), v1alpha1.ConditionReady)).
			To(ContainSubstring("never existed"))
		setFinalizers(ctx, never)
		awaitGone(ctx, never)
	})

	It("does not go past the barrier without a line in the audit log", func(ctx SpecContext) {
		newReplica(ctx, minute) // which confirms nothing
		org := newOrg(ctx)

		By("replaced while it is being deleted")
		k := beingDeleted(ctx, mintKey(ctx, org))
		setFinalizers(ctx, k)
		awaitGone(ctx, k)
		Eventually(ctx, unconfirmedLines(k)).Should(HaveLen(1))

		By("replaced by a manifest with a finalizer of somebody else")
		k = mintKey(ctx, org)
		setFinalizers(ctx, k, v1alpha1.FinalizerRevocation, theirs)
		k = beingDeleted(ctx, k)
		setFinalizers(ctx, k, theirs)
		message := conditionMessage(await(ctx, k, haveCondition(
			v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonUnconfirmed)), v1alpha1.ConditionReady)
		Expect(message).To(And(ContainSubstring("was not confirmed"), ContainSubstring(theirs)))
		setFinalizers(ctx, k)
		awaitGone(ctx, k)
		Eventually(ctx, unconfirmedLines(k)).Should(HaveLen(1))
		Consistently(unconfirmedLines(k)).Should(HaveLen(1), "told once")
	})

	It("is waited for in whatever words cancel-scheduled is set", func(ctx SpecContext) {
		k := awaitReason(ctx, createKey(ctx, newOrg(ctx), func(k *v1alpha1.ApiKey) {
			k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "Yes "}
		}), v1alpha1.ReasonActive)
		Expect(admin.Delete(ctx, k)).To(Succeed())
		await(ctx, k, haveCondition(v1alpha1.ConditionRevoking, metav1.ConditionTrue, v1alpha1.ReasonAwaitingCancellation))
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
		Expect(admin.Patch(ctx, fetch(ctx, k), patch)).To(Succeed())
		awaitGone(ctx, k)
	})
})
