// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const crowd = 100

// createCrowd creates many ApiKeys at once, some of each kind.
func createCrowd(ctx context.Context, org *corev1.Namespace) []*v1alpha1.ApiKey {
	GinkgoHelper()
	createProfile(ctx, org, "shop")
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	all := make([]*v1alpha1.ApiKey, crowd)
	for i := range all {
		kind := []func(*v1alpha1.ApiKey){func(*v1alpha1.ApiKey) {}, pinnedTo("shop"), withHash(newHash())}[i%3]
		all[i] = keyIn(org, kind)
		group.Go(func() error { return admin.Create(groupCtx, all[i]) })
	}
	Expect(group.Wait()).To(Succeed())
	return all
}

func awaitGone(ctx context.Context, o client.Object) {
	GinkgoHelper()
	Eventually(ctx, func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object)))
	}).WithTimeout(time.Minute).Should(BeTrue())
}

var _ = Describe("Many keys", func() {
	It("are all served, and go with their namespace", func(ctx SpecContext) {
		org := newOrg(ctx)
		for _, k := range createCrowd(ctx, org) {
			awaitReason(ctx, k, v1alpha1.ReasonActive)
		}
		var keys v1alpha1.ApiKeyList
		Expect(admin.List(ctx, &keys, inNamespace(org))).To(Succeed())
		hashes := map[string]bool{}
		for _, k := range keys.Items {
			hashes[k.Status.Hash] = true
		}
		Expect(hashes).To(HaveLen(crowd))
		Expect(admin.Delete(ctx, org)).To(Succeed())
		awaitGone(ctx, org)
	})

	It("do not hold a namespace up that goes while they are minted", func(ctx SpecContext) {
		org := newOrg(ctx)
		createCrowd(ctx, org)
		Expect(admin.Delete(ctx, org)).To(Succeed())
		awaitGone(ctx, org)
	})

	It("that are deleted at once leave nothing behind", func(ctx SpecContext) {
		org := newOrg(ctx)
		for range crowd {
			k := createKey(ctx, org)
			Expect(admin.Delete(ctx, k)).To(Succeed())
		}
		// A key that comes last shows that the others have been dealt with.
		last := mintKey(ctx, org)
		Eventually(ctx, func() []corev1.Secret {
			var secrets corev1.SecretList
			Expect(admin.List(ctx, &secrets, inNamespace(org))).To(Succeed())
			return secrets.Items
		}).Should(HaveExactElements(HaveField("Name", last.Name)))
	})

	It("of one name, one after the other, end with the last one served", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := keyIn(org)
		for range crowd / 2 {
			again := k.DeepCopy()
			Expect(admin.Create(ctx, again)).To(Succeed())
			revoke(ctx, again)
		}
		Expect(admin.Create(ctx, k)).To(Succeed())
		k = awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(metav1.IsControlledBy(secretOf(ctx, k), k)).To(BeTrue())
	})

	It("of an organization that is made again under its name belong to the new one", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := mintKey(ctx, org)
		Expect(admin.Delete(ctx, org)).To(Succeed())
		awaitGone(ctx, org)
		again := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: org.Name}}
		Expect(admin.Create(ctx, again)).To(Succeed())
		second := mintKey(ctx, again, named(k.Name))
		Expect(second.Status.OrganizationID).To(And(Equal(string(again.UID)), Not(Equal(k.Status.OrganizationID))))
		Expect(second.Status.Hash).NotTo(Equal(k.Status.Hash))
	})

	It("that are deleted, of one organization, hold up nobody else's, not even when the controller starts", func(ctx SpecContext) {
		theirs, ours := newOrg(ctx), newOrg(ctx)
		if theirs.Name > ours.Name { // the apiserver lists by name, and theirs are to come first
			theirs, ours = ours, theirs
		}
		for _, k := range createCrowd(ctx, theirs) {
			awaitReason(ctx, k, v1alpha1.ReasonActive)
		}
		mine := mintKey(ctx, ours)
		op.stop()
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, inNamespace(theirs))).To(Succeed())
		Expect(admin.Delete(ctx, mine)).To(Succeed())
		op = startOperator()
		awaitGone(ctx, mine)
		// The wire notes a request when it is answered, which may be after its object is seen to be gone.
		before := func() int { return slices.Index(op.wire.named(http.MethodPatch, "/apikeys/"), mine.Name) }
		Eventually(ctx, before).Should(BeNumerically(">=", 0))
		Expect(before()).To(BeNumerically("<", crowd/2), "of theirs, as many as are worked on at once")
		Eventually(ctx, func() int { return len(op.wire.named(http.MethodPatch, "/apikeys/")) }).Should(BeNumerically(">", crowd))
	})
})
