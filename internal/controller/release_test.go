// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
)

// How Release waits, and for whom, test/integration shows with the processes themselves.
var _ = Describe("Release", Serial, func() {
	It("takes the finalizer off however often a key has it, and leaves those of others as they are", func(ctx SpecContext) {
		const ours, theirs, last = v1alpha1.FinalizerRevocation, "example.com/hold", "example.com/last"
		org := newOrg(ctx)
		stays, goes := mintKey(ctx, org), mintKey(ctx, org)
		op.stop()
		defer func() { op = startOperator() }()
		setFinalizers(ctx, stays, ours, theirs, ours, theirs, ours, last)
		setFinalizers(ctx, goes, ours, ours, ours)
		Expect(admin.Delete(ctx, goes)).To(Succeed())
		done, err := controller.Release(ctx, credentials, controller.ReleaseOptions{
			Namespace: "letmepost-system", WatchNamespaces: []string{org.Name}, Identity: "release-of-a-spec",
			Clock: clock.RealClock{}, Progress: GinkgoWriter,
		})
		Expect(err).NotTo(HaveOccurred())
		Expect(done).To(Equal(controller.Released{Keys: 2, Gone: 1}))
		awaitGone(ctx, goes)
		Expect(fetch(ctx, stays).Finalizers).To(Equal([]string{theirs, theirs, last}))
	})
})
