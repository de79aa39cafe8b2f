// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// To CEL in a schema, a null is a field that is not there. So the schema can refuse it where a default would have
// filled an absent field in, as in scopes; for the others there is the chart's policy, and test/chart looks at each
// field.
var _ = Describe("A field that narrows what a key can do", func() {
	It("is not filled in with its default because it is null", func(ctx SpecContext) {
		_, err := create(ctx, apiKeys, newNamespace(ctx), live("scopes: null"))
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(ContainSubstring("scopes is null, which would be all scopes")))
	})

	DescribeTable("is not emptied from within:", func(ctx SpecContext, resource, spec string) {
		_, err := create(ctx, resource, newNamespace(ctx), spec)
		Expect(err).To(Satisfy(refused))
	},
		Entry("a scope", apiKeys, live("scopes: [null]")),
		Entry("no scopes", apiKeys, live("scopes: []")),
		Entry("the name of a Profile", apiKeys, live("profileRef: {name: null}")),
		Entry("a Profile without a name", apiKeys, live("profileRef: {}")),
		Entry("requests", apiKeys, live("rateLimit: {requests: null, window: 1m}")),
		Entry("a window", profiles, "defaultRateLimit: {requests: 1, window: null}"),
		Entry("an expiry that is empty", apiKeys, live(`expiresAt: ""`)),
		Entry("a Profile that is empty", apiKeys, live(`profileRef: {name: ""}`)),
	)

	// A definition can't keep nulls in a map, so that neither the schema nor a policy ever sees them. docs/guard.md says
	// so to services: a claim that is missing is to be the least.
	It("may be a claim that is null: it is no claim, and no other text", func(ctx SpecContext) {
		k, err := create(ctx, apiKeys, newNamespace(ctx), live("claims: {plan: null, customer: acme}"))
		Expect(err).NotTo(HaveOccurred())
		claims, _, err := unstructured.NestedMap(k.Object, "spec", "claims")
		Expect(err).NotTo(HaveOccurred())
		Expect(claims).To(Equal(map[string]any{"customer": "acme"}))
		_, err = create(ctx, apiKeys, newNamespace(ctx), live("claims: {plan: null}"))
		Expect(err).To(Satisfy(refused), "nothing but nulls")
	})

	It("is shown in the columns of kubectl get", func() {
		for _, version := range definitions(GinkgoTB())[apiKeys].Spec.Versions {
			shown := ""
			for _, column := range version.AdditionalPrinterColumns {
				shown += column.JSONPath + "\n"
			}
			for _, field := range []string{".profileRef", ".scopes", ".expiresAt"} {
				Expect(strings.Contains(shown, field)).To(BeTrue(), "%s in\n%s", field, shown)
			}
		}
	})
})
