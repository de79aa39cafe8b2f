// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	leakedKeys = "leakedkeys"
	goodLeak   = "{apiKeyNamespace: acme, apiKeyName: backend, environment: live, reportedTo: letmepost-api-live-0}"
)

// createLeak posts a LeakedKey of that name.
func createLeak(ctx context.Context, namespace, name, spec string) (*unstructured.Unstructured, error) {
	GinkgoHelper()
	body, err := yaml.YAMLToJSON([]byte(`{apiVersion: letmepost.dev/v1alpha1, kind: LeakedKey, metadata: {name: "` + name + `"}, spec: ` + spec + `}`))
	Expect(err).NotTo(HaveOccurred())
	return answer(api.Post().Namespace(namespace).Resource(leakedKeys).Body(body).Do(ctx))
}

var _ = Describe("The schema of LeakedKey", func() {
	digest := strings.Repeat("0123456789abcdef", 4)

	It("takes the digest of a key as its name, and what it says can't be changed", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		l, err := createLeak(ctx, namespace, digest, goodLeak)
		Expect(err).NotTo(HaveOccurred())
		Expect(unstructured.SetNestedField(l.Object, "other", "spec", "apiKeyName")).To(Succeed())
		_, err = replace(ctx, leakedKeys, l)
		Expect(err).To(Satisfy(apierrors.IsInvalid))
		Expect(err).To(MatchError(ContainSubstring("spec is immutable")))
	})

	DescribeTable("refuses, and says why:", func(ctx SpecContext, name, spec, phrase string) {
		_, err := createLeak(ctx, newNamespace(ctx), name, spec)
		Expect(err).To(Satisfy(apierrors.IsInvalid))
		Expect(err).To(MatchError(ContainSubstring(phrase)))
	},
		Entry("another name", "backend", goodLeak, "the name of a LeakedKey is the SHA-256 of the key"),
		Entry("nothing", digest, "{}", "spec.apiKeyName: Required value"),
		Entry("no text", digest, `{apiKeyNamespace: "", apiKeyName: "", environment: live, reportedTo: "", hint: ""}`, "spec.hint"),
		Entry("texts that are too long", digest, `{apiKeyNamespace: `+strings.Repeat("n", 64)+`, apiKeyName: `+strings.Repeat("n", 254)+
			`, environment: live, reportedTo: `+strings.Repeat("n", 254)+`, hint: `+strings.Repeat("n", 65)+`}`, "spec.hint: Too long"),
		Entry("another environment", digest, "{apiKeyNamespace: acme, apiKeyName: backend, environment: prod, reportedTo: x}", "spec.environment: Unsupported value"),
	)
})
