// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/revocation"
)

// A Lease has room for fewer keys than one organization can delete. Another's deletions are not to notice.
var _ = Describe("A deletion, while another organization's do not end", func() {
	// more than a Lease names
	const many = revocation.MaxNamed + 20

	makeKeys := func(ctx SpecContext, namespace string, mod func(*v1alpha1.ApiKey)) {
		GinkgoHelper()
		var group errgroup.Group
		group.SetLimit(sideBySide)
		for i := range many {
			group.Go(func() error {
				k := apiKey(namespace, fmt.Sprintf("key-%03d", i))
				mod(k)
				return admin.Create(ctx, k)
			})
		}
		Expect(group.Wait()).To(Succeed())
		Eventually(ctx, func() (unminted int) {
			keys := &v1alpha1.ApiKeyList{}
			Expect(admin.List(ctx, keys, client.InNamespace(namespace))).To(Succeed())
			for i := range keys.Items {
				if keys.Items[i].Status.Hash == "" {
					unminted++
				}
			}
			return unminted
		}, 2*patience, time.Second).Should(BeZero())
	}

	// deleteAll deletes keys of ours, one after the other, and returns how long the slowest took.
	deleteAll := func(ctx SpecContext, namespace, round string, n int) time.Duration {
		GinkgoHelper()
		var took []time.Duration
		for i := range n {
			k := apiKey(namespace, fmt.Sprintf("%s-%02d", round, i))
			began := time.Now()
			Expect(admin.Delete(ctx, k)).To(Succeed())
			Eventually(ctx, exists, patience, 5*time.Millisecond).WithArguments(k).Should(BeFalse())
			took = append(took, time.Since(began))
		}
		return slices.Max(took)
	}

	It("is as fast as ever: their keys are to cancel what nobody can cancel, and then they end all at once", func(ctx SpecContext) {
		const mine = 15
		startController(ctx)
		startAPI(ctx, "live")
		startAPI(ctx, "live")
		theirs, ours := newNamespace(ctx), newNamespace(ctx)
		for i := range mine {
			for _, round := range []string{"alone", "beside", "amid"} {
				mint(ctx, ours, fmt.Sprintf("%s-%02d", round, i))
			}
		}
		makeKeys(ctx, theirs, func(k *v1alpha1.ApiKey) {
			k.Spec.Environment = v1alpha1.EnvironmentTest
			k.Annotations = map[string]string{v1alpha1.AnnotationCancelScheduled: "Yes"}
		})
		alone := deleteAll(ctx, ours, "alone", mine)

		By("deleting keys of the test environment, of which no API runs")
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(theirs))).To(Succeed())
		beside := deleteAll(ctx, ours, "beside", mine)
		AddReportEntry("the slowest alone, and beside", fmt.Sprint(alone, ", ", beside))
		left := &v1alpha1.ApiKeyList{}
		Expect(admin.List(ctx, left, client.InNamespace(theirs))).To(Succeed())
		Expect(left.Items).To(HaveLen(many), "theirs do wait")
		// Far less than the time after which a replica is told that it is late, and reads it.
		Expect(beside).To(BeNumerically("<", max(2*time.Second, 5*alone)))

		By("and their rest when they no longer have to wait: a thousand changes at once")
		var group errgroup.Group
		group.SetLimit(sideBySide)
		for i := range left.Items {
			group.Go(func() error {
				patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":null}}`))
				return client.IgnoreNotFound(admin.Patch(ctx, &left.Items[i], patch))
			})
		}
		deleteAll(ctx, ours, "amid", mine)
		Expect(group.Wait()).To(Succeed())
		Eventually(ctx, func() int {
			Expect(admin.List(ctx, left, client.InNamespace(theirs))).To(Succeed())
			return len(left.Items)
		}, 2*patience, time.Second).Should(BeZero(), "none is left")
	}, SpecTimeout(8*patience))

	// The policy letmepost-revocation-guard refuses such keys. These are from before it, or of a cluster without it.
	It("is as fast as ever: their keys list the finalizer 200 times each, and they all go, also when the controller is restarted", func(ctx SpecContext) {
		const mine = 15
		ownPlane(ctx)
		controller := startController(ctx)
		startAPI(ctx, "live")
		startAPI(ctx, "live")
		theirs, ours := newNamespace(ctx), newNamespace(ctx)
		for i := range mine {
			for _, round := range []string{"alone", "beside", "amid"} {
				mint(ctx, ours, fmt.Sprintf("%s-%02d", round, i))
			}
		}
		makeKeys(ctx, theirs, func(k *v1alpha1.ApiKey) {
			k.Finalizers = slices.Repeat([]string{v1alpha1.FinalizerRevocation}, 200)
		})
		alone := deleteAll(ctx, ours, "alone", mine)

		By("deleting theirs while no controller runs: they fill both Leases")
		controller.end()
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.ApiKey{}, client.InNamespace(theirs))).To(Succeed())
		Eventually(ctx, namedOnLeases, patience, interval).Should(HaveEach(revocation.MaxNamed))
		controller = startController(ctx)
		beside := deleteAll(ctx, ours, "beside", mine)

		By("and restarting it while they go")
		controller.end()
		startController(ctx)
		amid := deleteAll(ctx, ours, "amid", mine)
		AddReportEntry("the slowest alone, beside, and after a restart", fmt.Sprint(alone, ", ", beside, ", ", amid))
		// As fast as ever but for a controller that has started just now, and far less than a Lease lasts.
		Expect(max(beside, amid)).To(BeNumerically("<", max(4*time.Second, 5*alone)))
		Eventually(ctx, func() int {
			left := &v1alpha1.ApiKeyList{}
			Expect(admin.List(ctx, left, client.InNamespace(theirs))).To(Succeed())
			return len(left.Items)
		}, 2*patience, interval).Should(BeZero(), "none is left")
	}, SpecTimeout(8*patience))
})

// namedOnLeases are the numbers of keys that the replicas name on their Leases.
func namedOnLeases(ctx context.Context) (counts []int) {
	leases := &coordinationv1.LeaseList{}
	Expect(admin.List(ctx, leases, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica})).To(Succeed())
	for i := range leases.Items {
		names := leases.Items[i].Annotations[v1alpha1.AnnotationRevoked]
		counts = append(counts, len(strings.FieldsFunc(names, func(r rune) bool { return r == ',' })))
	}
	return counts
}
