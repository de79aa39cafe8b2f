// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"crypto/rand"
	"net/http"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// encoded is the Secret that an earlier life of the controller would have left for k.
func encoded(k *v1alpha1.ApiKey, mods ...func(*corev1.Secret)) *corev1.Secret {
	GinkgoHelper()
	plaintext, err := format.Mint(rand.Reader, key.Environment(k.Spec.Environment))
	Expect(err).NotTo(HaveOccurred())
	s := keysecret.Encode(k, plaintext, baseURLs[k.Spec.Environment])
	for _, mod := range mods {
		mod(s)
	}
	return s
}

var _ = Describe("A Secret that is there before the key is minted", func() {
	It("is left as it is, if it is somebody else's; the key waits for it to go", func(ctx SpecContext) {
		org := newOrg(ctx)
		foreign := foreignSecret(org.Name, "shared")
		Expect(admin.Create(ctx, foreign)).To(Succeed())
		k := createKey(ctx, org, func(k *v1alpha1.ApiKey) { k.Spec.SecretName = "shared" })
		k = await(ctx, k, haveReason(v1alpha1.ReasonSecretConflict), beStalled(v1alpha1.ReasonSecretConflict))
		Expect(readyCondition(k).Message).To(And(ContainSubstring("Secret shared exists already"), ContainSubstring("not controlled by this ApiKey")))
		Expect(k.Status.Hash).To(BeEmpty())
		awaitEvent(ctx, k, v1alpha1.ReasonSecretConflict)
		awaitLooks(ctx, k, 3)
		Expect(cmp.Diff(foreign, fetch(ctx, foreign))).To(BeEmpty(), "it has been touched")
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion), "nothing has changed, and yet status was written")
		Expect(eventsOf(ctx, k)[v1alpha1.ReasonSecretConflict]).To(HaveExactElements(HaveField("Series", BeNil())))

		Expect(admin.Delete(ctx, foreign)).To(Succeed())
		k = await(ctx, k, haveReason(v1alpha1.ReasonActive), lackCondition(v1alpha1.ConditionStalled))
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))
	})

	DescribeTable("is not believed, if it is not what the controller would have written:", func(ctx SpecContext, spoil func(*corev1.Secret), phrase string) {
		org := newOrg(ctx)
		k, release := heldKey(ctx, org)
		s := encoded(k, spoil)
		Expect(admin.Create(ctx, s)).To(Succeed())
		release()
		k = await(ctx, k, haveReason(v1alpha1.ReasonSecretConflict), beStalled(v1alpha1.ReasonSecretConflict))
		Expect(readyCondition(k).Message).To(ContainSubstring(phrase))
		Expect(k.Status.Hash).To(BeEmpty())
		Expect(fetch(ctx, s).ResourceVersion).To(Equal(s.ResourceVersion))
	},
		Entry("mutable", func(s *corev1.Secret) { s.Immutable = nil }, "not in the form of a minted Secret"),
		Entry("not immutable", func(s *corev1.Secret) { *s.Immutable = false }, "not in the form of a minted Secret"),
		Entry("of another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, "not in the form of a minted Secret"),
		Entry("without a key", func(s *corev1.Secret) { delete(s.Data, "LMP_API_KEY") }, "not in the form of a minted Secret"),
		Entry("with a key that has a typo", func(s *corev1.Secret) { s.Data["LMP_API_KEY"][12] ^= 1 }, "not in the form of a minted Secret"),
		Entry("with more than a key", func(s *corev1.Secret) { s.Data["LMP_API_KEY"] = append(s.Data["LMP_API_KEY"], '\n') }, "not in the form of a minted Secret"),
		Entry("with a key of the other environment", func(s *corev1.Secret) {
			plaintext, err := format.Mint(rand.Reader, key.Test)
			Expect(err).NotTo(HaveOccurred())
			s.Data["LMP_API_KEY"] = []byte(plaintext)
		}, "a key of the test environment"),
		Entry("with an owner that does not control it", func(s *corev1.Secret) { s.OwnerReferences[0].Controller = nil }, "not controlled by this ApiKey"),
		Entry("without an owner", func(s *corev1.Secret) { s.OwnerReferences = nil }, "not controlled by this ApiKey"),
	)

	It("is adopted, if it is this ApiKey's own", func(ctx SpecContext) {
		org := newOrg(ctx)
		k, release := heldKey(ctx, org)
		s := encoded(k)
		Expect(admin.Create(ctx, s)).To(Succeed())
		release()
		k = awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(k.Status.Hash).To(Equal(hashIn(s)))
		Expect(k.Status.Hint).To(Equal(format.Hint(string(s.Data[v1alpha1.SecretKeyAPIKey]))))
		Expect(fetch(ctx, s).ResourceVersion).To(Equal(s.ResourceVersion))
	})

	It("is waited for, if it was a deleted ApiKey's of the same name and is about to go", func(ctx SpecContext) {
		org := newOrg(ctx)
		first := mintKey(ctx, org)
		old := secretOf(ctx, first)
		// A finalizer makes it stay until we say so.
		held := old.DeepCopy()
		held.Finalizers = []string{"example.com/held"}
		Expect(admin.Patch(ctx, held, client.MergeFrom(old))).To(Succeed())
		revoke(ctx, first)

		second := createKey(ctx, org, named(first.Name))
		second = await(ctx, second, haveReason(v1alpha1.ReasonPending),
			HaveField("Status.ObservedGeneration", BeEquivalentTo(1)), lackCondition(v1alpha1.ConditionStalled))
		Expect(readyCondition(second).Message).To(ContainSubstring("Waiting for Secret " + first.Name + " to be garbage collected"))

		released := held.DeepCopy()
		released.Finalizers = nil
		Expect(admin.Patch(ctx, released, client.MergeFrom(held))).To(Succeed())
		second = awaitReason(ctx, second, v1alpha1.ReasonActive)
		Expect(second.Status.Hash).To(And(Equal(hashIn(secretOf(ctx, second))), Not(Equal(first.Status.Hash))))
	})

	It("is said to be another ApiKey's, if two want one name, and nobody is advised to delete it", func(ctx SpecContext) {
		org := newOrg(ctx)
		inShared := func(k *v1alpha1.ApiKey) { k.Spec.SecretName = "shared" }
		first := mintKey(ctx, org, inShared)
		second := await(ctx, createKey(ctx, org, inShared), haveReason(v1alpha1.ReasonSecretConflict),
			haveMessage("it holds the key of ApiKey "+first.Name), haveMessage("create an ApiKey with another secretName"))
		Expect(readyCondition(second).Message).NotTo(ContainSubstring("delete"))

		revoke(ctx, first) // with its Secret, which the garbage collector takes
		second = awaitReason(ctx, second, v1alpha1.ReasonActive)
		Expect(second.Status.Hash).To(Equal(hashIn(secretOf(ctx, second))))
	})

	It("is said to be left behind, if the ApiKey before was deleted without it", func(ctx SpecContext) {
		org := newOrg(ctx)
		first := mintKey(ctx, org)
		Expect(cluster.AwaitCollector(ctx, org.Name)).To(Succeed())
		Expect(admin.Delete(ctx, first, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
		awaitGone(ctx, first)
		second := await(ctx, createKey(ctx, org, named(first.Name)), haveReason(v1alpha1.ReasonSecretConflict),
			haveMessage("--cascade=orphan"), haveMessage("delete it, and a new key is minted"))
		left := secretOf(ctx, first)
		Expect(left.OwnerReferences).To(BeEmpty())
		Expect(admin.Delete(ctx, left)).To(Succeed())
		second = awaitReason(ctx, second, v1alpha1.ReasonActive)
		Expect(second.Status.Hash).To(And(Equal(hashIn(secretOf(ctx, second))), Not(Equal(first.Status.Hash))))
	})

	It("makes no trouble when an ApiKey is deleted and applied again at once", func(ctx SpecContext) {
		org := newOrg(ctx)
		first := mintKey(ctx, org)
		old := secretOf(ctx, first)
		revoke(ctx, first)
		second := mintKey(ctx, org, named(first.Name))
		s := secretOf(ctx, second)
		Expect(s.UID).NotTo(Equal(old.UID))
		Expect(second.Status.Hash).To(And(Equal(hashIn(s)), Not(Equal(first.Status.Hash))))
	})
})

var _ = Describe("A Secret that is gone after the key was minted", func() {
	secretAvailable := func(status metav1.ConditionStatus, reason string) OmegaMatcher {
		return haveCondition(v1alpha1.ConditionSecretAvailable, status, reason)
	}

	It("is never minted again, and the key goes on working, also after a restart", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := mintKey(ctx, org)
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		gone := await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted), haveReason(v1alpha1.ReasonActive))
		Expect(gone.Status.Hash).To(Equal(k.Status.Hash))
		Expect(gone.Status.Conditions).NotTo(ContainElement(HaveField("Type", v1alpha1.ConditionStalled)))
		awaitEvent(ctx, k, v1alpha1.ReasonSecretDeleted)

		awaitLooks(ctx, k, 3)
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(Equal(1))
		restart()
		awaitLooks(ctx, k, 3)
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(BeZero())
		Expect(op.wire.count(http.MethodPatch, statusPath(k))).To(BeZero())
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(gone.ResourceVersion))
		Expect(eventsOf(ctx, k)[v1alpha1.ReasonSecretDeleted]).To(HaveExactElements(HaveField("Series", BeNil())))
	})

	It("is told from one that has been put in its place", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := mintKey(ctx, org)
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		foreign := foreignSecret(org.Name, k.Name)
		Expect(admin.Create(ctx, foreign)).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretMismatch), haveReason(v1alpha1.ReasonActive),
			HaveField("Status.Hash", k.Status.Hash))
		awaitEvent(ctx, k, v1alpha1.ReasonSecretMismatch)
		Expect(fetch(ctx, foreign).ResourceVersion).To(Equal(foreign.ResourceVersion))

		By("putting in another key, in the right form")
		Expect(admin.Delete(ctx, foreign)).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted))
		wrong := encoded(k, func(s *corev1.Secret) { s.Immutable = new(bool) })
		Expect(admin.Create(ctx, wrong)).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretMismatch), HaveField("Status.Hash", k.Status.Hash))
	})

	It("is told of once, whatever happens to the key later", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop")
		k := mintKey(ctx, org, pinnedTo("shop"))
		Expect(admin.Delete(ctx, secretOf(ctx, k))).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted))
		awaitEvent(ctx, k, v1alpha1.ReasonSecretDeleted)
		Expect(admin.Delete(ctx, shop)).To(Succeed())
		await(ctx, k, haveReason(v1alpha1.ReasonProfileNotFound), secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted))
		awaitEvent(ctx, k, v1alpha1.ReasonProfileNotFound)
		Expect(eventsOf(ctx, k)[v1alpha1.ReasonSecretDeleted]).To(HaveExactElements(HaveField("Series", BeNil())))
	})

	It("is welcome back, if somebody has a copy", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		copied := secretOf(ctx, k)
		Expect(admin.Delete(ctx, copied)).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionFalse, v1alpha1.ReasonSecretDeleted))
		copied.UID, copied.ResourceVersion = "", ""
		Expect(admin.Create(ctx, copied)).To(Succeed())
		await(ctx, k, secretAvailable(metav1.ConditionTrue, v1alpha1.ReasonSecretCreated), haveReason(v1alpha1.ReasonActive))
	})
})
