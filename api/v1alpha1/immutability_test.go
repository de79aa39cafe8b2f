// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// valuesOf holds two values for every field of ApiKeySpec, nested ones too. A field that is not here fails the test.
var valuesOf = map[string][2]any{
	"environment":                {"live", "test"},
	"profileRef":                 {map[string]any{"name": "shop"}, map[string]any{"name": "blog"}},
	"profileRef.name":            {"shop", "blog"},
	"scopes":                     {[]any{"posts:read"}, []any{"posts:read", "posts:write"}},
	"claims":                     {map[string]any{"plan": "gold"}, map[string]any{"plan": "gold", "region": "eu"}},
	"secretName":                 {"one", "two"},
	"secretTemplate":             {map[string]any{"labels": map[string]any{"a": "b"}}, map[string]any{"labels": map[string]any{"a": "c"}}},
	"secretTemplate.labels":      {map[string]any{"a": "b"}, map[string]any{"a": "b", "c": "d"}},
	"secretTemplate.annotations": {map[string]any{"a": "b"}, map[string]any{"c": "b"}},
	"secretHash":                 {someHash, "bound:" + strings.Repeat("0", 32) + ":" + strings.Repeat("0", 32)},
	"expiresAt":                  {"2030-01-31T00:00:00Z", "2030-01-31T00:00:01Z"},
	"rateLimit":                  {map[string]any{"requests": int64(1), "window": "1s"}, map[string]any{"requests": int64(1), "window": "2s"}},
	"rateLimit.requests":         {int64(1), int64(2)},
	"rateLimit.window":           {"1m", "60s"},
}

// companions are what must stand beside a field for the manifest to be valid without it.
var companions = map[string]any{
	"profileRef.name":            map[string]any{"profileRef": map[string]any{"name": "shop"}},
	"secretTemplate.labels":      map[string]any{"secretTemplate": map[string]any{"annotations": map[string]any{"x": "y"}}},
	"secretTemplate.annotations": map[string]any{"secretTemplate": map[string]any{"labels": map[string]any{"x": "y"}}},
	"rateLimit.requests":         map[string]any{"rateLimit": map[string]any{"requests": int64(7), "window": "7s"}},
	"rateLimit.window":           map[string]any{"rateLimit": map[string]any{"requests": int64(7), "window": "7s"}},
}

const immutable = "spec is immutable: create a new ApiKey with the wanted spec, move its users over, then delete this one"

// specWith is a valid spec in which the field has value; nil unsets it.
func specWith(field string, value any) map[string]any {
	GinkgoHelper()
	spec := map[string]any{"environment": "live"}
	if companion, ok := companions[field].(map[string]any); ok {
		for k, v := range (&unstructured.Unstructured{Object: companion}).DeepCopy().Object {
			spec[k] = v
		}
	}
	path := strings.Split(field, ".")
	if value == nil {
		unstructured.RemoveNestedField(spec, path...)
		return spec
	}
	Expect(unstructured.SetNestedField(spec, value, path...)).To(Succeed())
	return spec
}

var _ = Describe("The spec of an ApiKey", func() {
	var namespace string
	BeforeEach(func(ctx SpecContext) { namespace = newNamespace(ctx) })

	// change creates an ApiKey with one spec, tries to give it another, and returns what the apiserver says.
	change := func(ctx SpecContext, from, to map[string]any) error {
		GinkgoHelper()
		body, err := (&unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "letmepost.dev/v1alpha1", "kind": "ApiKey",
			"metadata": map[string]any{"generateName": "it-", "namespace": namespace}, "spec": from,
		}}).MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
		k, err := answer(api.Post().Namespace(namespace).Resource(apiKeys).Body(body).Do(ctx))
		Expect(err).NotTo(HaveOccurred())
		k.Object["spec"] = to
		_, err = replace(ctx, apiKeys, k)
		return err
	}
	expectRefusal := func(err error) {
		GinkgoHelper()
		Expect(err).To(Satisfy(apierrors.IsInvalid))
		Expect(err).To(MatchError(ContainSubstring(immutable)))
	}

	It("cannot change in any field: neither to another value, nor from unset to set, nor back", func(ctx SpecContext) {
		spec := schemaOf(definitions(GinkgoTB())["apikeys"]).Properties["spec"]
		required := map[string]bool{}
		var fields []string
		walk("", &spec, func(path string, s *schema) {
			for _, name := range s.Required {
				required[strings.TrimPrefix(path+"."+name, ".")] = true
			}
			if path != "" && !strings.HasSuffix(path, anyItem) && !strings.HasSuffix(path, anyKey) {
				fields = append(fields, path)
			}
		})
		Expect(fields).To(ContainElements("environment", "rateLimit.window"), "the walk over the schema found too little")
		for field := range valuesOf {
			Expect(fields).To(ContainElement(field), "valuesOf has a field that is not in the schema")
		}
		for _, field := range fields {
			By(field)
			values, ok := valuesOf[field]
			Expect(ok).To(BeTrue(), "%s is new: give it two values in valuesOf", field)
			one, two, none := specWith(field, values[0]), specWith(field, values[1]), specWith(field, nil)
			expectRefusal(change(ctx, one, two))
			expectRefusal(change(ctx, two, one))
			if !required[field] {
				expectRefusal(change(ctx, none, one))
				expectRefusal(change(ctx, one, none))
			}
		}
	})

	It("cannot change inside a map", func(ctx SpecContext) {
		labels := func(value map[string]any) map[string]any { return specWith("secretTemplate.labels", value) }
		from := labels(map[string]any{"a": "b", "c": "d"})
		expectRefusal(change(ctx, from, labels(map[string]any{"a": "b", "c": "e"})))
		expectRefusal(change(ctx, from, labels(map[string]any{"a": "b"})))
		expectRefusal(change(ctx, from, labels(map[string]any{"a": "b", "c": "d", "e": "f"})))
	})

	It("can be applied again as it is, also with its defaults left out or its set in another order", func(ctx SpecContext) {
		all := []any{"posts:read", "posts:write", "media:read", "media:write", "accounts:read", "accounts:write"}
		Expect(change(ctx, specWith("scopes", all), specWith("scopes", nil))).To(Succeed())
		Expect(change(ctx, specWith("scopes", nil), specWith("scopes", all))).To(Succeed())
		reversed := slices.Clone(all)
		slices.Reverse(reversed)
		Expect(change(ctx, specWith("scopes", all), specWith("scopes", reversed))).To(Succeed())
	})

	It("leaves metadata free", func(ctx SpecContext) {
		k, err := create(ctx, apiKeys, namespace, "environment: live")
		Expect(err).NotTo(HaveOccurred())
		k.SetLabels(map[string]string{"team": "growth"})
		k.SetAnnotations(map[string]string{"note": "x"})
		k, err = replace(ctx, apiKeys, k)
		Expect(err).NotTo(HaveOccurred())
		Expect(k.GetGeneration()).To(BeEquivalentTo(1))
	})
})
