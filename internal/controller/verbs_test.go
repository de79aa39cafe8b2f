// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"crypto/rand"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// newOrg makes a namespace, which is an organization, of a spec's own. When the spec ends its keys go, so that they are
// not looked after for the rest of the run.
func newOrg(ctx context.Context) *corev1.Namespace {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "org-"}}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	DeferCleanup(func(ctx context.Context) {
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(ns.Name))).To(Succeed())
	})
	return ns
}

// keyIn is an ApiKey that has not been created yet.
func keyIn(org *corev1.Namespace, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: "key-" + strings.ToLower(rand.Text()[:8])},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
	for _, mod := range mods {
		mod(k)
	}
	return k
}

// createKey creates an ApiKey and returns it as it was created.
func createKey(ctx context.Context, org *corev1.Namespace, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	GinkgoHelper()
	k := keyIn(org, mods...)
	Expect(admin.Create(ctx, k)).To(Succeed())
	return k
}

// revoke deletes an ApiKey as kubectl does: it waits until the key is gone.
func revoke(ctx context.Context, k *v1alpha1.ApiKey) {
	GinkgoHelper()
	Expect(admin.Delete(ctx, k)).To(Succeed())
	awaitGone(ctx, k)
}

// mintKey creates an ApiKey and returns it as it is once it is served.
func mintKey(ctx context.Context, org *corev1.Namespace, mods ...func(*v1alpha1.ApiKey)) *v1alpha1.ApiKey {
	GinkgoHelper()
	return awaitReason(ctx, createKey(ctx, org, mods...), v1alpha1.ReasonActive)
}

func pinnedTo(profile string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profile} }
}

func withHash(hash string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Spec.SecretHash = hash }
}

func named(name string) func(*v1alpha1.ApiKey) {
	return func(k *v1alpha1.ApiKey) { k.Name = name }
}

// newHash is that of a key which nobody knows.
func newHash() string {
	var h key.Hash
	_, _ = rand.Read(h.Lookup[:])
	_, _ = rand.Read(h.Binding[:])
	return h.String()
}

func createProfile(
	ctx context.Context, org *corev1.Namespace, name string, mods ...func(*v1alpha1.Profile),
) *v1alpha1.Profile {
	GinkgoHelper()
	p := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: name}}
	for _, mod := range mods {
		mod(p)
	}
	Expect(admin.Create(ctx, p)).To(Succeed())
	return p
}

// heldKey is an ApiKey that waits for its Profile: a spec can prepare what the controller is to find when it mints,
// which it does after release.
func heldKey(
	ctx context.Context, org *corev1.Namespace, mods ...func(*v1alpha1.ApiKey),
) (k *v1alpha1.ApiKey, release func()) {
	GinkgoHelper()
	profile := "held-" + strings.ToLower(rand.Text()[:8])
	k = createKey(ctx, org, append(mods, pinnedTo(profile))...)
	return awaitReason(ctx, k, v1alpha1.ReasonProfileNotFound), func() { createProfile(ctx, org, profile) }
}

// fetch reads an object again, into a new one.
func fetch[T client.Object](ctx context.Context, o T) T {
	GinkgoHelper()
	fresh := o.DeepCopyObject().(T)
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
	return fresh
}

// await waits until k meets all expectations at once, and returns it as it then was.
func await(ctx context.Context, k *v1alpha1.ApiKey, expectations ...gomegatypes.GomegaMatcher) *v1alpha1.ApiKey {
	GinkgoHelper()
	got := &v1alpha1.ApiKey{}
	Eventually(ctx, func(g Gomega) {
		*got = v1alpha1.ApiKey{}
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), got)).To(Succeed())
		g.Expect(got).To(SatisfyAll(expectations...))
	}).Should(Succeed())
	return got
}

func awaitReason(ctx context.Context, k *v1alpha1.ApiKey, reason string) *v1alpha1.ApiKey {
	GinkgoHelper()
	return await(ctx, k, haveReason(reason))
}

