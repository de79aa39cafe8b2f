// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// backup is a key as a backup holds it: its ApiKey and its Secret, as they were in the cluster.
type backup struct {
	apiKey, secret *unstructured.Unstructured
	plaintext      string
}

// backUp mints a key and takes a backup of it.
func backUp(ctx SpecContext, api *server, namespace, name string) backup {
	GinkgoHelper()
	k := create(ctx, apiKey(namespace, name))
	plaintext := minted(ctx, k)
	Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
	return backup{read(ctx, k), read(ctx, secretOf(k)), plaintext}
}

func secretOf(k *v1alpha1.ApiKey) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.SecretName()}}
}

// lose deletes a key, and waits until its Secret is gone as well.
func lose(ctx SpecContext, b backup) {
	GinkgoHelper()
	deleteNow(ctx, b.apiKey.GetNamespace(), b.apiKey.GetName())
	awaitGone(ctx, b.secret)
}

func awaitGone(ctx SpecContext, o client.Object) {
	GinkgoHelper()
	Eventually(ctx, func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopyObject().(client.Object)))
	}, patience, interval).Should(BeTrue(), "%s goes", o.GetName())
}

// velero is an object as Velero creates it again: with its labels, annotations and finalizers, but without what the
// apiserver or an owner gave it, and without status.
func velero(o *unstructured.Unstructured) *unstructured.Unstructured {
	restored := asIs(o)
	restored.SetOwnerReferences(nil)
	labels := restored.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels["velero.io/backup-name"], labels["velero.io/restore-name"] = "nightly", "nightly-1"
	restored.SetLabels(labels)
	return restored
}

// asIs is an object as `kubectl create` makes it of what `kubectl get -o yaml` has printed: the owner references stay,
// with the UID of an owner that is gone.
func asIs(o *unstructured.Unstructured) *unstructured.Unstructured {
	restored := o.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(restored.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(restored.Object, "status")
	return restored
}

// typed reads an ApiKey that was restored.
func typed(b backup) *v1alpha1.ApiKey { return apiKey(b.apiKey.GetNamespace(), b.apiKey.GetName()) }

// expectNewKey waits until a restored ApiKey has a key of its own, and checks that this is not the old one, which stays
// dead.
func expectNewKey(ctx SpecContext, api *server, b backup) {
	GinkgoHelper()
	k := typed(b)
	plaintext := minted(ctx, k)
	Expect(plaintext).NotTo(Equal(b.plaintext))
	hash, _, _ := unstructured.NestedString(b.apiKey.Object, "status", "hash")
	Expect(k.Status.Hash).NotTo(Equal(hash))
	Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
	Expect(decided(ctx, api.whoami(ctx, b.plaintext))).To(Equal(http.StatusUnauthorized), "the key of the backup")
}

var _ = Describe("Restore: a key whose ApiKey and Secret are created again", func() {
	var api *server
	start := func(ctx SpecContext) {
		startController(ctx, "--secret-recheck-interval", "1s")
		api = startAPI(ctx, "live")
	}

	It("by Velero, Secret first: is a conflict until the Secret is deleted, then a new key", func(ctx SpecContext) {
		start(ctx)
		b := backUp(ctx, api, newNamespace(ctx), "website")
		lose(ctx, b)
		Expect(admin.Create(ctx, velero(b.secret))).To(Succeed())
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		k := typed(b)
		awaitReason(ctx, k, v1alpha1.ReasonSecretConflict)
		Expect(k.Status.Hash).To(BeEmpty())
		Expect(decided(ctx, api.whoami(ctx, b.plaintext))).To(Equal(http.StatusUnauthorized), "the Secret holds a key that is dead")
		Expect(plaintextIn(ctx, admin, k.Namespace, k.SecretName())).To(Equal(b.plaintext), "it is not touched")

		// As docs/operations.md says.
		Expect(admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(k.Namespace),
			client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, "velero.io/restore-name": "nightly-1"})).To(Succeed())
		expectNewKey(ctx, api, b)
	}, SpecTimeout(2*patience))

	// The same as with the Secret excluded from the backup, and then one more thing.
	It("by Velero, ApiKey first: is a new key at once, and the old Secret can't be put over it", func(ctx SpecContext) {
		start(ctx)
		b := backUp(ctx, api, newNamespace(ctx), "website")
		lose(ctx, b)
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		expectNewKey(ctx, api, b)
		Expect(apierrors.IsAlreadyExists(admin.Create(ctx, velero(b.secret)))).To(BeTrue(), "Velero goes on then")
		// With --existing-resource-policy=update it patches.
		update := velero(b.secret)
		update.SetResourceVersion(read(ctx, update).GetResourceVersion())
		Expect(apierrors.IsInvalid(admin.Update(ctx, update))).To(BeTrue(), "the minted Secret is immutable")
		expectNewKey(ctx, api, b)
	}, SpecTimeout(2*patience))

	for name, order := range map[string]func(backup) []*unstructured.Unstructured{
		"Secret first": func(b backup) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{asIs(b.secret), asIs(b.apiKey)}
		},
		"ApiKey first": func(b backup) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{asIs(b.apiKey), asIs(b.secret)}
		},
	} {
		It("by kubectl, with the old owner, "+name+": is a new key as soon as the old Secret is collected", func(ctx SpecContext) {
			start(ctx)
			b := backUp(ctx, api, newNamespace(ctx), "website")
			lose(ctx, b)
			for _, o := range order(b) {
				if err := admin.Create(ctx, o); !apierrors.IsAlreadyExists(err) { // a new one was minted already
					Expect(err).NotTo(HaveOccurred())
				}
			}
			expectNewKey(ctx, api, b)
		}, SpecTimeout(2*patience))
	}

	It("in a namespace that is created again: is a new key of another organization", func(ctx SpecContext) {
		start(ctx)
		namespace := newNamespace(ctx)
		b := backUp(ctx, api, namespace, "website")
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		Expect(admin.Delete(ctx, ns)).To(Succeed())
		awaitGone(ctx, ns)
		Expect(decided(ctx, api.whoami(ctx, b.plaintext))).To(Equal(http.StatusUnauthorized))
		Expect(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		expectNewKey(ctx, api, b)
		old, _, _ := unstructured.NestedString(b.apiKey.Object, "status", "organizationID")
		k := typed(b)
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), k)).To(Succeed())
		Expect(k.Status.OrganizationID).NotTo(Equal(old))
	}, SpecTimeout(3*patience))

	It("brought by its hash: works again as it was, for the manifest is all of it", func(ctx SpecContext) {
		start(ctx)
		plaintext := newKey("live")
		namespace := newNamespace(ctx)
		hash := key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(namespace))
		k := create(ctx, broughtKey(namespace, "brought", hash.String()))
		awaitReason(ctx, k, v1alpha1.ReasonActive)
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
		b := read(ctx, k)
		deleteNow(ctx, k.Namespace, k.Name)
		Expect(decided(ctx, api.whoami(ctx, plaintext))).To(Equal(http.StatusUnauthorized))
		Expect(admin.Create(ctx, velero(b))).To(Succeed())
		awaitReason(ctx, k, v1alpha1.ReasonActive)
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
	}, SpecTimeout(2*patience))
})

