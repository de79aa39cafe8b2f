// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// harmless are the optional fields of specs that may be null, each with the reason: without it, a key can do no more.
var harmless = map[string]string{
	"ApiKey.secretName":     "the Secret has the ApiKey's name",
	"ApiKey.secretTemplate": "the Secret has no metadata of one's own",
	"ApiKey.secretHash":     "a key is minted that nobody knows yet",
	"Profile.displayName":   "people see the Profile's name",
	"Profile.description":   "people see none",
}

// withNull is an object whose spec has a field that is null.
func withNull(namespace, kind, field string) *unstructured.Unstructured {
	spec := map[string]any{field: nil}
	if kind == "ApiKey" {
		spec["environment"] = "test"
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "letmepost.dev/v1alpha1", "kind": kind, "spec": spec,
		"metadata": map[string]any{"name": "null", "namespace": namespace},
	}}
}

// A null is what templates make of a value that is missing. The apiserver drops it unless the definition says
// otherwise, and a field that narrows what a key can do would be one that was never there.
var _ = Describe("A field that narrows what a key can do", func() {
	It("is never taken for absent because it is null", func(ctx context.Context) {
		install(ctx, renderRules(ctx, nil))
		org := newOrganization(ctx)
		Eventually(ctx, func() error {
			return admin.Create(ctx, withNull(org, "ApiKey", "profileRef"), client.DryRunAll)
		}).Should(MatchError(ContainSubstring("leave the field out")))
		definitions, err := kube.LoadManifests(kube.Path("config/crd"))
		Expect(err).NotTo(HaveOccurred())
		narrowing := 0
		for _, definition := range definitions {
			kind, _ := dig(definition.Object, "spec names kind").(string)
			if kind == "LeakedKey" { // which nobody writes but the controller, and whatever it says narrows nothing
				continue
			}
			spec := dig(definition.Object, "spec versions 0 schema openAPIV3Schema properties spec")
			required, _ := dig(spec, "required").([]any)
			for _, field := range slices.Sorted(maps.Keys(dig(spec, "properties").(map[string]any))) {
				if slices.Contains(required, any(field)) {
					continue
				}
				created := admin.Create(ctx, withNull(org, kind, field), client.DryRunAll)
				if harmless[kind+"."+field] != "" {
					Expect(created).NotTo(HaveOccurred(), "%s.%s", kind, field)
					continue
				}
				narrowing++
				applied := admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(withNull(org, kind, field)),
					client.FieldOwner("kubectl"), client.ForceOwnership, client.DryRunAll)
				for verb, err := range map[string]error{"create": created, "apply": applied} {
					Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%s: %s.%s is null: %v", verb, kind, field, err)
					Expect(err).To(MatchError(ContainSubstring("leave the field out")), "it says what to do")
				}
			}
		}
		Expect(narrowing).To(Equal(7))
	}, SpecTimeout(2*patience))

	It("is not dropped because it is misspelt, as docs/gitops.md says", func(ctx SpecContext) {
		misspelt := withNull(newOrganization(ctx), "ApiKey", "profileref")
		misspelt.Object["spec"].(map[string]any)["profileref"] = map[string]any{"name": "shop"}
		strict := client.WithFieldValidation(admin, metav1.FieldValidationStrict)
		Expect(strict.Create(ctx, misspelt.DeepCopy(), client.DryRunAll)).To(MatchError(ContainSubstring("profileref")))
		Expect(admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(misspelt.DeepCopy()),
			client.FieldOwner("flux"), client.DryRunAll)).To(MatchError(ContainSubstring("profileref")))
	}, SpecTimeout(patience))
})
