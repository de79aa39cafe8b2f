// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// A replica here is a Lease that the spec renews, or does not.
type replica struct{ lease *coordinationv1.Lease }

// newReplica registers a replica whose Lease lasts for seconds.
func newReplica(ctx context.Context, seconds int32) *replica {
	GinkgoHelper()
	holder, now := "pod-of-a-spec", metav1.NowMicro()
	r := &replica{&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "letmepost-system", Name: "letmepost-api-" + strings.ToLower(rand.Text()[:8]),
			Labels: map[string]string{v1alpha1.LabelReplica: "live"},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now},
	}}
	Expect(admin.Create(ctx, r.lease)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { r.leave(ctx) })
	return r
}

func (r *replica) leave(ctx context.Context) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(admin.Delete(ctx, r.lease))).To(Succeed())
}

// says renews the Lease, with an announcement on it: the replica refuses these keys, and what they had queued is
// canceled.
func (r *replica) says(ctx context.Context, applied string, revoked ...*v1alpha1.ApiKey) {
	GinkgoHelper()
	old := r.lease.DeepCopy()
	ids := make([]string, 0, len(revoked))
	for _, k := range revoked {
		ids = append(ids, string(revocation.NameOf(k)))
	}
	now := metav1.NowMicro()
	names := strings.Join(ids, ",")
	r.lease.Annotations = map[string]string{
		v1alpha1.AnnotationApplied: applied, v1alpha1.AnnotationRevoked: names, v1alpha1.AnnotationCanceled: names,
	}
	r.lease.Spec.RenewTime = &now
	Expect(admin.Patch(ctx, r.lease, client.MergeFrom(old))).To(Succeed())
}

// beingDeleted deletes a key and returns it as it then is, which is not gone.
func beingDeleted(ctx context.Context, k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	GinkgoHelper()
	Expect(admin.Delete(ctx, k)).To(Succeed())
	return fetch(ctx, k)
}

var revoking = haveCondition(v1alpha1.ConditionRevoking, metav1.ConditionTrue, v1alpha1.ReasonAwaitingReplicas)

// minute is longer than any spec waits: such a Lease does not expire.
const minute = 60

// awaitAsked has the controller look at a key that is being deleted, and waits until it has asked for the Leases.
func awaitAsked(ctx context.Context, k *v1alpha1.ApiKey) {
	GinkgoHelper()
	asked := op.wire.count(http.MethodGet, "/leases")
	old := fetch(ctx, k)
	toggled := old.DeepCopy()
	if delete(toggled.Annotations, v1alpha1.AnnotationCancelScheduled); !v1alpha1.CancelsScheduled(old.Annotations) {
		toggled.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}
	}
	Expect(admin.Patch(ctx, toggled, client.MergeFrom(old))).To(Succeed())
	Eventually(ctx, func() int { return op.wire.count(http.MethodGet, "/leases") }).Should(BeNumerically(">", asked))
}

