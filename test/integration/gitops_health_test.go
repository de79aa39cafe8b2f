// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"syscall"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// Health in Argo CD.
const (
	healthy     = "Healthy"
	progressing = "Progressing"
	degraded    = "Degraded"
)

// health is what the tools say of an object.
type health struct {
	argo    string // of argocd-health.lua
	message string // its beginning
	flux    kstatus.Status
}

// expectHealth compares what the tools make of an object, just as it is in the cluster, with what they should.
func expectHealth(ctx SpecContext, o client.Object, reason string, want health) {
	GinkgoHelper()
	live := read(ctx, o)
	status, message, err := argoHealth(ctx, live.Object)
	Expect(err).NotTo(HaveOccurred(), reason)
	Expect(status).To(Equal(want.argo), "%s: %s", reason, message)
	Expect(message).To(HavePrefix(want.message), reason)
	result, err := kstatus.Compute(live)
	Expect(err).NotTo(HaveOccurred(), reason)
	Expect(result.Status).To(Equal(want.flux), "%s: %s", reason, result.Message)
}

// read reads an object as a tool does that does not know its type.
func read(ctx SpecContext, o client.Object) *unstructured.Unstructured {
	GinkgoHelper()
	gvk, err := admin.GroupVersionKindFor(o)
	Expect(err).NotTo(HaveOccurred())
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(gvk)
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(o), live)).To(Succeed())
	return live
}

func profile(namespace, name string) *v1alpha1.Profile {
	return &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func pinnedKey(namespace, name, profile string) *v1alpha1.ApiKey {
	k := apiKey(namespace, name)
	k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profile}
	return k
}

func broughtKey(namespace, name, hash string) *v1alpha1.ApiKey {
	k := apiKey(namespace, name)
	k.Spec.SecretHash = hash
	return k
}

func awaitProfile(ctx SpecContext, p *v1alpha1.Profile) {
	GinkgoHelper()
	Eventually(ctx, func() ([]metav1.Condition, error) {
		err := admin.Get(ctx, client.ObjectKeyFromObject(p), p)
		return p.Status.Conditions, err
	}, patience, interval).Should(ContainElement(HaveField("Reason", v1alpha1.ReasonActive)))
}

