// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// reports has the replica say on its Lease that namespaces have leaked keys.
func (r *replica) reports(ctx context.Context, text string) {
	GinkgoHelper()
	old := r.lease.DeepCopy()
	r.lease.Annotations = map[string]string{v1alpha1.AnnotationLeaked: text}
	now := metav1.NowMicro()
	r.lease.Spec.RenewTime = &now
	Expect(admin.Patch(ctx, r.lease, client.MergeFrom(old))).To(Succeed())
}

// plaintextOf is the key that was minted into k's Secret.
func plaintextOf(ctx context.Context, k *v1alpha1.ApiKey) string {
	GinkgoHelper()
	return string(secretOf(ctx, k).Data[v1alpha1.SecretKeyAPIKey])
}

// brings makes an ApiKey bring a key by its hash.
func brings(plaintext string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) {
		k.Spec.SecretHash = key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(k.Namespace)).String()
	}
}

// restore gives k a status, as a tool that has a backup of it does.
func restore(ctx context.Context, k *v1alpha1.ApiKey, status v1alpha1.ApiKeyStatus) {
	GinkgoHelper()
	Eventually(ctx, func() error {
		restored := fetch(ctx, k)
		restored.Status = status
		return admin.Status().Update(ctx, restored)
	}).Should(Succeed())
}

func leakedKeyOf(plaintext string) *v1alpha1.LeakedKey {
	return &v1alpha1.LeakedKey{ObjectMeta: metav1.ObjectMeta{
		Namespace: "letmepost-system", Name: key.DigestOf(plaintext).Hex(),
	}}
}

func digestOf(plaintext string) string { return key.DigestOf(plaintext).Hex() }

var leaked = SatisfyAll(haveReason(v1alpha1.ReasonLeaked), beStalled(v1alpha1.ReasonLeaked))

