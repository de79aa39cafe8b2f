// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

const (
	controllerUser = "system:serviceaccount:letmepost-system:letmepost-controller"
	liveUser       = "system:serviceaccount:letmepost-system:letmepost-api-live"
	testUser       = "system:serviceaccount:letmepost-system:letmepost-api-test"
	gateUser       = "system:serviceaccount:letmepost-system:letmepost-gate"
	oldUser        = "system:serviceaccount:letmepost-system:letmepost-api" // of pods before 0.2.0
	masters        = "one of system:masters"
	clusterAdmin   = "cluster-admin"
)

// people are users with a ClusterRole in a namespace: that of their own name.
var people = []string{
	"view", "edit", "admin",
	"letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-test-minter", "letmepost-apikey-revoker", "letmepost-profile-editor",
	"letmepost-content-viewer", "letmepost-content-editor",
}

// invite binds people to their roles in a namespace, and cluster-admin to its role everywhere.
func invite(ctx context.Context, namespace string) {
	GinkgoHelper()
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	user := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}}
	}
	for _, name := range people {
		Expect(admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: role(name), Subjects: user(name),
		})).To(Succeed())
	}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "test-cluster-admin"}, RoleRef: role(clusterAdmin), Subjects: user(clusterAdmin),
	}))).To(Succeed())
}

// as is a client of a user who is impersonated.
func as(user string) client.Client {
	GinkgoHelper()
	if user == masters {
		return admin
	}
	config := server.AdminConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := clientOf(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

const (
	aKey     = "a-key"
	aProfile = "a-profile"
	forged   = `{"status":{"hash":"bound:00000000000000000000000000000000:00000000000000000000000000000000"}}`
)

// What the apiserver says to those whom it refuses. byRBAC is its own sentence.
const (
	noSecret     = `may create no Secrets but those that it mints`
	byRBAC       = `cannot`
	statusGuard  = `nobody but letmepost-controller may write the status of`
	noLeakedKeys = `nobody but letmepost-controller may write LeakedKeys`
	noLiveKeys   = `may not create live keys in namespace`
)

// newStage is a namespace with people, a key and a profile in it, and the chart's policies at work.
func newStage(ctx context.Context) string {
	GinkgoHelper()
	namespace := newOrganization(ctx)
	invite(ctx, namespace)
	Expect(admin.Create(ctx, apiKey(namespace, aKey, v1alpha1.EnvironmentTest))).To(Succeed())
	Expect(admin.Create(ctx, &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: aProfile}})).To(Succeed())
	return namespace
}

