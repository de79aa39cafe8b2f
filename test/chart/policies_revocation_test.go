// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"encoding/json"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// The ApiKeys of which these policies speak.
const (
	protected = "protected" // it is a key, and has the finalizer
	bare      = "bare"      // it is a key, and lacks it: it was restored, or is older than the policy
	unmade    = "unmade"    // it is no key yet
	going     = "going"     // it is being deleted, and waits
	applied   = "applied"   // it is a key, and has the finalizer by a manifest that somebody applies
	left      = "left"      // it is being deleted, and the controller has let it go; somebody else holds it
)

const foreignFinalizer = "example.com/hold"

// newKeys makes them, each with another finalizer beside.
func newKeys(ctx context.Context, namespace string) {
	GinkgoHelper()
	for name, finalizers := range map[string][]string{
		protected: {foreignFinalizer, v1alpha1.FinalizerRevocation}, bare: {foreignFinalizer}, unmade: nil,
		going: {v1alpha1.FinalizerRevocation}, left: {foreignFinalizer},
	} {
		k := apiKey(namespace, name, v1alpha1.EnvironmentTest)
		k.Finalizers = finalizers
		Expect(admin.Create(ctx, k)).To(Succeed())
		if name == going || name == left {
			Expect(admin.Delete(ctx, k)).To(Succeed()) // before it is a key: without the finalizer, nobody may later
		}
		if name == unmade {
			continue
		}
		setMinted(ctx, k)
	}
	Expect(apply(ctx, admin, namespace, []string{v1alpha1.FinalizerRevocation})).To(Succeed())
	setMinted(ctx, apiKey(namespace, applied, ""))
}

func setMinted(ctx context.Context, k *v1alpha1.ApiKey) {
	GinkgoHelper()
	minted := client.RawPatch(types.MergePatchType, []byte(`{"status":{"mintedAt":"2026-01-01T00:00:00Z"}}`))
	Eventually(ctx, func() error { return as(controllerUser).Status().Patch(ctx, k, minted) }).Should(Succeed())
}

// apply applies the manifest of one key server-side. What it had and has no more is taken off, unless another manager
// has it as well.
func apply(
	ctx context.Context, c client.Client, namespace string, finalizers []string, how ...client.PatchOption,
) error {
	k := apiKey(namespace, applied, v1alpha1.EnvironmentTest)
	k.Finalizers = finalizers
	k.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ApiKey"))
	body, err := json.Marshal(map[string]any{
		"apiVersion": k.APIVersion, "kind": k.Kind, "spec": k.Spec,
		"metadata": map[string]any{"name": k.Name, "namespace": k.Namespace, "finalizers": append([]string{}, finalizers...)},
	})
	if err != nil {
		return err
	}
	how = append(how, client.FieldOwner("gitops"), client.ForceOwnership)
	return c.Patch(ctx, k, client.RawPatch(types.ApplyPatchType, body), how...)
}

func applyingFinalizers(finalizers ...string) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		return apply(ctx, c, namespace, finalizers, client.DryRunAll)
	}
}

// deletingAll is kubectl delete --all.
func deletingAll(ctx context.Context, c client.Client, namespace string) error {
	return c.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(namespace), client.DryRunAll)
}

// merging is a merge patch of metadata.
func merging(name string, metadata map[string]any) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		body, err := json.Marshal(map[string]any{"metadata": metadata})
		if err != nil {
			return err
		}
		return c.Patch(ctx, apiKey(namespace, name, ""), client.RawPatch(types.MergePatchType, body), client.DryRunAll)
	}
}

// replacing is what kubectl replace and Replace=true do: what the manifest does not have is taken off.
func replacing(name string, finalizers ...string) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := &v1alpha1.ApiKey{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, k); err != nil {
			return err
		}
		k.Finalizers, k.ManagedFields = finalizers, nil
		return c.Update(ctx, k, client.DryRunAll)
	}
}