var _ = Describe("A key that is reported as leaked", Serial, func() {
	It("is deleted if it was minted, and applied again it is another key", func(ctx SpecContext) {
		r, org := newReplica(ctx, minute), newOrg(ctx)
		k := mintKey(ctx, org)
		plaintext := plaintextOf(ctx, k)
		r.reports(ctx, org.Name+"/"+digestOf(plaintext))
		k = await(ctx, k, revoking)
		Expect(fetch(ctx, leakedKeyOf(plaintext)).Spec).To(Equal(v1alpha1.LeakedKeySpec{
			ApiKeyNamespace: org.Name, ApiKeyName: k.Name, Environment: v1alpha1.EnvironmentLive, Hint: k.Status.Hint,
			ReportedTo: r.lease.Name,
		}))
		r.says(ctx, k.ResourceVersion, k)
		awaitGone(ctx, k)
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonLeaked).Note).To(ContainSubstring("reported it as leaked"))

		again := mintKey(ctx, org, named(k.Name))
		Expect(plaintextOf(ctx, again)).NotTo(Equal(plaintext))

		By("restored with its old status")
		restored := createKey(ctx, org, pinnedTo("missing")) // so that it waits to be minted
		restore(ctx, restored, k.Status)
		await(ctx, restored, revoking)
		r.leave(ctx)
		awaitGone(ctx, restored)
	})

	It("stays if it was brought, says so, and waits for every replica to refuse it", func(ctx SpecContext) {
		first, second, org := newReplica(ctx, minute), newReplica(ctx, minute), newOrg(ctx)
		plaintext, err := format.Mint(rand.Reader, key.Live)
		Expect(err).NotTo(HaveOccurred())
		k := mintKey(ctx, org, brings(plaintext))
		since := said.now()
		first.reports(ctx, org.Name+"/"+digestOf(plaintext))
		k = await(ctx, k, leaked, revoking)
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonLeaked).Note).To(ContainSubstring("take this one out of where it is applied from"))
		Expect(said.lines(since, `"event"="key.leaked"`, `"reportedTo"="`+first.lease.Name+`"`, k.Name)).NotTo(BeEmpty(), "the audit log")
		first.says(ctx, k.ResourceVersion, k)
		waiting := await(ctx, k, leaked, revoking, haveMessageOf(v1alpha1.ConditionRevoking, "1 of 2"))
		Expect(conditionMessage(waiting, v1alpha1.ConditionRevoking)).To(ContainSubstring(second.lease.Name))
		second.says(ctx, waiting.ResourceVersion, k)
		await(ctx, k, leaked, lackCondition(v1alpha1.ConditionRevoking))
		awaitEvent(ctx, k, v1alpha1.ReasonRevoked)

		By("applied again, here and elsewhere")
		first.leave(ctx)
		second.leave(ctx)
		revoke(ctx, k)
		await(ctx, createKey(ctx, org, named(k.Name), brings(plaintext)), leaked, lackHash)
		elsewhere := createKey(ctx, newOrg(ctx), brings(plaintext))
		await(ctx, elsewhere, leaked, lackHash)

		By("forgiven")
		Expect(admin.Delete(ctx, leakedKeyOf(plaintext))).To(Succeed())
		awaitReason(ctx, k, v1alpha1.ReasonActive)
	})

	It("is not let go before it is taken note of, however soon its ApiKey is deleted", func(ctx SpecContext) {
		r, org := newReplica(ctx, minute), newOrg(ctx)
		plaintext, err := format.Mint(rand.Reader, key.Live)
		Expect(err).NotTo(HaveOccurred())
		k := mintKey(ctx, org, brings(plaintext))
		lift := op.wire.refuse(http.MethodPost, "/leakedkeys", http.StatusForbidden)
		DeferCleanup(lift)
		k = beingDeleted(ctx, k)
		old := r.lease.DeepCopy()
		r.lease.Annotations = map[string]string{ // all that a replica does: it refuses the key, and says who showed it
			v1alpha1.AnnotationLeaked: org.Name + "/" + digestOf(plaintext), v1alpha1.AnnotationApplied: k.ResourceVersion,
			v1alpha1.AnnotationRevoked: string(k.UID),
		}
		Expect(admin.Patch(ctx, r.lease, client.MergeFrom(old))).To(Succeed())
		await(ctx, k, haveCondition(v1alpha1.ConditionRevoking, "True", v1alpha1.ReasonRetrying),
			haveMessageOf(v1alpha1.ConditionRevoking, "make the LeakedKey"))
		Expect(conditionMessage(fetch(ctx, k), v1alpha1.ConditionRevoking)).NotTo(ContainSubstring(digestOf(plaintext)))
		lift()
		awaitGone(ctx, k)
		await(ctx, createKey(ctx, org, named(k.Name), brings(plaintext)), leaked, lackHash)
		r.leave(ctx)
	})

	It("is nobody's if the report proves nothing", func(ctx SpecContext) {
		r, org := newReplica(ctx, minute), newOrg(ctx)
		k, other := mintKey(ctx, org), mintKey(ctx, org)
		plaintext := plaintextOf(ctx, k)
		hash, err := key.ParseHash(k.Status.Hash)
		Expect(err).NotTo(HaveOccurred())
		forged := key.DigestOf(plaintext)
		copy(forged[len(hash.Lookup):], hash.Binding[:]) // all that is published of it
		thief := newOrg(ctx)
		// Somebody else's organization brings the lookup, with a half of their own behind it, and has a replica report that.
		createKey(ctx, thief, func(n *v1alpha1.ApiKey) {
			n.Spec.SecretHash = forged.BoundTo(key.OwnerNamespace(thief.Name)).String()
		})
		r.reports(ctx, org.Name+"/"+forged.Hex()+",nowhere/"+digestOf(plaintext)+",/x,,acme,"+thief.Name+"/"+forged.Hex()+
			","+org.Name+"/"+digestOf(plaintextOf(ctx, other)))
		await(ctx, other, revoking) // the last one is good, and was looked at after the others
		Expect(readyCondition(fetch(ctx, k)).Reason).To(Equal(v1alpha1.ReasonActive))
		Expect(client.IgnoreNotFound(admin.Get(ctx, client.ObjectKeyFromObject(leakedKeyOf(plaintext)), leakedKeyOf(plaintext)))).To(Succeed())
		r.leave(ctx)
		awaitGone(ctx, other)
		Expect(readyCondition(fetch(ctx, k)).Reason).To(Equal(v1alpha1.ReasonActive))
	})

	// A replica may know a key, and be shown it, before the controller knows it. The Lease is not written again here.
	Describe("before the controller knows it", func() {
		reported := func(ctx context.Context, r *replica, org *corev1.Namespace, plaintext string) {
			GinkgoHelper()
			since := said.now()
			r.reports(ctx, org.Name+"/"+digestOf(plaintext))
			Eventually(ctx, func() []string { return said.lines(since, "of no key that is seen here", org.Name) }).ShouldNot(BeEmpty())
		}

		It("ends when it is minted", func(ctx SpecContext) {
			org := newOrg(ctx)
			r, k := newReplica(ctx, minute), keyIn(org)
			minted := k.DeepCopy() // k is written when it is created, while the other goroutine reads
			hashed := op.wire.cutAt(cut{method: http.MethodPatch, path: statusPath(k), instead: func() {
				defer GinkgoRecover()
				reported(ctx, r, org, plaintextOf(ctx, minted))
			}})
			Expect(admin.Create(ctx, k)).To(Succeed())
			Eventually(ctx, hashed).Should(BeClosed())
			await(ctx, k, revoking)
		})

		It("ends when it is brought, and both are counted", func(ctx SpecContext) {
			metrics := prometheus.NewRegistry()
			restart(func(o *controller.Options) { o.Registerer = metrics })
			org := newOrg(ctx)
			plaintext, err := format.Mint(rand.Reader, key.Live)
			Expect(err).NotTo(HaveOccurred())
			r := newReplica(ctx, minute)
			reported(ctx, r, org, plaintext)
			r.reports(ctx, org.Name+"/"+digestOf(plaintext)) // the same once more is not counted once more
			await(ctx, createKey(ctx, org, brings(plaintext)), leaked, lackHash)
			Expect(testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP lmp_leak_reports_total Keys that were reported as leaked, by whether the report proved to be of a key that there is.
# TYPE lmp_leak_reports_total counter
lmp_leak_reports_total{result="proven"} 1
lmp_leak_reports_total{result="unproven"} 1
`), "lmp_leak_reports_total")).To(Succeed())
		})

		It("ends when its status is restored", func(ctx SpecContext) {
			org := newOrg(ctx)
			k := mintKey(ctx, org)
			plaintext := plaintextOf(ctx, k)
			revoke(ctx, k)
			reported(ctx, newReplica(ctx, minute), org, plaintext)
			restored := createKey(ctx, org, pinnedTo("missing")) // so that it waits to be minted
			restore(ctx, restored, k.Status)
			await(ctx, restored, revoking)
		})
	})

	It("ends although no controller ran, and the process that was told is gone", func(ctx SpecContext) {
		org := newOrg(ctx)
		k := mintKey(ctx, org)
		op.stop()
		r := newReplica(ctx, 1)
		r.reports(ctx, org.Name+"/"+digestOf(plaintextOf(ctx, k)))
		op = startOperator()
		awaitGone(ctx, k)
	})
})

// lackHash matches a key that has never existed.
var lackHash = HaveField("Status.Hash", BeEmpty())

func haveMessageOf(kind, part string) OmegaMatcher {
	return WithTransform(func(k *v1alpha1.ApiKey) string { return conditionMessage(k, kind) }, ContainSubstring(part))
}