// haveReason matches ApiKeys by the reason of Ready, and by what follows from it for Ready's status.
func haveReason(reason string) gomegatypes.GomegaMatcher {
	status := metav1.ConditionFalse
	switch reason {
	case v1alpha1.ReasonActive:
		status = metav1.ConditionTrue
	case v1alpha1.ReasonPending:
		status = metav1.ConditionUnknown
	}
	return haveCondition(v1alpha1.ConditionReady, status, reason)
}

func haveCondition(kind string, status metav1.ConditionStatus, reason string) gomegatypes.GomegaMatcher {
	return WithTransform(conditionsOf, ContainElement(SatisfyAll(
		HaveField("Type", kind), HaveField("Status", status), HaveField("Reason", reason))))
}

// haveMessage matches ApiKeys by what Ready says.
func haveMessage(part string) gomegatypes.GomegaMatcher {
	return WithTransform(func(k *v1alpha1.ApiKey) string { return readyCondition(k).Message }, ContainSubstring(part))
}

// beStalled matches ApiKeys that only a person can help, and that say so as Ready does.
func beStalled(reason string) gomegatypes.GomegaMatcher {
	return haveCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason)
}

func lackCondition(kind string) gomegatypes.GomegaMatcher {
	return WithTransform(conditionsOf, Not(ContainElement(HaveField("Type", kind))))
}

func conditionsOf(k *v1alpha1.ApiKey) []metav1.Condition { return k.Status.Conditions }

func readyCondition(k *v1alpha1.ApiKey) *metav1.Condition {
	return meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
}

// secretOf reads the Secret that k names.
func secretOf(ctx context.Context, k *v1alpha1.ApiKey) *corev1.Secret {
	GinkgoHelper()
	return fetch(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.SecretName()}})
}

// hashIn is what status is to say of the key in a Secret.
func hashIn(s *corev1.Secret) string {
	GinkgoHelper()
	organization := &corev1.Namespace{}
	Expect(admin.Get(context.Background(), client.ObjectKey{Name: s.Namespace}, organization)).To(Succeed())
	digest := key.DigestOf(string(s.Data[v1alpha1.SecretKeyAPIKey]))
	return digest.BoundTo(key.OwnerID(string(organization.UID))).String()
}

// foreignSecret is somebody else's.
func foreignSecret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"team": "x"}},
		Data:       map[string][]byte{"password": {0, 1, 2, 255}},
	}
}

// eventsOf lists the events about an object, by reason.
func eventsOf(ctx context.Context, o client.Object) map[string][]eventsv1.Event {
	GinkgoHelper()
	var list eventsv1.EventList
	Expect(admin.List(ctx, &list, client.InNamespace(o.GetNamespace()))).To(Succeed())
	found := map[string][]eventsv1.Event{}
	for _, e := range list.Items {
		if e.Regarding.UID == o.GetUID() {
			found[e.Reason] = append(found[e.Reason], e)
		}
	}
	return found
}

// awaitEvent waits for an event about an object, and returns it.
func awaitEvent(ctx context.Context, o client.Object, reason string) eventsv1.Event {
	GinkgoHelper()
	Eventually(ctx, func() []eventsv1.Event { return eventsOf(ctx, o)[reason] }).ShouldNot(BeEmpty())
	return eventsOf(ctx, o)[reason][0]
}

// awaitLooks waits until the controller has looked for k's Secret n more times.
func awaitLooks(ctx context.Context, k *v1alpha1.ApiKey, n int) {
	GinkgoHelper()
	path := secretPath(k.Namespace, k.SecretName())
	before := op.wire.count("GET", path)
	Eventually(ctx, func() int { return op.wire.count("GET", path) }).Should(BeNumerically(">=", before+n))
}

func inNamespace(org *corev1.Namespace) client.InNamespace { return client.InNamespace(org.Name) }
