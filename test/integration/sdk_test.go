// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/sdk"
)

var _ = Describe("The reference's TypeScript SDK", func() {
	It("works unchanged on both environments", func(ctx SpecContext) {
		startController(ctx)
		namespace := newNamespace(ctx)
		profile := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
		Expect(admin.Create(ctx, profile)).To(Succeed())
		for _, environment := range []v1alpha1.Environment{v1alpha1.EnvironmentLive, v1alpha1.EnvironmentTest} {
			api := startAPI(ctx, string(environment), onSQLite()...)
			k := apiKey(namespace, string(environment))
			k.Spec.Environment = environment
			key := minted(ctx, create(ctx, k))
			Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
			Eventually(ctx, api.status(ctx, "/v1/profiles/"+string(profile.UID), "Bearer "+key), patience, interval).Should(Equal(http.StatusOK))
			Expect(sdk.Subject{
				Client:  sdk.Client{URL: api.url, Key: key},
				Profile: string(profile.UID), Connected: environment == v1alpha1.EnvironmentTest,
			}.Check(ctx)).To(Succeed(), "%s", environment)
		}
	}, SpecTimeout(3*patience))
})
