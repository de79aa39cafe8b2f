// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
)

var _ = Describe("A namespace with more ApiKeys than it may have keys", func() {
	const quota, all = 5, 12
	limited := func(o *controller.Options) { o.KeyQuota = quota }

	// counted is how many of a namespace's keys have which reason.
	counted := func(ctx context.Context, namespace string) map[string]int {
		var keys v1alpha1.ApiKeyList
		Expect(admin.List(ctx, &keys, client.InNamespace(namespace))).To(Succeed())
		reasons := map[string]int{}
		for i := range keys.Items {
			reason := readyCondition(&keys.Items[i]).Reason
			reasons[reason]++
			// What is being deleted may say so for as long as it is still there.
			if minted := keys.Items[i].Status.Hash != ""; minted && keys.Items[i].DeletionTimestamp.IsZero() {
				Expect(reason).To(Equal(v1alpha1.ReasonActive), keys.Items[i].Name)
			} else if !minted {
				Expect(reason).NotTo(Equal(v1alpha1.ReasonActive), keys.Items[i].Name)
			}
		}
		return reasons
	}

	It("gets as many as it may, and the others when there is room; nobody else waits", func(ctx SpecContext) {
		restart(limited)
		DeferCleanup(func() { restart() })
		org, other := newOrg(ctx), newOrg(ctx)
		group, groupCtx := errgroup.WithContext(ctx)
		for i := range all { // all at once: the cache is behind when the last places are given away
			k := &v1alpha1.ApiKey{
				ObjectMeta: metav1.ObjectMeta{Namespace: org.Name, Name: fmt.Sprint("key-", i)},
				Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive},
			}
			if i%4 == 0 {
				k.Spec.SecretHash = newHash()
			}
			group.Go(func() error { return admin.Create(groupCtx, k) })
		}
		Expect(group.Wait()).To(Succeed())
		full := map[string]int{v1alpha1.ReasonActive: quota, v1alpha1.ReasonQuotaReached: all - quota}
		Eventually(ctx, counted).WithArguments(org.Name).Should(Equal(full))
		await(ctx, createKey(ctx, other), haveReason(v1alpha1.ReasonActive))

		By("saying what to do")
		var keys v1alpha1.ApiKeyList
		Expect(admin.List(ctx, &keys, client.InNamespace(org.Name))).To(Succeed())
		for i := range keys.Items {
			if k := &keys.Items[i]; k.Status.Hash == "" {
				Expect(k).To(SatisfyAll(haveReason(v1alpha1.ReasonQuotaReached), beStalled(v1alpha1.ReasonQuotaReached)))
				Expect(readyCondition(k).Message).To(And(ContainSubstring("5 keys"), ContainSubstring("--max-organization-keys")))
			}
		}

		By("minting one for each that is deleted")
		deleted := 0
		for i := range keys.Items {
			if k := &keys.Items[i]; k.Status.Hash != "" && deleted < 2 {
				Expect(admin.Delete(ctx, k)).To(Succeed())
				deleted++
				full[v1alpha1.ReasonQuotaReached]--
				Eventually(ctx, counted).WithArguments(org.Name).Should(Equal(full))
			}
		}

		By("not minting another when the controller starts anew")
		restart(limited)
		await(ctx, createKey(ctx, other), haveReason(v1alpha1.ReasonActive))
		Expect(counted(ctx, org.Name)).To(Equal(full))

		By("minting all when more are allowed")
		restart()
		Eventually(ctx, counted).WithArguments(org.Name).Should(Equal(map[string]int{v1alpha1.ReasonActive: all - deleted}))
	})

	It("mints no other key for one that has leaked, until that is forgiven", func(ctx SpecContext) {
		restart(func(o *controller.Options) { o.KeyQuota = 2 })
		DeferCleanup(func() { restart() })
		r, org, other := newReplica(ctx, minute), newOrg(ctx), newOrg(ctx)
		var leaks []string
		for range 2 { // minted, reported, gone: over and over, if nothing kept its place
			k := mintKey(ctx, org)
			leaks = append(leaks, plaintextOf(ctx, k))
			r.reports(ctx, org.Name+"/"+digestOf(plaintextOf(ctx, k)))
			k = await(ctx, k, revoking)
			r.says(ctx, k.ResourceVersion, k)
			awaitGone(ctx, k)
		}
		waiting := await(ctx, createKey(ctx, org), haveReason(v1alpha1.ReasonQuotaReached))
		Expect(readyCondition(waiting).Message).To(ContainSubstring("and 2 that have leaked"))
		await(ctx, createKey(ctx, other), haveReason(v1alpha1.ReasonActive))

		By("also by a controller that has just started")
		restart(func(o *controller.Options) { o.KeyQuota = 2 })
		second := createKey(ctx, org)
		await(ctx, second, haveReason(v1alpha1.ReasonQuotaReached))
		Expect(readyCondition(fetch(ctx, waiting)).Reason).To(Equal(v1alpha1.ReasonQuotaReached))

		By("forgiven")
		Expect(admin.Delete(ctx, second)).To(Succeed()) // which of the two came first, nobody remembers
		awaitGone(ctx, second)
		Expect(admin.Delete(ctx, leakedKeyOf(leaks[0]))).To(Succeed())
		r.leave(ctx)
		await(ctx, waiting, haveReason(v1alpha1.ReasonActive))
	})
})
