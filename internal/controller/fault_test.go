// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// That no key is minted twice, and that its hash is that of its Secret, the ledger sees to.
var _ = Describe("A fault in the middle of minting", func() {
	DescribeTable("leaves one Secret and one hash:", func(ctx SpecContext, secret, delivered, fatal bool) {
		k := keyIn(newOrg(ctx))
		c := cut{method: http.MethodPatch, path: statusPath(k), delivered: delivered, fatal: fatal}
		if secret {
			c.method, c.path = http.MethodPost, secretsPath(k.Namespace)
		}
		struck := op.wire.cutAt(c)
		Expect(admin.Create(ctx, k)).To(Succeed())
		Eventually(ctx, struck).Should(BeClosed())
		if fatal {
			restart()
		}
		k = await(ctx, k, haveReason(v1alpha1.ReasonActive),
			haveCondition(v1alpha1.ConditionSecretAvailable, "True", v1alpha1.ReasonSecretCreated))
		Expect(k.Status.Hash).To(Equal(hashIn(secretOf(ctx, k))))
	},
		Entry("the request for the Secret is lost", true, false, false),
		Entry("the Secret is created, and the answer lost", true, true, false),
		Entry("the request for status is lost", false, false, false),
		Entry("status is written, and the answer lost", false, true, false),
		Entry("a crash before the Secret", true, false, true),
		Entry("a crash after the Secret", true, true, true),
		Entry("a crash before status", false, false, true),
		Entry("a crash after status", false, true, true),
	)

	It("gives a key brought by hash its hash, whatever happens", func(ctx SpecContext) {
		k := keyIn(newOrg(ctx), withHash(newHash()))
		struck := op.wire.cutAt(cut{method: http.MethodPatch, path: statusPath(k)})
		Expect(admin.Create(ctx, k)).To(Succeed())
		Eventually(ctx, struck).Should(BeClosed())
		awaitReason(ctx, k, v1alpha1.ReasonActive)
	})
})