var _ = Describe("Policies", Ordered, ContinueOnFailure, func() {
	var namespace string
	BeforeAll(func(ctx context.Context) {
		install(ctx, renderRules(ctx, gateOn))
		namespace = newStage(ctx)
		awaitPolicies(ctx, namespace)
	}, NodeTimeout(2*patience))

	live, test := v1alpha1.EnvironmentLive, v1alpha1.EnvironmentTest
	DescribeTable("let people do what they may, and tell the others why not", func(ctx context.Context, who string, what deed, says string) {
		err := what(ctx, as(who), namespace)
		if says == "" {
			Expect(err).NotTo(HaveOccurred())
			return
		}
		Expect(err).To(MatchError(ContainSubstring(says)))
		Expect(apierrors.IsForbidden(err)).To(BeTrue(), "403: %v", err)
	},
		Entry("with test-minter: a test key", "letmepost-apikey-test-minter", creating(test), ""),
		Entry("with test-minter: a test key with a generated name", "letmepost-apikey-test-minter", generating(test), ""),
		Entry("with test-minter: no live key", "letmepost-apikey-test-minter", creating(live), noLiveKeys),
		Entry("with test-minter: no live key with a generated name", "letmepost-apikey-test-minter", generating(live), noLiveKeys),
		Entry("with test-minter: told what to do", "letmepost-apikey-test-minter", creating(live),
			"Set spec.environment to test, or ask an administrator for the ClusterRole letmepost-apikey-minter in this namespace"),
		Entry("with minter: a live key", "letmepost-apikey-minter", creating(live), ""),
		Entry("with minter: a test key", "letmepost-apikey-minter", creating(test), ""),
		Entry("with minter: kubectl apply --server-side", "letmepost-apikey-minter", applying(live), ""),
		Entry("with minter: no deletion", "letmepost-apikey-minter", deleting, byRBAC),
		Entry("with edit: a live key", "edit", creating(live), ""),
		Entry("with edit: a live key with a generated name", "edit", generating(live), ""),
		Entry("with edit: a test key", "edit", creating(test), ""),
		Entry("with edit: a label", "edit", labelling, ""),
		Entry("with edit: a deletion", "edit", deleting, ""),
		Entry("with edit: no status", "edit", patchingKeyStatus, byRBAC),
		Entry("with admin: a live key", "admin", creating(live), ""),
		Entry("with admin: no status", "admin", patchingKeyStatus, byRBAC),
		Entry("with view: no test key", "view", creating(test), byRBAC),
		Entry("with view: no live key", "view", creating(live), byRBAC),
		Entry("with view: no deletion", "view", deleting, byRBAC),
		Entry("with revoker: a deletion", "letmepost-apikey-revoker", deleting, ""),
		Entry("with revoker: the annotation that cancels posts", "letmepost-apikey-revoker", labelling, ""),
		Entry("with revoker: no key", "letmepost-apikey-revoker", creating(test), byRBAC),
		Entry("a cluster-admin: a live key", clusterAdmin, creating(live), ""),
		Entry("a cluster-admin: a test key", clusterAdmin, creating(test), ""),
		Entry("a cluster-admin: a deletion", clusterAdmin, deleting, ""),
		Entry("a cluster-admin: a label", clusterAdmin, labelling, ""),
		Entry("a cluster-admin: no patch of an ApiKey's status", clusterAdmin, patchingKeyStatus, statusGuard+" apikeys"),
		Entry("a cluster-admin: no update of an ApiKey's status", clusterAdmin, updatingKeyStatus, statusGuard+" apikeys"),
		Entry("a cluster-admin: no kubectl apply --subresource=status", clusterAdmin, applyingKeyStatus, statusGuard+" apikeys"),
		Entry("a cluster-admin: no Profile's status", clusterAdmin, patchingProfileStatus, statusGuard+" profiles"),
		Entry("a cluster-admin: no LeakedKey", clusterAdmin, endingKey, noLeakedKeys),
		Entry("system:masters: no LeakedKey", masters, endingKey, noLeakedKeys),
		Entry("with admin: no LeakedKey", "admin", endingKey, byRBAC),
		Entry("the controller: a LeakedKey", controllerUser, endingKey, ""),
		Entry("system:masters: a live key", masters, creating(live), ""),
		Entry("system:masters: no ApiKey's status", masters, patchingKeyStatus, statusGuard+" apikeys"),
		Entry("system:masters: told what to do", masters, patchingKeyStatus, "To get a key, create an ApiKey; to revoke one, delete it."),
		Entry("system:masters: no Profile's status", masters, patchingProfileStatus, statusGuard+" profiles"),
		Entry("the controller: an ApiKey's status", controllerUser, patchingKeyStatus, ""),
		Entry("the controller: a Profile's status", controllerUser, patchingProfileStatus, ""),
		Entry("the controller: no key", controllerUser, creating(live), byRBAC),
		Entry("the controller: a Secret that it mints", controllerUser, storing(unchanged), ""),
		Entry("the controller: no ServiceAccount's token", controllerUser, storing(asToken), noSecret),
		Entry("the controller: no Secret that can be changed", controllerUser, storing(asMutable), noSecret),
		Entry("the controller: no Secret with anything else in it", controllerUser, storing(withMore), noSecret),
		Entry("the controller: no Secret without an ApiKey", controllerUser, storing(withoutOwner), noSecret),
		Entry("the API: no status", liveUser, patchingKeyStatus, byRBAC),
		Entry("the API: no key", liveUser, creating(test), byRBAC),
	)

	It("keep each environment's API to its own Leases", func(ctx context.Context) {
		for _, who := range []struct {
			user string
			own  []string
		}{
			{liveUser, []string{"live"}},
			{testUser, []string{"test"}},
			{oldUser, []string{"live", "test"}},
			{gateUser, []string{"gate"}},
		} {
			for environment, prefix := range map[string]string{
				"live": "letmepost-api-live-", "test": "letmepost-api-test-", "gate": "letmepost-gate-",
			} {
				replica := lease(prefix + rand.String(5))
				replica.Labels = map[string]string{v1alpha1.LabelReplica: environment}
				Expect(admin.Create(ctx, replica)).To(Succeed())
				DeferCleanup(func(ctx context.Context) { Expect(admin.Delete(ctx, replica)).To(Succeed()) })
				other := replica.DeepCopy()
				other.Name, other.ResourceVersion = prefix+rand.String(5), ""
				confirm := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationRevoked+`":"x"}}}`))
				for verb, err := range map[string]error{
					"create": as(who.user).Create(ctx, other, client.DryRunAll),
					"patch":  as(who.user).Patch(ctx, replica.DeepCopy(), confirm, client.DryRunAll),
					"delete": as(who.user).Delete(ctx, replica.DeepCopy(), client.DryRunAll),
				} {
					if slices.Contains(who.own, environment) {
						Expect(err).NotTo(HaveOccurred(), "%s: %s a Lease of %s", who.user, verb, environment)
					} else {
						Expect(err).To(MatchError(ContainSubstring("may write no Leases but those of its replicas")),
							"%s: %s a Lease of %s", who.user, verb, environment)
					}
				}
			}
		}
		By("looking at the label as well, which says to the controller whose replica it is")
		disguised := lease("letmepost-api-test-disguised")
		disguised.Labels = map[string]string{v1alpha1.LabelReplica: "live"}
		Expect(as(testUser).Create(ctx, disguised, client.DryRunAll)).To(MatchError(ContainSubstring("may write no Leases")))
		disguised.Name = "letmepost-gate-disguised"
		Expect(as(gateUser).Create(ctx, disguised, client.DryRunAll)).To(MatchError(ContainSubstring("may write no Leases")))
	})

	It("are written out as the apiserver keeps them, so that two managers of one manifest agree", func(ctx context.Context) {
		policies := 0
		for _, object := range renderRules(ctx, gateOn) {
			if object.GetKind() != "ValidatingAdmissionPolicy" {
				continue
			}
			policies++
			kept := object.DeepCopy()
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(object), kept)).To(Succeed())
			Expect(dig(kept.Object, "spec matchConstraints")).To(Equal(dig(object.Object, "spec matchConstraints")), object.GetName())
			// And so says server-side apply, of all of it.
			for _, manager := range []client.FieldOwner{"kubectl", "helm"} {
				apply := client.ApplyConfigurationFromUnstructured(object.DeepCopy())
				Expect(admin.Apply(ctx, apply, manager)).To(Succeed(), "%s as %s", object.GetName(), manager)
			}
		}
		Expect(policies).To(BeNumerically(">=", 5))
	})

	It("are not needed where the schema says no: an environment can't be changed", func(ctx context.Context) {
		Expect(makingLive(ctx, as(clusterAdmin), namespace)).To(MatchError(ContainSubstring("spec is immutable")))
	})

	It("are not got round by a creation with a status", func(ctx context.Context) {
		k := apiKey(namespace, "restored", v1alpha1.EnvironmentTest)
		k.Status.Hash = "bound:00000000000000000000000000000000:00000000000000000000000000000000"
		Expect(admin.Create(ctx, k)).To(Succeed())
		Expect(k.Status.Hash).To(BeEmpty())
	})

	It("leave the garbage collector and the namespace controller alone", func(ctx context.Context) {
		org := newOrganization(ctx)
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: org, Name: "owner"}}
		Expect(admin.Create(ctx, owner)).To(Succeed())
		owned, other := apiKey(org, "owned", v1alpha1.EnvironmentLive), apiKey(org, "other", v1alpha1.EnvironmentLive)
		owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
		for _, k := range []*v1alpha1.ApiKey{owned, other} {
			Expect(admin.Create(ctx, k)).To(Succeed())
		}
		gone := func(o client.Object) func() bool {
			return func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(o), o)) }
		}
		Expect(admin.Delete(ctx, owner)).To(Succeed())
		Eventually(ctx, gone(owned)).Should(BeTrue(), "the garbage collector deletes what its owner leaves")
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: org}}
		Expect(admin.Delete(ctx, ns)).To(Succeed())
		Eventually(ctx, gone(ns)).Should(BeTrue(), "a namespace goes with its keys")
	}, SpecTimeout(2*patience))
})

