// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func lifetime(text string) string { return fmt.Sprintf("maxKeyLifetime: %q", text) }

func defaultLimit(requests, window string) string {
	return fmt.Sprintf("defaultRateLimit: {requests: %s, window: %q}", requests, window)
}

var _ = Describe("The schema of Profile", func() {
	DescribeTable("accepts, and what it accepts can be decoded:", func(ctx SpecContext, spec string) {
		namespace := newNamespace(ctx)
		p, err := create(ctx, profiles, namespace, spec)
		Expect(err).NotTo(HaveOccurred())
		expectDecodes(ctx, profiles, namespace, p.GetName())
	},
		Entry("nothing", "{}"),
		Entry("texts", "displayName: Häuser & Gärten\ndescription: |\n  two\n  lines"),
		Entry("the longest texts", "displayName: "+strings.Repeat("ü", 120)+"\ndescription: "+strings.Repeat("ü", 1000)),
		Entry("the shortest lifetime", lifetime("1s")),
		Entry("the longest lifetime", lifetime("87600h")),
		Entry("a lifetime in every unit", lifetime("1h1m1s")),
		Entry("the smallest rate limit", defaultLimit("1", "1s")),
		Entry("the largest rate limit", defaultLimit("1000000", "24h")),
	)

	DescribeTable("refuses, and says why:", func(ctx SpecContext, spec, phrase string) {
		_, err := create(ctx, profiles, newNamespace(ctx), spec)
		Expect(err).To(Satisfy(apierrors.IsInvalid))
		Expect(err).To(MatchError(ContainSubstring(phrase)))
	},
		Entry("an empty display name", `displayName: ""`, "spec.displayName"),
		Entry("a display name that is too long", "displayName: "+strings.Repeat("u", 121), "spec.displayName: Too long"),
		Entry("an empty description", `description: ""`, "spec.description"),
		Entry("a description that is too long", "description: "+strings.Repeat("u", 1001), "spec.description: Too long"),
		Entry("no lifetime", lifetime("0s"), "must be between 1s and 87600h (ten years)"),
		Entry("a lifetime of more than ten years", lifetime("87601h"), "must be between 1s and 87600h (ten years)"),
		Entry("a lifetime that overflows", lifetime("99999999h99999999h"), "spec.maxKeyLifetime"),
		Entry("a lifetime that overflows once", lifetime("99999999h"), "spec.maxKeyLifetime"),
		Entry("a lifetime in days", lifetime("30d"), "spec.maxKeyLifetime"),
		Entry("a lifetime in milliseconds", lifetime("2000ms"), "spec.maxKeyLifetime"),
		Entry("a lifetime with a fraction", lifetime("1.5h"), "spec.maxKeyLifetime"),
		Entry("a negative lifetime", lifetime("-1h"), "spec.maxKeyLifetime"),
		Entry("an empty lifetime", lifetime(""), "spec.maxKeyLifetime"),
		Entry("a lifetime of four parts", lifetime("1h1h1h1h"), "spec.maxKeyLifetime"),
		Entry("a lifetime that goes on and on", lifetime(strings.Repeat("1h", 17)), "spec.maxKeyLifetime: Too long"),
		Entry("an empty rate limit", "defaultRateLimit: {}", "spec.defaultRateLimit.requests: Required value"),
		Entry("a rate limit without a window", "defaultRateLimit: {requests: 1}", "spec.defaultRateLimit.window: Required value"),
		Entry("no requests", defaultLimit("0", "1s"), "greater than or equal to 1"),
		Entry("too many requests", defaultLimit("1000001", "1s"), "less than or equal to 1"),
		Entry("a window in days", defaultLimit("1", "1d"), "spec.defaultRateLimit.window"),
		Entry("no window", defaultLimit("1", ""), "spec.defaultRateLimit.window"),
		Entry("a window of more than a day", defaultLimit("1", "25h"), "must be between 1s and 24h"),
		Entry("a window that overflows", defaultLimit("1", "99999999h99999999h"), "spec.defaultRateLimit.window"),
		Entry("a window that goes on and on", defaultLimit("1", strings.Repeat("1h", 17)), "spec.defaultRateLimit.window: Too long"),
	)

	It("may change at any time, unlike an ApiKey", func(ctx SpecContext) {
		p, err := create(ctx, profiles, newNamespace(ctx), "displayName: One\nmaxKeyLifetime: 1h\n"+defaultLimit("1", "1s"))
		Expect(err).NotTo(HaveOccurred())
		Expect(unstructured.SetNestedMap(p.Object, map[string]any{"displayName": "Two", "description": "more"}, "spec")).To(Succeed())
		_, err = replace(ctx, profiles, p)
		Expect(err).NotTo(HaveOccurred())
	})
})
