// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/rand"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// newNamespace makes a namespace, which to us is an organization.
func newNamespace(ctx SpecContext) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "it-"}}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// apiKey is an ApiKey for the live API.
func apiKey(namespace, name string) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
	}
}

// mint makes a live key and returns its plaintext, from its Secret, when the controller says that it is served.
func mint(ctx SpecContext, namespace, name string) string {
	GinkgoHelper()
	return minted(ctx, create(ctx, apiKey(namespace, name)))
}

// create creates an ApiKey. An apiserver that has just been started may not serve it yet.
func create(ctx SpecContext, k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	GinkgoHelper()
	Eventually(ctx, func() error { return admin.Create(ctx, k) }, patience, interval).Should(Succeed())
	return k
}

// minted waits until a key is served, as far as the controller knows, and returns the plaintext from its Secret.
func minted(ctx SpecContext, k *v1alpha1.ApiKey) string {
	GinkgoHelper()
	awaitReason(ctx, k, v1alpha1.ReasonActive)
	return plaintextIn(ctx, admin, k.Namespace, k.SecretName())
}

// plaintextIn is the key in a Secret.
func plaintextIn(ctx SpecContext, reader client.Reader, namespace, name string) string {
	GinkgoHelper()
	secret := &corev1.Secret{}
	Expect(reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)).To(Succeed())
	return string(secret.Data[v1alpha1.SecretKeyAPIKey])
}

// awaitReason waits until a key's Ready condition has a reason.
func awaitReason(ctx SpecContext, k *v1alpha1.ApiKey, reason string) {
	GinkgoHelper()
	awaitCondition(ctx, k, v1alpha1.ConditionReady, reason)
}

func awaitCondition(ctx SpecContext, k *v1alpha1.ApiKey, condition, reason string) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(k), k); err != nil {
			return "", err
		}
		if c := meta.FindStatusCondition(k.Status.Conditions, condition); c != nil {
			return c.Reason, nil
		}
		return "", nil
	}, patience, interval).Should(Equal(reason), "%s of %s", condition, k.Name)
}

// newKey is a well-formed key that nobody has made known to the cluster.
func newKey(environment key.Environment) string {
	GinkgoHelper()
	format, err := key.NewFormat(key.DefaultWord)
	Expect(err).NotTo(HaveOccurred())
	plaintext, err := format.Mint(rand.Reader, environment)
	Expect(err).NotTo(HaveOccurred())
	return plaintext
}

// typo changes one character in the random part of a key.
func typo(plaintext string) string {
	const at = 20
	changed := byte('0')
	if plaintext[at] == changed {
		changed = '1'
	}
	return plaintext[:at] + string(changed) + plaintext[at+1:]
}
