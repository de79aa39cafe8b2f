// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// What may go wrong for longer, at each request that the controller makes for a key but the one that writes status. How
// long it is until the next try, TestRetries and TestNextLook say: half a minute at most, however often it has failed.
var _ = Describe("An error that lasts", func() {
	// told waits until a condition of a key says why nothing goes on, and returns what it says.
	told := func(ctx SpecContext, k *v1alpha1.ApiKey, condition, word string) string {
		GinkgoHelper()
		var message string
		Eventually(ctx, func() string {
			message = conditionMessage(fetch(ctx, k), condition)
			return message
		}).Should(ContainSubstring(word))
		c := meta.FindStatusCondition(fetch(ctx, k).Status.Conditions, condition)
		Expect(c.Reason).To(BeElementOf(v1alpha1.ReasonRetrying, v1alpha1.ReasonSecretRejected))
		Expect(c.LastTransitionTime.Year()).To(BeNumerically(">", 2000))
		Expect(keyPattern.FindString(message)).To(BeEmpty())
		Expect(awaitEvent(ctx, k, c.Reason).Note).NotTo(MatchRegexp(keyPattern.String()))
		return message
	}
	statuses := slices.Sorted(maps.Keys(reasons))

	It("in minting is told of, redacted, and tried again until it has passed", func(ctx SpecContext) {
		for _, status := range statuses {
			for request, path := range map[string]func(k *v1alpha1.ApiKey) string{
				"GET the ApiKey":          func(k *v1alpha1.ApiKey) string { return "/apikeys/" + k.Name },
				"GET the Profile":         func(k *v1alpha1.ApiKey) string { return "/namespaces/" + k.Namespace + "/profiles/shop" },
				"GET the Namespace":       func(k *v1alpha1.ApiKey) string { return "/namespaces/" + k.Namespace },
				"PATCH the finalizer":     func(k *v1alpha1.ApiKey) string { return "/apikeys/" + k.Name },
				"POST the Secret":         func(k *v1alpha1.ApiKey) string { return secretsPath(k.Namespace) },
				"GET a Secret in its way": func(k *v1alpha1.ApiKey) string { return secretPath(k.Namespace, k.Name) },
			} {
				By(fmt.Sprint(request, ": ", status))
				org := newOrg(ctx)
				createProfile(ctx, org, "shop")
				k := keyIn(org, pinnedTo("shop"))
				if strings.HasSuffix(request, "in its way") {
					Expect(admin.Create(ctx, foreignSecret(org.Name, k.Name))).To(Succeed())
				}
				method, _, _ := strings.Cut(request, " ")
				lift := op.wire.refuse(method, path(k), status)
				Expect(admin.Create(ctx, k)).To(Succeed())
				message := told(ctx, k, v1alpha1.ConditionReady, fmt.Sprint(reasons[status]))
				Expect(message).To(Or(HavePrefix("The apiserver refused the Secret: "), HaveSuffix("It is tried again within half a minute")))
				lift()
				if !strings.HasSuffix(request, "in its way") && status != http.StatusForbidden {
					awaitReason(ctx, k, v1alpha1.ReasonActive)
				}
			}
		}
	})

	It("in looking after a key that is served is told of as well, and the key goes on", func(ctx SpecContext) {
		for _, status := range statuses {
			By(fmt.Sprint(status))
			k := mintKey(ctx, newOrg(ctx))
			lift := op.wire.refuse(http.MethodGet, secretPath(k.Namespace, k.Name), status)
			told(ctx, k, v1alpha1.ConditionSecretAvailable, fmt.Sprint(reasons[status]))
			Expect(fetch(ctx, k)).To(haveReason(v1alpha1.ReasonActive))
			lift()
			await(ctx, k, haveCondition(v1alpha1.ConditionSecretAvailable, "True", v1alpha1.ReasonSecretCreated))
		}
	})

	It("in letting a deleted key go is told of, and the key goes when it has passed", func(ctx SpecContext) {
		for _, status := range statuses {
			for request, path := range map[string]string{"GET the Leases": "/leases", "PATCH the finalizer": "/apikeys/"} {
				By(fmt.Sprint(request, ": ", status))
				k := mintKey(ctx, newOrg(ctx))
				method, _, _ := strings.Cut(request, " ")
				if method == http.MethodPatch {
					path += k.Name
				}
				lift := op.wire.refuse(method, path, status)
				Expect(admin.Delete(ctx, k)).To(Succeed())
				told(ctx, k, v1alpha1.ConditionRevoking, fmt.Sprint(reasons[status]))
				lift()
				awaitGone(ctx, k)
			}
		}
	})
})
