// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("A key that is pinned to a Profile", func() {
	It("waits for it, and is bound to it for good", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := await(ctx, createKey(ctx, org, pinnedTo("shop")),
			haveReason(v1alpha1.ReasonProfileNotFound), lackCondition(v1alpha1.ConditionStalled))
		Expect(readyCondition(k).Message).To(ContainSubstring("Waiting for Profile shop"))
		Expect(k.Status.Hash).To(BeEmpty())
		awaitEvent(ctx, k, v1alpha1.ReasonProfileNotFound)
		Expect(op.wire.count(http.MethodPost, secretsPath(org.Name))).To(BeZero(), "minted without a Profile")

		shop := createProfile(ctx, org, "shop")
		k = awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(k.Status.ProfileID).To(Equal(string(shop.UID)))
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))

		By("deleting the Profile")
		Expect(admin.Delete(ctx, shop)).To(Succeed())
		k = await(ctx, k, haveReason(v1alpha1.ReasonProfileNotFound), beStalled(v1alpha1.ReasonProfileNotFound))
		Expect(readyCondition(k).Message).To(And(ContainSubstring("Profile shop"), ContainSubstring(string(shop.UID))))

		By("making it again")
		since := said.now()
		again := createProfile(ctx, org, "shop")
		Expect(again.UID).NotTo(Equal(shop.UID))
		// A key that is pinned to the new one shows that the controller has seen it.
		other := mintKey(ctx, org, pinnedTo("shop"))
		Expect(other.Status.ProfileID).To(Equal(string(again.UID)))
		awaitReconciled(ctx, k, since)
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion))

		By("restarting")
		restart()
		awaitReconciled(ctx, k, op.began)
		Expect(fetch(ctx, k).ResourceVersion).To(Equal(k.ResourceVersion))
	})

	It("is refused as soon as its Profile begins to go", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop", func(p *v1alpha1.Profile) { p.Finalizers = []string{"example.com/held"} })
		k := mintKey(ctx, org, pinnedTo("shop"))
		Expect(admin.Delete(ctx, shop)).To(Succeed())
		await(ctx, k, haveReason(v1alpha1.ReasonProfileNotFound), beStalled(v1alpha1.ReasonProfileNotFound))
		awaitProfile(ctx, shop, haveProfileReady("False", v1alpha1.ReasonRevoking, "example.com/held"))
		loseFinalizers(ctx, shop)
	})

	It("does not mind another organization's Profile of that name", func(ctx SpecContext) {
		acme, globex := newOrg(ctx), newOrg(ctx)
		createProfile(ctx, globex, "shop")
		awaitReason(ctx, createKey(ctx, acme, pinnedTo("shop")), v1alpha1.ReasonProfileNotFound)
	})

	It("outlives a change of its Profile", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop")
		k := mintKey(ctx, org, pinnedTo("shop"))
		since := said.now()
		shop.Spec.DisplayName = "The shop"
		shop.Spec.MaxKeyLifetime = &metav1.Duration{Duration: time.Second}
		Eventually(ctx, func() error { // the controller writes status meanwhile
			fresh := fetch(ctx, shop)
			fresh.Spec = shop.Spec
			return admin.Update(ctx, fresh)
		}).Should(Succeed())
		awaitProfile(ctx, shop, HaveField("Status.ObservedGeneration", BeEquivalentTo(2)))
		awaitReconciled(ctx, k, since)
		Expect(fetch(ctx, k).Status).To(Equal(k.Status), "maxKeyLifetime is read when a key is minted")
	})
})

