// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("A ResourceQuota as docs/operations.md has it", func() {
	It("bounds the ApiKeys of one organization, and says so", func(ctx SpecContext) {
		org, other := newOrganization(ctx), newOrganization(ctx)
		objects, err := kube.LoadManifests(kube.Path("docs/examples/resourcequota.yaml"))
		Expect(err).NotTo(HaveOccurred())
		quota := objects[0]
		quota.SetNamespace(org)
		Expect(unstructured.SetNestedField(quota.Object, "3", "spec", "hard", "count/apikeys.letmepost.dev")).To(Succeed())
		Expect(admin.Create(ctx, quota)).To(Succeed())
		Eventually(ctx, func() any { // the controller manager has counted what is there
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(quota), quota)).To(Succeed())
			return dig(quota.Object, "status hard count/apikeys.letmepost.dev")
		}).Should(Equal("3"))
		for i := range 3 {
			Expect(admin.Create(ctx, apiKey(org, fmt.Sprint("key-", i), v1alpha1.EnvironmentTest))).To(Succeed())
		}
		Expect(admin.Create(ctx, apiKey(org, "one-more", v1alpha1.EnvironmentTest))).To(MatchError(ContainSubstring(
			"exceeded quota: letmepost, requested: count/apikeys.letmepost.dev=1")))
		Expect(admin.Create(ctx, apiKey(other, "one-more", v1alpha1.EnvironmentTest))).To(Succeed())
	}, SpecTimeout(2*patience))
})
