// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("What the cache leaves out", func() {
	const foreign = "example.com/hold"
	decorated := func(k *v1alpha1.ApiKey) {
		k.Labels = map[string]string{"example.com/team": "growth"}
		k.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"kind":"ApiKey"}`, "example.com/note": "of ours"}
		k.Finalizers = []string{foreign}
		k.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "app", UID: "00000000-0000-4000-8000-000000000000"}}
		k.Spec.Scopes = []v1alpha1.Scope{v1alpha1.ScopePostsRead, "billing.example.com:read"}
		k.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold"}
		k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Annotations: map[string]v1alpha1.AnnotationValue{"example.com/mount": "yes"}}
	}
	// untouched are the parts of an ApiKey that are its users' own.
	untouched := func(k *v1alpha1.ApiKey) []any {
		return []any{k.Labels, k.Annotations, k.OwnerReferences, k.Spec}
	}

	It("stays on the ApiKey, whichever way the controller writes to it", func(ctx SpecContext) {
		org := newOrg(ctx)
		made := createKey(ctx, org, withOwner(ctx, org, decorated))
		want := untouched(made)
		minted := awaitReason(ctx, made, v1alpha1.ReasonActive)
		Expect(untouched(minted)).To(Equal(want), "after the finalizer and the status of minting")

		By("leaving it out of the cache, and nothing that is written")
		cached := &v1alpha1.ApiKey{}
		Eventually(ctx, func(g Gomega) {
			g.Expect(op.cache.Get(ctx, client.ObjectKeyFromObject(made), cached)).To(Succeed())
			g.Expect(cached.ResourceVersion).To(Equal(fetch(ctx, minted).ResourceVersion))
		}).Should(Succeed())
		Expect([]any{cached.Labels, cached.Annotations, cached.OwnerReferences, cached.ManagedFields}).To(HaveEach(BeEmpty()))
		Expect(cached.Spec.Claims).To(BeEmpty())
		Expect(cached.Spec.Scopes).To(Equal(made.Spec.Scopes))
		Expect(cached.Status).To(Equal(minted.Status))
		Expect(cached.Finalizers).To(Equal(minted.Finalizers))

		By("writing the status from the cache")
		Expect(admin.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: made.Name}})).To(Succeed())
		told := await(ctx, minted, haveCondition(v1alpha1.ConditionSecretAvailable, metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted))
		Expect(untouched(told)).To(Equal(want))

		By("putting the finalizer on again from the cache")
		Eventually(ctx, func() error {
			bare := fetch(ctx, told)
			bare.Finalizers = []string{foreign}
			return admin.Update(ctx, bare)
		}).Should(Succeed())
		protected := await(ctx, told, HaveField("Finalizers", ConsistOf(foreign, v1alpha1.FinalizerRevocation)))
		Expect(untouched(protected)).To(Equal(want))

		By("taking the finalizer off")
		Expect(admin.Delete(ctx, protected)).To(Succeed())
		left := await(ctx, protected, HaveField("Finalizers", Equal([]string{foreign})))
		Expect(untouched(left)).To(Equal(want))
		loseFinalizers(ctx, left)
	})
})

// withOwner gives what mod makes an owner that exists: the garbage collector would collect it otherwise.
func withOwner(ctx context.Context, org *corev1.Namespace, mod func(*v1alpha1.ApiKey)) func(*v1alpha1.ApiKey) {
	GinkgoHelper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: "app"}}
	Expect(admin.Create(ctx, owner)).To(Succeed())
	return func(k *v1alpha1.ApiKey) {
		mod(k)
		k.OwnerReferences[0].UID = owner.UID
	}
}
