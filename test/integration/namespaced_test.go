// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("An installation that watches some namespaces", func() {
	It("mints and serves the keys of those, and touches no others", func(ctx SpecContext) {
		first, second, elsewhere := newNamespace(ctx), newNamespace(ctx), newNamespace(ctx)
		DeferCleanup(func(ctx SpecContext) { forgetKeys(ctx, elsewhere) }, NodeTimeout(patience))
		all := startController(ctx)
		foreign := mint(ctx, elsewhere, "minted-elsewhere")
		all.end()
		untouched := create(ctx, apiKey(elsewhere, "untouched"))

		watching := []string{"--watch-namespaces", first + "," + second}
		controller := startController(ctx, watching...)
		api := startAPI(ctx, "live", watching...)
		for _, namespace := range []string{first, second} {
			key := mint(ctx, namespace, "mine")
			Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
		}
		Expect(decided(ctx, api.whoami(ctx, foreign))).To(Equal(http.StatusUnauthorized))

		// A key that is waited for would be held up by nobody but those who watch it.
		left := apiKey(elsewhere, "minted-elsewhere")
		Expect(admin.Delete(ctx, left)).To(Succeed())
		mint(ctx, first, "later") // by now the controller would have seen the others
		Expect(deleteKey(ctx, fetched(ctx, apiKey(first, "later")))).To(Succeed())
		Expect(fetched(ctx, left).Finalizers).To(ConsistOf(v1alpha1.FinalizerRevocation), "it is not this controller's to let go")
		Expect(fetched(ctx, untouched).ResourceVersion).To(Equal(untouched.ResourceVersion))
		for _, s := range []*server{controller, api} {
			Expect(s.logText()).To(ContainSubstring("namespaces " + first + ", " + second))
		}
	}, SpecTimeout(2*patience))

	It("confirms a deletion at once, however quiet the other namespaces are", func(ctx SpecContext) {
		busy, quiet := newNamespace(ctx), newNamespace(ctx)
		watching := []string{"--watch-namespaces", quiet + "," + busy}
		startController(ctx, watching...)
		replicas := seats(ctx, 2, watching...)
		lonely := mintMany(ctx, quiet, 1)
		subjects := append(mintMany(ctx, busy, 10), lonely...)
		awaitServed(ctx, urlsOf(replicas), subjects)

		q := investigate(ctx, urlsOf(replicas), subjects)
		for _, s := range subjects { // the last one is that of the namespace that has been quiet
			Expect(q.remove(ctx, s, deleteKey)).To(Succeed())
		}
		Expect(q.stop()).To(BeEmpty())
		q.report()
		for _, replica := range replicas {
			log := replica.current().logText()
			Expect(strings.Contains(log, "listing anew")).To(BeFalse(), "it had to be told, which takes seconds:\n%s", log)
		}
	}, SpecTimeout(2*patience))
})

// fetched is a key as it is now.
func fetched(ctx SpecContext, k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	GinkgoHelper()
	found := &v1alpha1.ApiKey{}
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), found)).To(Succeed())
	return found
}
