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
	"github.com/letmepost/letmepost-operator/internal/key"
)

// A neighbour who sees what is published of a key, and may create ApiKeys in a namespace of theirs.
var _ = Describe("A hash that others see", func() {
	It("is worth nothing to them, before and after the key is revoked", func(ctx SpecContext) {
		startController(ctx)
		api := startAPI(ctx, "live")
		acme, globex := newNamespace(ctx), newNamespace(ctx)

		minted := apiKey(acme, "minted")
		victims := map[string]string{"minted": mint(ctx, acme, minted.Name)}
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(minted), minted)).To(Succeed())
		plaintext := newKey("live")
		hash := key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(acme)).String()
		// The copy is made first: before its owner has brought the key at all.
		early := create(ctx, broughtKey(globex, "early", hash))
		awaitReason(ctx, early, v1alpha1.ReasonActive)
		awaitReason(ctx, create(ctx, broughtKey(acme, "brought", hash)), v1alpha1.ReasonActive)
		victims["brought"] = plaintext
		for name, published := range map[string]string{"minted": minted.Status.Hash, "brought": hash} {
			awaitReason(ctx, create(ctx, broughtKey(globex, "copy-of-"+name, published)), reasonOfCopy(name))
		}
		for _, k := range victims {
			Eventually(ctx, api.whoami(ctx, k), patience, interval).Should(Equal(http.StatusOK))
			_, body, err := get(ctx, api.url+"/v1/whoami", "Bearer "+k)
			Expect(err).NotTo(HaveOccurred())
			Expect(body).To(ContainSubstring(`"name":"`+acme+`"`), "it is its owner's")
		}

		By("revoking them")
		for name, k := range victims {
			deleteNow(ctx, acme, name)
			Expect(decided(ctx, api.whoami(ctx, k))).To(Equal(http.StatusUnauthorized), name)
		}
		By("naming them anew, with another controller and another replica")
		for name, published := range map[string]string{"minted": minted.Status.Hash, "brought": hash} {
			late := newNamespace(ctx)
			awaitReason(ctx, create(ctx, broughtKey(late, "late-"+name, published)), v1alpha1.ReasonActive)
		}
		// A minted key does not come back in its own namespace either.
		awaitReason(ctx, create(ctx, broughtKey(acme, "again", minted.Status.Hash)), v1alpha1.ReasonActive)
		witness := mint(ctx, acme, "witness")
		for _, replica := range []*server{api, startAPI(ctx, "live")} {
			Eventually(ctx, replica.whoami(ctx, witness), patience, interval).Should(Equal(http.StatusOK))
			for name, k := range victims {
				Expect(decided(ctx, replica.whoami(ctx, k))).To(Equal(http.StatusUnauthorized), name)
			}
		}
	}, SpecTimeout(3*patience))

	It("lets its owner rename the ApiKey in one commit, and the key goes on", func(ctx SpecContext) {
		startController(ctx)
		api := startAPI(ctx, "live")
		acme, plaintext := newNamespace(ctx), newKey("live")
		hash := key.DigestOf(plaintext).BoundTo(key.OwnerNamespace(acme)).String()
		awaitReason(ctx, create(ctx, broughtKey(acme, "old", hash)), v1alpha1.ReasonActive)
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))

		renamed := create(ctx, broughtKey(acme, "new", hash))
		deleteNow(ctx, acme, "old")
		awaitReason(ctx, renamed, v1alpha1.ReasonActive)
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
		deleteNow(ctx, acme, "new")
		Expect(decided(ctx, api.whoami(ctx, plaintext))).To(Equal(http.StatusUnauthorized))
	}, SpecTimeout(2*patience))

	It("is refused in the form of versions before, with the reason", func(ctx SpecContext) {
		err := admin.Create(ctx, broughtKey(newNamespace(ctx), "old", "sha256:"+strings.Repeat("0", 64)))
		Expect(err).To(MatchError(ContainSubstring("The SHA-256 of the key alone is not taken")))
	})
})

// reasonOfCopy is what becomes of a second copy of a hash in one namespace: of "brought" there is one already.
func reasonOfCopy(name string) string {
	if name == "brought" {
		return v1alpha1.ReasonDuplicateHash
	}
	return v1alpha1.ReasonActive
}