var _ = Describe("GitOps: health", func() {
	It("is Progressing while nobody has come to an object, and Healthy then", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		k, p := create(ctx, apiKey(namespace, "new")), profile(namespace, "new")
		Expect(admin.Create(ctx, p)).To(Succeed())
		for _, o := range []client.Object{k, p} {
			expectHealth(ctx, o, "no controller runs", health{progressing, "Pending: ", kstatus.InProgressStatus})
		}
		startController(ctx)
		awaitReason(ctx, k, v1alpha1.ReasonActive)
		awaitProfile(ctx, p)
		for _, o := range []client.Object{k, p} {
			expectHealth(ctx, o, "the controller has come", health{healthy, "Active: ", kstatus.CurrentStatus})
		}

		old := read(ctx, p)
		old.SetGeneration(old.GetGeneration() + 1) // Git has another displayName, and the status is still about the last one
		status, _, err := argoHealth(ctx, old.Object)
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(progressing))
	}, SpecTimeout(2*patience))

	It("says of each state of a key whether it is served, will be, or needs a person", func(ctx SpecContext) {
		startController(ctx, "--secret-recheck-interval", "1s")
		namespace := newNamespace(ctx)
		hash := key.DigestOf(newKey("live")).BoundTo(key.OwnerNamespace(namespace)).String()
		lost := profile(namespace, "lost")
		Expect(admin.Create(ctx, lost)).To(Succeed())
		create(ctx, broughtKey(namespace, "first", hash))
		occupy(ctx, namespace, "taken", nil)
		occupy(ctx, namespace, "leaving", &metav1.OwnerReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApiKey", Name: "leaving", UID: "of-an-earlier-life", Controller: new(true),
		})
		poor := newNamespace(ctx)
		forbidSecrets(ctx, poor)
		past := apiKey(namespace, "past")
		past.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(-time.Hour).Truncate(time.Second)}

		for _, tc := range []struct {
			reason string
			key    *v1alpha1.ApiKey
			then   func(*v1alpha1.ApiKey) // after it was served
			want   string                 // the reason of Ready
			health health
		}{
			{"served", apiKey(namespace, "served"), nil, v1alpha1.ReasonActive, health{healthy, "Active: ", kstatus.CurrentStatus}},
			{"served, by its hash", apiKey(namespace, "first"), nil, v1alpha1.ReasonActive, health{healthy, "Active: ", kstatus.CurrentStatus}},
			{"a hash that is another's", broughtKey(namespace, "second", hash), nil, v1alpha1.ReasonDuplicateHash, health{degraded, "DuplicateHash: ", kstatus.FailedStatus}},
			{"a Secret that is another's", apiKey(namespace, "taken"), nil, v1alpha1.ReasonSecretConflict, health{degraded, "SecretConflict: Secret taken exists", kstatus.FailedStatus}},
			{"a Secret that may not be", apiKey(poor, "poor"), nil, v1alpha1.ReasonSecretRejected, health{degraded, "SecretRejected: ", kstatus.FailedStatus}},
			{"a Secret that is about to go", apiKey(namespace, "leaving"), nil, v1alpha1.ReasonPending, health{progressing, "Pending: Waiting for", kstatus.InProgressStatus}},
			{"a Profile that may come", pinnedKey(namespace, "early", "later"), nil, v1alpha1.ReasonProfileNotFound, health{progressing, "ProfileNotFound: Waiting", kstatus.InProgressStatus}},
			{"a Profile that is gone", pinnedKey(namespace, "lost", "lost"), func(*v1alpha1.ApiKey) {
				Expect(admin.Delete(ctx, lost)).To(Succeed())
			}, v1alpha1.ReasonProfileNotFound, health{degraded, "ProfileNotFound: Profile lost", kstatus.FailedStatus}},
			{"expired", past, nil, v1alpha1.ReasonExpired, health{degraded, "Expired: ", kstatus.FailedStatus}},
			{"served, and its Secret deleted", apiKey(namespace, "bare"), func(k *v1alpha1.ApiKey) {
				Expect(admin.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bare"}})).To(Succeed())
				awaitCondition(ctx, k, v1alpha1.ConditionSecretAvailable, v1alpha1.ReasonSecretDeleted)
			}, v1alpha1.ReasonActive, health{healthy, "SecretDeleted: ", kstatus.CurrentStatus}},
		} {
			if tc.key.Name != "first" {
				create(ctx, tc.key)
			}
			if tc.then != nil {
				awaitReason(ctx, tc.key, v1alpha1.ReasonActive)
				tc.then(tc.key)
			}
			// A condition is written a moment before or after another's would be: the wait is for the first word of it.
			if tc.want == v1alpha1.ReasonPending {
				awaitMessage(ctx, tc.key, "Waiting for Secret")
			}
			awaitReason(ctx, tc.key, tc.want)
			expectHealth(ctx, tc.key, tc.reason, tc.health)
		}
	}, SpecTimeout(4*patience))

	It("is Progressing while a deletion waits for a replica, and names it", func(ctx SpecContext) {
		startController(ctx)
		var asleep *server
		lease := leaseOf(ctx, func() { asleep = startAPI(ctx, "live", "--lease-duration", "60s") })
		k := create(ctx, apiKey(newNamespace(ctx), "going"))
		awaitReason(ctx, k, v1alpha1.ReasonActive)
		Expect(asleep.Signal(syscall.SIGSTOP)).To(Succeed())
		Expect(admin.Delete(ctx, k)).To(Succeed())
		expectHealth(ctx, k, "just deleted", health{progressing, "Being deleted", kstatus.TerminatingStatus})
		awaitRevoking(ctx, k, lease)
		expectHealth(ctx, k, "awaited", health{progressing, "AwaitingReplicas: Waiting for 1 of ", kstatus.TerminatingStatus})
		Expect(asleep.Signal(syscall.SIGCONT)).To(Succeed())
		Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse())
		Expect(asleep.Stop(ctx)).To(Succeed()) // it gives its Lease up, for which others would wait
	}, SpecTimeout(2*patience))
})

// occupy makes a Secret that stays, also if the garbage collector wants it to go.
func occupy(ctx SpecContext, namespace, name string, owner *metav1.OwnerReference) {
	GinkgoHelper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: []string{"letmepost.dev/test"}}}
	if owner != nil {
		s.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	Expect(admin.Create(ctx, s)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) {
		Expect(client.IgnoreNotFound(admin.Patch(ctx, s, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))).To(Succeed())
	})
}

// forbidSecrets makes a quota that has no room for another Secret, and waits until it is in force.
func forbidSecrets(ctx SpecContext, namespace string) {
	GinkgoHelper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "no-secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	Expect(admin.Create(ctx, quota)).To(Succeed())
	Eventually(ctx, func() (corev1.ResourceList, error) {
		err := admin.Get(ctx, client.ObjectKeyFromObject(quota), quota)
		return quota.Status.Hard, err
	}, patience, interval).ShouldNot(BeEmpty())
}

func awaitMessage(ctx SpecContext, k *v1alpha1.ApiKey, text string) {
	GinkgoHelper()
	Eventually(ctx, func() ([]metav1.Condition, error) {
		err := admin.Get(ctx, client.ObjectKeyFromObject(k), k)
		return k.Status.Conditions, err
	}, patience, interval).Should(ContainElement(HaveField("Message", ContainSubstring(text))))
}
