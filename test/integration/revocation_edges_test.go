// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// noFinalizers takes all of them off, whoever writes to the object meanwhile.
var noFinalizers = client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))

var _ = Describe("A deletion", func() {
	It("is held back from before the key has a hash", func(ctx SpecContext) {
		startController(ctx)
		namespace := newNamespace(ctx)
		life, cancel := context.WithCancel(ctx)
		defer cancel()
		events, err := admin.Watch(life, &v1alpha1.ApiKeyList{}, client.InNamespace(namespace))
		Expect(err).NotTo(HaveOccurred())
		defer events.Stop()
		subjects := mintMany(ctx, namespace, 20)
		for hashed := map[types.UID]bool{}; len(hashed) < len(subjects); {
			var event watch.Event
			Eventually(ctx, events.ResultChan(), patience).Should(Receive(&event))
			k, ok := event.Object.(*v1alpha1.ApiKey)
			Expect(ok).To(BeTrue(), "%v", event.Object)
			if k.Status.Hash != "" {
				Expect(k.Finalizers).To(ContainElement(v1alpha1.FinalizerRevocation), k.Name)
				hashed[k.UID] = true
			}
		}
	}, SpecTimeout(2*patience))

	It("of a key that no controller has seen waits for nobody, and the key is never minted", func(ctx SpecContext) {
		namespace := newNamespace(ctx)
		quick, held := apiKey(namespace, "quick"), apiKey(namespace, "held")
		const somebodyElses = "example.test/hold"
		held.Finalizers = []string{somebodyElses}
		for _, k := range []*v1alpha1.ApiKey{quick, held} {
			create(ctx, k)
			Expect(admin.Delete(ctx, k)).To(Succeed())
		}
		Expect(exists(ctx, quick)).To(BeFalse())

		controller := startController(ctx)
		mint(ctx, namespace, "later") // by now the controller has seen the others
		Expect(exists(ctx, held)).To(BeTrue())
		Expect(controller.logText()).NotTo(ContainSubstring("Reconciler error"))
		// Another finalizer does not make it a key that was ever served.
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(held), held)).To(Succeed())
		Expect(held.Finalizers).To(ConsistOf(somebodyElses))
		Expect(admin.Patch(ctx, held, noFinalizers)).To(Succeed())
		Eventually(ctx, func() bool { return exists(ctx, held) }, patience, interval).Should(BeFalse())
		secrets := &corev1.SecretList{}
		Expect(admin.List(ctx, secrets, client.InNamespace(namespace))).To(Succeed())
		Expect(secrets.Items).To(ConsistOf(HaveField("Name", "later")))
	}, SpecTimeout(2*patience))

	It("is not switched off by what replaces the ApiKey, and a key that lost the finalizer has it back at once", func(ctx SpecContext) {
		startController(ctx)
		namespace := newNamespace(ctx)
		mint(ctx, namespace, "replaced")
		k := apiKey(namespace, "replaced")
		err := admin.Patch(ctx, fetched(ctx, k), noFinalizers)
		Expect(err).To(MatchError(ContainSubstring("nobody but letmepost-controller may take the finalizer")))
		Expect(err).To(MatchError(ContainSubstring("kubectl apply")))

		By("on purpose, by an administrator: the controller looks for Secrets every ten minutes, and does not wait for that")
		Expect(admin.Patch(ctx, fetched(ctx, k), client.RawPatch(types.MergePatchType, fmt.Appendf(nil,
			`{"metadata":{"finalizers":null,"annotations":{%q:%q}}}`, v1alpha1.AnnotationUnconfirmed, v1alpha1.Unconfirmed)),
		)).To(Succeed())
		Eventually(ctx, func() *v1alpha1.ApiKey { return fetched(ctx, k) }, patience, interval).Should(And(
			HaveField("Finalizers", ConsistOf(v1alpha1.FinalizerRevocation)), HaveField("Annotations", BeEmpty())))

		By("replaced while it is being deleted")
		replica := startAPI(ctx, "live")
		Expect(replica.Signal(syscall.SIGSTOP)).To(Succeed())
		Expect(admin.Delete(ctx, k)).To(Succeed())
		Expect(admin.Patch(ctx, fetched(ctx, k), noFinalizers)).To(MatchError(ContainSubstring("nobody but letmepost-controller")))
		Expect(exists(ctx, k)).To(BeTrue(), "a replica that is stopped has not confirmed it")
		Expect(replica.Signal(syscall.SIGCONT)).To(Succeed())
		Eventually(ctx, func() bool { return exists(ctx, k) }, patience, interval).Should(BeFalse())
	}, SpecTimeout(2*patience))

	It("completes at once when there is no replica", func(ctx SpecContext) {
		startController(ctx)
		audit := startAudit(ctx)
		subjects := mintMany(ctx, newNamespace(ctx), 5)
		q := investigate(ctx, nil, subjects)
		for _, s := range subjects {
			Expect(q.remove(ctx, s, deleteKey)).To(Succeed())
		}
		Expect(q.took()[len(subjects)-1]).To(BeNumerically("<", defaultLease), "no replica's Lease could have expired by then")
		audit.mu.Lock()
		defer audit.mu.Unlock()
		for _, s := range subjects {
			Expect(audit.keys[s.UID].last.Status.Conditions).NotTo(ContainElement(HaveField("Type", v1alpha1.ConditionRevoking)), "it waited for nobody")
		}
	}, SpecTimeout(2*patience))

	It("of a namespace with 100 keys completes, and no key is accepted after it", func(ctx SpecContext) {
		startController(ctx)
		replicas := seats(ctx, 2, longLease...)
		namespace := newNamespace(ctx)
		subjects := mintMany(ctx, namespace, 100)
		awaitServed(ctx, urlsOf(replicas), subjects)

		q := investigate(ctx, urlsOf(replicas), subjects)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		Expect(q.removeAll(ctx, namespace, func(ctx context.Context) error { return admin.Delete(ctx, ns) })).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(ns), ns))
		}, patience, interval).Should(BeTrue())
		for _, s := range subjects {
			for _, replica := range replicas {
				Expect(q.ask(ctx, replica.url, s)).To(Equal(http.StatusUnauthorized))
			}
		}
		Expect(q.stop()).To(BeEmpty())
		q.report()
	}, SpecTimeout(3*patience))

	It("of a Profile has its keys refused, and theirs completes", func(ctx SpecContext) {
		startController(ctx)
		api := startAPI(ctx, "live")
		namespace := newNamespace(ctx)
		profile := &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: profileName}}
		Expect(admin.Create(ctx, profile)).To(Succeed())
		var subjects []*subject
		for _, name := range []string{"one", "two", "three"} {
			k := apiKey(namespace, name)
			k.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: profileName}
			s := &subject{ApiKey: create(ctx, k)}
			s.plaintext = minted(ctx, k)
			subjects = append(subjects, s)
		}
		awaitServed(ctx, []string{api.url}, subjects)

		Expect(admin.Delete(ctx, profile)).To(Succeed())
		q := investigate(ctx, nil, subjects)
		var deleting sync.WaitGroup
		for _, s := range subjects {
			Eventually(ctx, api.whoami(ctx, s.plaintext), patience, interval).Should(Equal(http.StatusUnauthorized))
			deleting.Go(func() {
				defer GinkgoRecover()
				Expect(q.remove(ctx, s, deleteKey)).To(Succeed())
			})
		}
		deleting.Wait()
		for _, s := range subjects {
			Expect(exists(ctx, s.ApiKey)).To(BeFalse())
			Expect(decided(ctx, api.whoami(ctx, s.plaintext))).To(Equal(http.StatusUnauthorized))
		}
	}, SpecTimeout(2*patience))
})
