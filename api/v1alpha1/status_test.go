// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("A new object", func() {
	It("has the scopes and the status that it has by default", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		created, err := create(ctx, apiKeys, namespace, "environment: live")
		Expect(err).NotTo(HaveOccurred())
		var k v1alpha1.ApiKey
		Expect(api.Get().Namespace(namespace).Resource(apiKeys).Name(created.GetName()).Do(ctx).Into(&k)).To(Succeed())
		Expect(k.Spec).To(Equal(v1alpha1.ApiKeySpec{
			Environment: v1alpha1.EnvironmentLive,
			Scopes: []v1alpha1.Scope{
				v1alpha1.ScopePostsRead, v1alpha1.ScopePostsWrite, v1alpha1.ScopeMediaRead, v1alpha1.ScopeMediaWrite,
				v1alpha1.ScopeAccountsRead, v1alpha1.ScopeAccountsWrite,
			},
		}))
		expectPending(k.Status.Conditions)
		Expect(k.Status.Hash).To(BeEmpty())
	})

	It("is in progress to whoever waits for it", func(ctx SpecContext) {
		for _, resource := range []string{apiKeys, profiles} {
			spec := map[string]string{apiKeys: "environment: live", profiles: "{}"}[resource]
			object, err := create(ctx, resource, newNamespace(ctx), spec)
			Expect(err).NotTo(HaveOccurred())
			result, err := kstatus.Compute(object)
			Expect(err).NotTo(HaveOccurred())
			Expect(result.Status).To(Equal(kstatus.InProgressStatus), resource)
		}
	})

	It("cannot bring a status of its own", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		k, err := answer(api.Post().Namespace(namespace).Resource(apiKeys).Body([]byte(
			`{"apiVersion":"letmepost.dev/v1alpha1","kind":"ApiKey","metadata":{"name":"it"},"spec":{"environment":"live"},` +
				`"status":{"hash":"` + someHash + `","organizationID":"another"}}`)).Do(ctx))
		Expect(err).NotTo(HaveOccurred())
		Expect(k.Object["status"]).NotTo(Or(HaveKey("hash"), HaveKey("organizationID")))
	})

	It("counts no keys, if it is a Profile", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		created, err := create(ctx, profiles, namespace, "{}")
		Expect(err).NotTo(HaveOccurred())
		var p v1alpha1.Profile
		Expect(api.Get().Namespace(namespace).Resource(profiles).Name(created.GetName()).Do(ctx).Into(&p)).To(Succeed())
		Expect(p.Status.Keys).To(BeZero())
		expectPending(p.Status.Conditions)
	})
})

func expectPending(conditions []metav1.Condition) {
	GinkgoHelper()
	Expect(conditions).To(HaveLen(1))
	Expect(conditions[0].Type).To(Equal(v1alpha1.ConditionReady))
	Expect(conditions[0].Status).To(Equal(metav1.ConditionUnknown))
	Expect(conditions[0].Reason).To(Equal(v1alpha1.ReasonPending))
	Expect(conditions[0].Message).NotTo(BeEmpty())
}

// These run as an administrator: the schema says no to everybody.
var _ = Describe("What decides access", func() {
	minted := map[string]any{
		"hash": someHash, "organizationID": "org-1", "profileID": "profile-1",
		"mintedAt": "2026-01-01T00:00:00Z", "expiresAt": "2027-01-01T00:00:00Z",
	}
	changed := map[string]any{
		"hash":           "bound:00000000000000000000000000000000:00000000000000000000000000000000",
		"organizationID": "org-2", "profileID": "profile-2",
		"mintedAt": "2026-01-01T00:00:01Z", "expiresAt": "2028-01-01T00:00:00Z",
	}
	const settled = "expiresAt is settled when the key is minted"

	// mint creates an ApiKey with fields of status, and returns it.
	mint := func(ctx SpecContext, fields map[string]any) *unstructured.Unstructured {
		GinkgoHelper()
		k, err := create(ctx, apiKeys, newNamespace(ctx), "environment: live")
		Expect(err).NotTo(HaveOccurred())
		return write(ctx, apiKeys, k, fields)
	}

	DescribeTable("is written once:", func(ctx SpecContext, field, message string) {
		k := mint(ctx, minted)

		By("changing it")
		Expect(unstructured.SetNestedField(k.Object, changed[field], "status", field)).To(Succeed())
		expectStatusRefused(ctx, apiKeys, k, message)

		By("removing it")
		unstructured.RemoveNestedField(k.Object, "status", field)
		expectStatusRefused(ctx, apiKeys, k, message)

		By("removing the whole status")
		delete(k.Object, "status")
		expectStatusRefused(ctx, apiKeys, k, message)

		By("making the status null")
		k.Object["status"] = nil
		expectStatusRefused(ctx, apiKeys, k, message)
	},
		Entry("the hash", "hash", "hash is written once"),
		Entry("the organization", "organizationID", "organizationID is written once"),
		Entry("the Profile", "profileID", "profileID is written once"),
		Entry("the time of minting", "mintedAt", "mintedAt is written once"),
		Entry("the expiry", "expiresAt", settled),
	)

	It("includes that a key does not expire", func(ctx SpecContext) {
		k := mint(ctx, map[string]any{"hash": someHash, "mintedAt": "2026-01-01T00:00:00Z"})
		Expect(unstructured.SetNestedField(k.Object, "2028-01-01T00:00:00Z", "status", "expiresAt")).To(Succeed())
		expectStatusRefused(ctx, apiKeys, k, settled)
	})

	It("includes the organization of a Profile", func(ctx SpecContext) {
		p, err := create(ctx, profiles, newNamespace(ctx), "{}")
		Expect(err).NotTo(HaveOccurred())
		p = write(ctx, profiles, p, map[string]any{"organizationID": "org-1"})
		for _, value := range []any{"org-2", nil} {
			if unstructured.RemoveNestedField(p.Object, "status", "organizationID"); value != nil {
				Expect(unstructured.SetNestedField(p.Object, value, "status", "organizationID")).To(Succeed())
			}
			expectStatusRefused(ctx, profiles, p, "organizationID is written once")
		}
	})

	It("leaves the rest of status free", func(ctx SpecContext) {
		k := mint(ctx, minted)
		write(ctx, apiKeys, k, map[string]any{
			"hint": "lmp_live_…wxyz", "binding": map[string]any{"name": "it"}, "observedGeneration": int64(1),
			"conditions": []any{map[string]any{
				"type": "Ready", "status": "False", "reason": "Expired", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
			}},
		})
	})
})

// write sets fields of an object's status.
func write(
	ctx SpecContext, resource string, object *unstructured.Unstructured, fields map[string]any,
) *unstructured.Unstructured {
	GinkgoHelper()
	for field, value := range fields {
		Expect(unstructured.SetNestedField(object.Object, value, "status", field)).To(Succeed())
	}
	written, err := replace(ctx, resource, object, "status")
	Expect(err).NotTo(HaveOccurred())
	return written
}

func expectStatusRefused(ctx SpecContext, resource string, object *unstructured.Unstructured, message string) {
	GinkgoHelper()
	_, err := replace(ctx, resource, object, "status")
	Expect(err).To(Satisfy(apierrors.IsInvalid))
	Expect(err).To(MatchError(ContainSubstring(message)))
}
