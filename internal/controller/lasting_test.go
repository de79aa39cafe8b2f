// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// What may go wrong for longer, at each request that the controller makes for a key or a Profile. How
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

	It("in putting the finalizer back is told of, and the key goes on", func(ctx SpecContext) {
		for _, status := range statuses {
			for condition, mod := range map[string]func(*v1alpha1.ApiKey){
				v1alpha1.ConditionReady:           withHash(newHash()), // it has no other condition
				v1alpha1.ConditionSecretAvailable: func(*v1alpha1.ApiKey) {},
			} {
				By(fmt.Sprint(condition, ": ", status))
				k := mintKey(ctx, newOrg(ctx), mod)
				lift := op.wire.refuse(http.MethodPatch, "/apikeys/"+k.Name, status)
				setFinalizers(ctx, k)
				await(ctx, k, haveReason(v1alpha1.ReasonActive),
					haveMessageOf(condition, "put the finalizer on"), haveMessageOf(condition, fmt.Sprint(reasons[status])))
				Expect(awaitEvent(ctx, k, v1alpha1.ReasonRetrying).Note).To(ContainSubstring("put the finalizer on"))
				lift()
				await(ctx, k, HaveField("Finalizers", ConsistOf(v1alpha1.FinalizerRevocation)),
					Not(haveMessageOf(condition, "put the finalizer on")))
			}
		}
	})

	It("in taking note of a leak is told of, and no status says that the key is served", Serial, func(ctx SpecContext) {
		r := newReplica(ctx, minute)
		for _, status := range statuses {
			for _, brought := range []bool{true, false} {
				By(fmt.Sprint("brought: ", brought, ", ", status))
				org := newOrg(ctx)
				plaintext, err := format.Mint(rand.Reader, key.Live)
				Expect(err).NotTo(HaveOccurred())
				k := createKey(ctx, org, brings(plaintext))
				if !brought {
					k = createKey(ctx, org)
				}
				if k = awaitReason(ctx, k, v1alpha1.ReasonActive); !brought {
					plaintext = plaintextOf(ctx, k)
				}
				lift := op.wire.refuse(http.MethodPost, "/leakedkeys", status)
				r.reports(ctx, org.Name+"/"+digestOf(plaintext))
				message := told(ctx, k, v1alpha1.ConditionReady, fmt.Sprint(reasons[status]))
				Expect(message).To(And(ContainSubstring("make the LeakedKey"), Not(ContainSubstring(digestOf(plaintext)))))
				Expect(fetch(ctx, k)).To(haveCondition(v1alpha1.ConditionReady, "Unknown", v1alpha1.ReasonRetrying))
				lift()
				await(ctx, k, Or(leaked, revoking))
			}
		}

		By("of a key that is being deleted, whose status is about that")
		org := newOrg(ctx)
		k := mintKey(ctx, org)
		plaintext := plaintextOf(ctx, k)
		lift := op.wire.refuse(http.MethodPost, "/leakedkeys", http.StatusForbidden)
		await(ctx, beingDeleted(ctx, k), revoking)
		r.reports(ctx, org.Name+"/"+digestOf(plaintext))
		Expect(awaitEvent(ctx, k, v1alpha1.ReasonRetrying).Note).To(And(
			ContainSubstring("make the LeakedKey"), Not(ContainSubstring(digestOf(plaintext)))))
		lift()
		r.leave(ctx)
		awaitGone(ctx, k)
	})

	It("in ending a key that has leaked is told of by a status that says that it has", Serial, func(ctx SpecContext) {
		r := newReplica(ctx, minute)
		for _, status := range statuses {
			By(fmt.Sprint(status))
			org := newOrg(ctx)
			k := mintKey(ctx, org)
			lift := op.wire.refuse(http.MethodDelete, "/apikeys/"+k.Name, status)
			r.reports(ctx, org.Name+"/"+digestOf(plaintextOf(ctx, k)))
			await(ctx, k, leaked, haveMessage("delete the ApiKey of a leaked key"), haveMessage(fmt.Sprint(reasons[status])))
			Expect(awaitEvent(ctx, k, v1alpha1.ReasonRetrying).Note).To(ContainSubstring("delete the ApiKey of a leaked key"))
			lift()
			Eventually(ctx, func() bool { return fetch(ctx, k).DeletionTimestamp.IsZero() }).Should(BeFalse())
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

	It("in saying whose a Profile is is told of, and tried again until it has passed", func(ctx SpecContext) {
		for _, status := range statuses {
			By(fmt.Sprint(status))
			org := newOrg(ctx)
			lift := op.wire.refuse(http.MethodGet, "/namespaces/"+org.Name, status)
			shop := createProfile(ctx, org, "shop")
			awaitProfile(ctx, shop, haveProfileReady("Unknown", v1alpha1.ReasonRetrying, fmt.Sprint(reasons[status])))
			Expect(awaitEvent(ctx, shop, v1alpha1.ReasonRetrying).Note).To(ContainSubstring("get Namespace"))
			lift()
			awaitProfile(ctx, shop, haveProfileReady("True", v1alpha1.ReasonActive, "Keys can be pinned"))
			Expect(fetch(ctx, shop).Status.OrganizationID).To(Equal(string(org.UID)))
		}
	})
})

// What can't be told in a status, because it is the status that can't be written.
var _ = Describe("A status that is refused", Serial, func() {
	statuses := slices.Sorted(maps.Keys(reasons))
	// told waits until one event tells of o that its status is refused, and the log does each time.
	told := func(ctx SpecContext, o client.Object, since, status int) {
		GinkgoHelper()
		reason := fmt.Sprint(reasons[status])
		Expect(awaitEvent(ctx, o, v1alpha1.ReasonRetrying).Note).To(And(
			HavePrefix("patch status: "), ContainSubstring(reason), Not(MatchRegexp(keyPattern.String()))))
		Eventually(ctx, func() int {
			return len(said.lines(since, "Reconciler error", "patch status: ", `"name"="`+o.GetName()+`"`, reason))
		}).Should(BeNumerically(">=", 3))
		Expect(eventsOf(ctx, o)[v1alpha1.ReasonRetrying]).To(HaveExactElements(HaveField("Series", BeNil())))
	}

	It("is told of by an event and by the log: of a key that is to be served, of one that goes, of a Profile", func(ctx SpecContext) {
		for _, status := range statuses {
			By(fmt.Sprint(status))
			org, since := newOrg(ctx), said.now()
			k := keyIn(org)
			lift := op.wire.refuse(http.MethodPatch, statusPath(k), status)
			Expect(admin.Create(ctx, k)).To(Succeed())
			told(ctx, k, since, status)
			lift()
			awaitReason(ctx, k, v1alpha1.ReasonActive)

			going, r := mintKey(ctx, org), newReplica(ctx, minute)
			lift = op.wire.refuse(http.MethodPatch, statusPath(going), status)
			Expect(admin.Delete(ctx, going)).To(Succeed())
			told(ctx, going, since, status)
			lift()
			await(ctx, going, revoking)
			r.leave(ctx)
			awaitGone(ctx, going)

			held := mintKey(ctx, org)
			setFinalizers(ctx, held, "example.com/hold", v1alpha1.FinalizerRevocation)
			lift = op.wire.refuse(http.MethodPatch, statusPath(held), status)
			Expect(admin.Delete(ctx, held)).To(Succeed())
			setFinalizers(ctx, held, "example.com/hold")
			told(ctx, held, since, status)
			lift()
			await(ctx, held, HaveField("Status.Conditions", ContainElement(HaveField("Status", metav1.ConditionFalse))))
			loseFinalizers(ctx, held)

			lift = op.wire.refuse(http.MethodPatch, "/namespaces/"+org.Name+"/profiles/shop/status", status)
			shop := createProfile(ctx, org, "shop")
			told(ctx, shop, since, status)
			lift()
			awaitProfile(ctx, shop, haveProfileReady("True", v1alpha1.ReasonActive, "Keys can be pinned"))
		}
	})
})