var _ = Describe("A key that is deleted", Serial, func() {
	It("has had the finalizer from before its hash", func(ctx SpecContext) {
		org := newOrg(ctx)
		w, err := admin.Watch(ctx, &v1alpha1.ApiKeyList{}, inNamespace(org))
		Expect(err).NotTo(HaveOccurred())
		defer w.Stop()
		for _, mod := range []func(*v1alpha1.ApiKey){func(*v1alpha1.ApiKey) {}, withHash(newHash())} {
			k := createKey(ctx, org, mod)
			for hashed := false; !hashed; {
				var seen *v1alpha1.ApiKey
				Eventually(ctx, w.ResultChan()).Should(Receive(HaveField("Object", WithTransform(func(o any) bool {
					var ok bool
					seen, ok = o.(*v1alpha1.ApiKey)
					return ok && seen.Name == k.Name
				}, BeTrue()))))
				hashed = seen.Status.Hash != ""
				if hashed {
					Expect(seen.Finalizers).To(ContainElement(v1alpha1.FinalizerRevocation))
				}
			}
		}
	})

	It("goes at once if there is no replica", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		revoke(ctx, k)
		Expect(awaitEvent(ctx, k, "Revoked").Note).To(ContainSubstring("No replica accepts the key any more"))
		Expect(eventsOf(ctx, k)).NotTo(HaveKey(v1alpha1.ReasonAwaitingReplicas), "it has waited for somebody")
	})

	It("waits for every replica to name it, and says for which", func(ctx SpecContext) {
		org := newOrg(ctx)
		first, second := newReplica(ctx, minute), newReplica(ctx, minute)
		k, other := mintKey(ctx, org), mintKey(ctx, org)
		k = beingDeleted(ctx, k)
		first.says(ctx, k.ResourceVersion, k)

		waiting := await(ctx, k, revoking, haveCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRevoking))
		message := conditionMessage(waiting, v1alpha1.ConditionRevoking)
		Expect(message).To(And(ContainSubstring("1 of 2"), ContainSubstring(second.lease.Name+" (pod-of-a-spec)"), Not(ContainSubstring(first.lease.Name))))
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonAwaitingReplicas).Note).To(Equal(message))

		By("told of something else")
		second.says(ctx, waiting.ResourceVersion, other)
		Consistently(ctx, func() *v1alpha1.ApiKey { return fetch(ctx, k) }).WithTimeout(time.Second).Should(revoking,
			"a resourceVersion alone proves nothing: a watch may have lost the event")
		By("told of the key by one that has not applied the deletion")
		second.says(ctx, "1", k)
		Consistently(ctx, func() *v1alpha1.ApiKey { return fetch(ctx, k) }).WithTimeout(time.Second).Should(revoking)
		second.says(ctx, waiting.ResourceVersion, other, k)
		awaitGone(ctx, k)
	})

	It("does not wait for a replica whose Lease has expired, nor for one that has left", func(ctx SpecContext) {
		org := newOrg(ctx)
		dead := newReplica(ctx, 2)
		k := mintKey(ctx, org)
		revoke(ctx, k)
		Expect(awaitEvent(ctx, k, "Revoked").Note).To(ContainSubstring(": 0 confirmed it"))
		dead.leave(ctx)

		leaving := newReplica(ctx, minute)
		k = await(ctx, beingDeleted(ctx, mintKey(ctx, org)), revoking)
		leaving.leave(ctx)
		awaitGone(ctx, k)
	})

	It("waits for one that comes back before its Lease has expired", func(ctx SpecContext) {
		DeferCleanup(func() {
			aheadBy.Store(0)
			restart()
		})
		r := newReplica(ctx, minute)
		k := await(ctx, beingDeleted(ctx, mintKey(ctx, newOrg(ctx))), revoking)
		for range 6 { // two and a half times as long as the Lease lasts
			r.says(ctx, "1") // alive, and behind
			awaitAsked(ctx, k)
			aheadBy.Add(int64(minute * time.Second * 2 / 5))
			awaitAsked(ctx, k)
			Expect(fetch(ctx, k).DeletionTimestamp.IsZero()).To(BeFalse())
		}
		r.says(ctx, fetch(ctx, k).ResourceVersion, k)
		awaitGone(ctx, k)

		By("and not for one that does not come back")
		k = await(ctx, beingDeleted(ctx, mintKey(ctx, newOrg(ctx))), revoking)
		aheadBy.Add(int64(minute * time.Second))
		awaitGone(ctx, k)
	})

	It("tells a replica that is late what it waits for, and takes the word back", func(ctx SpecContext) {
		r := newReplica(ctx, minute)
		k := beingDeleted(ctx, mintKey(ctx, newOrg(ctx)))
		awaited := func() string { return fetch(ctx, r.lease).Annotations[v1alpha1.AnnotationAwaited] }
		Eventually(ctx, awaited).Should(Equal(k.ResourceVersion))
		r.lease = fetch(ctx, r.lease)
		waiting := await(ctx, k, revoking)
		old := r.lease.DeepCopy()
		r.lease.Annotations[v1alpha1.AnnotationApplied] = waiting.ResourceVersion
		r.lease.Annotations[v1alpha1.AnnotationRevoked] = string(k.UID)
		Expect(admin.Patch(ctx, r.lease, client.MergeFrom(old))).To(Succeed())
		awaitGone(ctx, k)
		Eventually(ctx, awaited).Should(BeEmpty())
	})

	It("is held by nothing that is not a replica's Lease", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		foreign := newReplica(ctx, minute)
		old := foreign.lease.DeepCopy()
		foreign.lease.Labels = nil
		Expect(admin.Patch(ctx, foreign.lease, client.MergeFrom(old))).To(Succeed())
		revoke(ctx, k)
	})

	It("waits for a replica of its environment to cancel what it has queued, if it is asked to, and not if it is no longer", func(ctx SpecContext) {
		org := newOrg(ctx)
		leaked := func() *v1alpha1.ApiKey {
			return beingDeleted(ctx, awaitReason(ctx, createKey(ctx, org, func(k *v1alpha1.ApiKey) {
				k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: v1alpha1.CancelScheduled}
			}), v1alpha1.ReasonActive))
		}
		uncanceled := haveCondition(v1alpha1.ConditionRevoking, metav1.ConditionTrue, v1alpha1.ReasonAwaitingCancellation)

		By("with no replica at all")
		k := leaked()
		message := conditionMessage(await(ctx, k, uncanceled), v1alpha1.ConditionRevoking)
		Expect(message).To(And(ContainSubstring("one of the "+string(k.Spec.Environment)+" environment"), ContainSubstring("remove its annotation "+v1alpha1.AnnotationCancelScheduled)))
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonAwaitingCancellation).Note).To(Equal(message))

		By("with one that has done so")
		r := newReplica(ctx, minute)
		r.says(ctx, fetch(ctx, k).ResourceVersion, k)
		awaitGone(ctx, k)
		r.leave(ctx)

		By("without the annotation")
		k = await(ctx, leaked(), uncanceled)
		old := k.DeepCopy()
		k.Annotations = nil
		Expect(admin.Patch(ctx, k, client.MergeFrom(old))).To(Succeed())
		awaitGone(ctx, k)
	})

	It("survives a controller that dies before it lifts the finalizer", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		struck := op.wire.cutAt(cut{method: http.MethodPatch, path: "/apikeys/" + k.Name, fatal: true})
		Expect(admin.Delete(ctx, k)).To(Succeed())
		Eventually(ctx, struck).Should(BeClosed())
		Expect(fetch(ctx, k).Finalizers).To(ContainElement(v1alpha1.FinalizerRevocation))
		restart()
		awaitGone(ctx, k)
	})

	It("leaves the finalizers of others alone", func(ctx SpecContext) {
		k := mintKey(ctx, newOrg(ctx))
		old := k.DeepCopy()
		k.Finalizers = append([]string{"example.com/first"}, append(k.Finalizers, "example.com/last")...)
		Expect(admin.Patch(ctx, k, client.MergeFrom(old))).To(Succeed())
		Expect(admin.Delete(ctx, k)).To(Succeed())
		k = await(ctx, k, HaveField("Finalizers", ConsistOf("example.com/first", "example.com/last")))
		old = k.DeepCopy()
		k.Finalizers = nil
		Expect(admin.Patch(ctx, k, client.MergeFrom(old))).To(Succeed())
		awaitGone(ctx, k)
	})

	It("goes, if it was never reconciled, and if it never had a hash", func(ctx SpecContext) {
		org := newOrg(ctx)
		waiting, _ := heldKey(ctx, org)
		revoke(ctx, waiting)
		op.stop()
		unseen := createKey(ctx, org)
		Expect(admin.Delete(ctx, unseen)).To(Succeed())
		op = startOperator()
		Expect(apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(unseen), unseen))).To(BeTrue())
	})
})

func conditionMessage(k *v1alpha1.ApiKey, kind string) string {
	for _, c := range k.Status.Conditions {
		if c.Type == kind {
			return c.Message
		}
	}
	return ""
}