var _ = Describe("Policies of watchNamespaces", func() {
	It("are about these namespaces only: others may be another install's", func(ctx context.Context) {
		mine, other := newOrganization(ctx, "mine"), newStage(ctx)
		install(ctx, renderRules(ctx, settings{"watchNamespaces": []string{mine}}))
		Expect(admin.Create(ctx, apiKey(mine, aKey, v1alpha1.EnvironmentTest))).To(Succeed())
		invite(ctx, mine)
		awaitPolicies(ctx, mine)
		// An apiserver may still have to forget the policies of another spec.
		Eventually(ctx, patchingKeyStatus).WithArguments(admin, other).Should(Succeed())
		Eventually(ctx, creating(v1alpha1.EnvironmentLive)).WithArguments(as("letmepost-apikey-test-minter"), other).Should(Succeed())
		awaitPolicies(ctx, mine)
	}, SpecTimeout(2*patience))

	It("keep live keys from who may edit a namespace when rbac.people.aggregateLiveKeys is off", func(ctx context.Context) {
		install(ctx, renderRules(ctx, settings{"rbac.people.aggregateLiveKeys": false}))
		namespace := newStage(ctx)
		awaitPolicies(ctx, namespace)
		for _, who := range []string{"edit", "admin"} {
			// The roles of another spec may still have to be forgotten.
			Eventually(ctx, func() error {
				return creating(v1alpha1.EnvironmentLive)(ctx, as(who), namespace)
			}).Should(MatchError(ContainSubstring(noLiveKeys)), who)
			Expect(creating(v1alpha1.EnvironmentTest)(ctx, as(who), namespace)).To(Succeed(), who)
			Expect(labelling(ctx, as(who), namespace)).To(Succeed(), who)
			Expect(deleting(ctx, as(who), namespace)).To(Succeed(), who)
		}
		Expect(creating(v1alpha1.EnvironmentLive)(ctx, as("letmepost-apikey-minter"), namespace)).To(Succeed())
	}, SpecTimeout(2*patience))

	It("are there no more when they are switched off", func(ctx context.Context) {
		for _, object := range renderRules(ctx, settings{
			"policies.leases": false, "policies.statusGuard": false, "policies.liveKeys": false,
			"policies.mintedSecrets": false, "policies.revocationGuard": false, "policies.nulls": false,
		}) {
			Expect(object.GetKind()).NotTo(HavePrefix("ValidatingAdmissionPolicy"))
		}
	})
})