var _ = Describe("Restore: a status that is restored as well", func() {
	restoreStatus := func(ctx context.Context, b backup) error {
		k := typed(b)
		if err := admin.Get(ctx, client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		restored := b.apiKey.DeepCopy()
		restored.SetResourceVersion(k.ResourceVersion)
		restored.SetUID(k.UID)
		return admin.Status().Update(ctx, restored)
	}

	It("is refused by the policy that the chart brings", func(ctx SpecContext) {
		controller := startController(ctx)
		api := startAPI(ctx, "live")
		b := backUp(ctx, api, newNamespace(ctx), "website")
		lose(ctx, b)
		controller.end()
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		Expect(apierrors.IsForbidden(restoreStatus(ctx, b))).To(BeTrue(), "letmepost-status-guard")
		startController(ctx)
		expectNewKey(ctx, api, b)
	}, SpecTimeout(2*patience))

	It("without that policy, is refused after the controller has minted a new key, and revives the old one before", func(ctx SpecContext) {
		ownPlane(ctx)
		controller := startController(ctx)
		api := startAPI(ctx, "live")
		b := backUp(ctx, api, newNamespace(ctx), "website")
		lose(ctx, b)
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		expectNewKey(ctx, api, b)
		Expect(apierrors.IsInvalid(restoreStatus(ctx, b))).To(BeTrue(), "hash is written once")
		expectNewKey(ctx, api, b)

		lose(ctx, b)
		controller.end()
		Expect(admin.Create(ctx, velero(b.apiKey))).To(Succeed())
		Expect(restoreStatus(ctx, b)).To(Succeed())
		Eventually(ctx, api.whoami(ctx, b.plaintext), patience, interval).Should(Equal(http.StatusOK), "this is why the policy is there")
		startController(ctx)
		deleteNow(ctx, b.apiKey.GetNamespace(), b.apiKey.GetName())
		Expect(decided(ctx, api.whoami(ctx, b.plaintext))).To(Equal(http.StatusUnauthorized), "revoked again")
	}, SpecTimeout(3*patience))
})