// removing is a JSON patch.
func removing(name string) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		body := []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`)
		return c.Patch(ctx, apiKey(namespace, name, ""), client.RawPatch(types.JSONPatchType, body), client.DryRunAll)
	}
}

func settingAnnotation(name, value string) deed {
	return merging(protected, map[string]any{"annotations": map[string]any{"letmepost.dev/" + name: value}})
}

// releasing says that a key may go unconfirmed, and takes the finalizer off.
func releasing(name string) deed {
	return merging(name, map[string]any{
		"finalizers": nil, "annotations": map[string]any{v1alpha1.AnnotationUnconfirmed: v1alpha1.Unconfirmed},
	})
}

func deletingKey(name string) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		return c.Delete(ctx, apiKey(namespace, name, ""), client.DryRunAll)
	}
}

func creatingWith(change func(*metav1.ObjectMeta)) deed {
	return func(ctx context.Context, c client.Client, namespace string) error {
		k := apiKey(namespace, "lmp-new", v1alpha1.EnvironmentTest)
		change(&k.ObjectMeta)
		return c.Create(ctx, k, client.DryRunAll)
	}
}

var _ = Describe("The policy of revocation", Ordered, ContinueOnFailure, func() {
	const (
		ours      = v1alpha1.FinalizerRevocation
		nobodyBut = "nobody but letmepost-controller may take the finalizer letmepost.dev/revocation off"
		mayNot    = "takes the permission to create apikeys/unconfirmed"
		notYet    = "puts it back within moments: delete it again then"
		once      = "may list letmepost.dev/revocation once, and 32 finalizers in all"
		trueOrNot = "letmepost.dev/cancel-scheduled is true or it is not there"
	)
	var namespace string
	BeforeAll(func(ctx context.Context) {
		install(ctx, renderRules(ctx, nil))
		namespace = newStage(ctx)
		newKeys(ctx, namespace)
		awaitPolicies(ctx, namespace)
	}, NodeTimeout(2*patience))

	finalizers := func(of ...string) map[string]any { return map[string]any{"finalizers": of} }
	everybody := []string{masters, clusterAdmin, "admin", "edit", "letmepost-apikey-minter"}
	administrators, others := everybody[:2], everybody[2:]
	controller := []string{controllerUser}
	DescribeTable("lets nobody switch the confirmation off by the way", func(ctx context.Context, who []string, what deed, says string) {
		for _, user := range who {
			err := what(ctx, as(user), namespace)
			if says == "" {
				Expect(err).NotTo(HaveOccurred(), user)
				continue
			}
			Expect(err).To(MatchError(ContainSubstring(says)), user)
		}
	},
		Entry("kubectl replace", everybody, replacing(protected), nobodyBut),
		Entry("kubectl replace that keeps another's", everybody, replacing(protected, foreignFinalizer), nobodyBut),
		Entry("kubectl replace that says what to do instead", everybody, replacing(protected), `use "kubectl apply"`),
		Entry("kubectl replace that keeps it", everybody, replacing(protected, ours), ""),
		Entry("kubectl apply with finalizers: []", everybody, merging(protected, finalizers()), nobodyBut),
		Entry("a patch to null", everybody, merging(protected, map[string]any{"finalizers": nil}), nobodyBut),
		Entry("a patch of another's", everybody, merging(protected, finalizers(foreignFinalizer)), nobodyBut),
		Entry("a JSON patch", everybody, removing(protected), nobodyBut),
		Entry("kubectl replace of a key that is being deleted", everybody, replacing(going), nobodyBut),
		Entry("a JSON patch of a key that is being deleted", everybody, removing(going), nobodyBut),
		Entry("a manifest that had it and lists none", everybody, applyingFinalizers(), nobodyBut),
		Entry("a manifest that had it and lists another's", everybody, applyingFinalizers(foreignFinalizer), nobodyBut),
		Entry("a manifest that has it", everybody, applyingFinalizers(ours), ""),
		Entry("of a key that does not exist yet: it is put on before it does", everybody, replacing(unmade), ""),
		Entry("a label", everybody, merging(protected, map[string]any{"labels": map[string]any{"a": "b"}}), ""),
		Entry("the others' own", everybody, merging(protected, finalizers(ours)), ""),
		Entry("the controller, when it is confirmed", controller, removing(going), ""),
		Entry("the controller, putting it back", controller, merging(bare, finalizers(ours, foreignFinalizer)), ""),

		Entry("the way out: administrators", administrators, releasing(protected), ""),
		Entry("the way out: administrators, of a key that is being deleted", administrators, releasing(going), ""),
		Entry("the way out: nobody else", others, releasing(protected), mayNot),
		Entry("the way out: nobody else, by an annotation first", others, settingAnnotation("unconfirmed", "true"), mayNot),
		Entry("the way out: nobody else, by a manifest of a new key", others, creatingWith(func(m *metav1.ObjectMeta) {
			m.Annotations = map[string]string{v1alpha1.AnnotationUnconfirmed: v1alpha1.Unconfirmed}
		}), mayNot),

		Entry("a deletion", everybody[:4], deletingKey(protected), ""),
		Entry("a deletion without the finalizer", everybody[:4], deletingKey(bare), notYet),
		Entry("a deletion of all at once, one of them without it", administrators, deed(deletingAll), notYet),
		Entry("a deletion before it is a key", everybody[:4], deletingKey(unmade), ""),
		Entry("a deletion once more", everybody[:4], deletingKey(going), ""),
		Entry("a deletion once more, of what another holds", everybody[:4], deletingKey(left), ""),

		Entry("a new key with the finalizer 200 times", everybody, creatingWith(func(m *metav1.ObjectMeta) {
			m.Finalizers = slices.Repeat([]string{ours}, 200)
		}), once),
		Entry("a new key with it twice", everybody, creatingWith(func(m *metav1.ObjectMeta) { m.Finalizers = []string{ours, ours} }), once),
		Entry("a new key with it once", everybody, creatingWith(func(m *metav1.ObjectMeta) { m.Finalizers = []string{ours} }), ""),
		Entry("once more on a key that has it", everybody, merging(protected, finalizers(ours, ours, foreignFinalizer)), once),

		Entry("cancel-scheduled: true", everybody, settingAnnotation("cancel-scheduled", "true"), ""),
		Entry("cancel-scheduled: True", everybody, settingAnnotation("cancel-scheduled", "True"), ""),
		Entry("cancel-scheduled: yes", everybody, settingAnnotation("cancel-scheduled", "yes"), ""),
		Entry("cancel-scheduled: 1", everybody, settingAnnotation("cancel-scheduled", "1"), ""),
		Entry("cancel-scheduled: on", everybody, settingAnnotation("cancel-scheduled", "ON"), ""),
		Entry(`cancel-scheduled: "true "`, everybody, settingAnnotation("cancel-scheduled", "true "), ""),
		Entry("cancel-scheduled: treu", everybody, settingAnnotation("cancel-scheduled", "treu"), trueOrNot),
		Entry("cancel-scheduled: false", everybody, settingAnnotation("cancel-scheduled", "false"), trueOrNot),
		Entry("cancel-scheduled: nothing", everybody, settingAnnotation("cancel-scheduled", ""), trueOrNot),
		Entry("a new key with cancel-scheduled: maybe", everybody, creatingWith(func(m *metav1.ObjectMeta) {
			m.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "maybe"}
		}), trueOrNot),
	)
})
