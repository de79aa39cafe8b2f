// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("A deleted key with letmepost.dev/cancel-scheduled, when no API of its environment runs", func() {
	It("waits for one, which cancels what the key has queued before it is gone", func(ctx SpecContext) {
		startController(ctx)
		flags := onSQLite()
		api := startAPI(ctx, "test", flags...)
		startAPI(ctx, "live") // of the other environment: it has nothing to cancel
		d := newDesk(ctx, api)
		leaked := d.mint(ctx, api, "leaked", nil)
		id := d.queue(ctx, api, leaked, "leaked", future)
		annotate(ctx, d.namespace, "leaked", "true")
		Expect(api.Stop(ctx)).To(Succeed())

		k := apiKey(d.namespace, "leaked")
		Expect(admin.Delete(ctx, k)).To(Succeed())
		awaitCondition(ctx, k, v1alpha1.ConditionRevoking, v1alpha1.ReasonAwaitingCancellation)

		api = startAPI(ctx, "test", flags...)
		Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse(), "the deletion completes")
		Expect(d.read(ctx, api, id)()).To(And(HaveField("Status", canceled), neverTried))
	}, SpecTimeout(2*patience))
})