var _ = Describe("A Profile", func() {
	It("is Ready, says whose it is, and counts its keys", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop")
		ready := ContainElement(SatisfyAll(
			HaveField("Type", "Ready"), HaveField("Status", metav1.ConditionTrue),
			HaveField("Reason", v1alpha1.ReasonActive), HaveField("ObservedGeneration", BeEquivalentTo(1))))
		awaitProfile(ctx, shop, SatisfyAll(
			HaveField("Status.OrganizationID", string(org.UID)), HaveField("Status.Keys", BeZero()),
			HaveField("Status.ObservedGeneration", BeEquivalentTo(1)), HaveField("Status.Conditions", And(HaveLen(1), ready))))

		createProfile(ctx, org, "blog")
		mintKey(ctx, org)
		mintKey(ctx, org, pinnedTo("blog"))
		first := mintKey(ctx, org, pinnedTo("shop"))
		mintKey(ctx, org, pinnedTo("shop"), withHash(newHash()))
		mintKey(ctx, org, pinnedTo("shop"))
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeEquivalentTo(3)))
		Expect(admin.Delete(ctx, first)).To(Succeed())
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeEquivalentTo(2)))
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, inNamespace(org))).To(Succeed())
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeZero()))
	})

	It("counts what was bound while nobody counted", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop")
		k := mintKey(ctx, org, pinnedTo("shop"))
		mintKey(ctx, org, pinnedTo("shop"))
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeEquivalentTo(2)))
		op.stop()
		Expect(admin.Delete(ctx, k)).To(Succeed())
		op = startOperator()
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeEquivalentTo(1)))
	})

	It("that is being deleted says so, and who holds it, for as long as it is there", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop", func(p *v1alpha1.Profile) {
			p.Finalizers = []string{"example.com/one", "example.com/two"}
		})
		k := mintKey(ctx, org, pinnedTo("shop"))
		awaitProfile(ctx, shop, haveProfileReady("True", v1alpha1.ReasonActive, "can be pinned"))
		Expect(admin.Delete(ctx, shop)).To(Succeed())
		awaitProfile(ctx, shop, And(HaveField("Status.Keys", BeEquivalentTo(1)),
			haveProfileReady("False", v1alpha1.ReasonRevoking, "Finalizers of others hold it: example.com/one, example.com/two")))

		By("when one of them lets it go")
		one := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/two"]}}`))
		Expect(admin.Patch(ctx, shop, one)).To(Succeed())
		awaitProfile(ctx, shop, haveProfileReady("False", v1alpha1.ReasonRevoking, "hold it: example.com/two"))

		By("and when its last key goes")
		revoke(ctx, k)
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeZero()))

		By("deleted before anybody has looked at it")
		op.stop()
		blog := createProfile(ctx, org, "blog", func(p *v1alpha1.Profile) { p.Finalizers = shop.Finalizers })
		Expect(admin.Delete(ctx, blog)).To(Succeed())
		op = startOperator()
		awaitProfile(ctx, blog, haveProfileReady("False", v1alpha1.ReasonRevoking, "hold it: example.com/two"))
		Expect(fetch(ctx, shop).Status.Conditions).To(HaveLen(1))
		loseFinalizers(ctx, shop)
		loseFinalizers(ctx, blog)
	})

	It("made again begins anew", func(ctx SpecContext) {
		org := newOrg(ctx)
		shop := createProfile(ctx, org, "shop")
		k := mintKey(ctx, org, pinnedTo("shop"))
		awaitProfile(ctx, shop, HaveField("Status.Keys", BeEquivalentTo(1)))
		Expect(admin.Delete(ctx, shop)).To(Succeed())
		awaitReason(ctx, k, v1alpha1.ReasonProfileNotFound)
		again := createProfile(ctx, org, "shop")
		awaitProfile(ctx, again, SatisfyAll(HaveField("Status.OrganizationID", string(org.UID)), HaveField("Status.Keys", BeZero())))
	})
})

// haveProfileReady matches Profiles by their condition Ready.
func haveProfileReady(status metav1.ConditionStatus, reason, message string) OmegaMatcher {
	return HaveField("Status.Conditions", ContainElement(SatisfyAll(HaveField("Type", v1alpha1.ConditionReady),
		HaveField("Status", status), HaveField("Reason", reason), HaveField("Message", ContainSubstring(message)))))
}

func awaitProfile(ctx context.Context, p *v1alpha1.Profile, expectation OmegaMatcher) {
	GinkgoHelper()
	Eventually(ctx, func() *v1alpha1.Profile { return fetch(ctx, p) }).Should(expectation)
}
