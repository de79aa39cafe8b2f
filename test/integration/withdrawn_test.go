// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
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

// It is refused by whoever hears of the deletion, and what it has queued is canceled there. But whoever is cut off goes
// on taking posts until its fence shuts.
var _ = Describe("A deleted key with letmepost.dev/cancel-scheduled, of which a replica can't hear", func() {
	It("has nothing queued when it is gone, whatever that replica took until its fence was shut", func(ctx SpecContext) {
		startController(ctx)
		flags := append(onSQLite(), "--lease-duration", "9s") // the fence shuts after six
		api := startAPI(ctx, "test", flags...)
		proxy, err := cluster.StartProxy()
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		kubeconfig := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
		Expect(proxy.ServiceAccountKubeconfig(ctx, systemNamespace, testAccount, kubeconfig)).To(Succeed())
		lone := startAPI(ctx, "test", append(flags, "--kubeconfig", kubeconfig)...)
		d := newDesk(ctx, api)
		leaked := d.mint(ctx, api, "leaked", nil)
		Eventually(ctx, lone.whoami(ctx, leaked), patience, interval).Should(Equal(http.StatusOK))
		annotate(ctx, d.namespace, "leaked", "true")
		early := d.queue(ctx, api, leaked, "early", future)

		proxy.SetMode(kube.Silent)
		k := apiKey(d.namespace, "leaked")
		Expect(admin.Delete(ctx, k)).To(Succeed())
		Eventually(ctx, d.read(ctx, api, early), patience, interval).Should(HaveField("Status", canceled))
		late := d.queue(ctx, lone, leaked, "late", future)
		Expect(exists(ctx, k)).To(BeTrue(), "the deletion waits for the replica that is cut off")

		Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse(), "the deletion completes")
		Expect(d.read(ctx, api, late)()).To(And(HaveField("Status", canceled), neverTried))
	}, SpecTimeout(2*patience))
})
