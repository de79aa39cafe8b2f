// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// Where permissions are compared with what was used: an organization, one that is nobody's business when
// watchNamespaces does not name it, all namespaces, and the release's.
func places(org, other string) []place {
	return []place{
		{org, anything},
		{other, anything},
		{"", anything},
		{"kube-system", leaderLease},
		{systemNamespace, anything},
		{systemNamespace, leaderLease},
	}
}

var _ = Describe("The processes, with the chart's rules", func() {
	It("may do all that they do in all namespaces, and nothing else", func(ctx SpecContext) {
		org, other := newOrganization(ctx), newOrganization(ctx)
		install(ctx, renderRules(ctx, nil))
		since := auditEnd()
		exercise(ctx, org)
		swept(ctx)
		resources := allResources()
		for _, name := range []string{controllerAccount, apiAccount} {
			uses, forbidden := asked(name, since)
			Expect(forbidden).To(BeEmpty(), "a missing permission of %s", name)
			for _, where := range places(org, other) {
				may, err := permissions(ctx, account(name), resources, where)
				Expect(err).NotTo(HaveOccurred())
				Expect(may).To(Equal(deserved(uses, where, true)), "what %s may do, and what it has done, on %v", name, where)
				Expect(may).To(ConsistOf(meant(name, where)), "what %s may do, and what it is meant to, on %v", name, where)
			}
		}
		notices(ctx, resources, since, org)
	}, SpecTimeout(6*patience))

	It("may do all that they do in the namespaces of watchNamespaces, with Roles alone, and nothing else", func(ctx SpecContext) {
		org, other := newOrganization(ctx, "watched"), newOrganization(ctx)
		rules := renderRules(ctx, settings{"watchNamespaces": []string{org}, "rbac.people.enabled": false})
		for _, object := range rules {
			Expect(object.GetKind()).NotTo(HavePrefix("ClusterRole"))
		}
		install(ctx, rules)
		since := auditEnd()
		exercise(ctx, org, "--watch-namespaces", org)
		resources := allResources()
		for _, name := range []string{controllerAccount, apiAccount} {
			uses, forbidden := asked(name, since)
			Expect(forbidden).To(BeEmpty(), "a missing permission of %s", name)
			for _, where := range places(org, other)[:4] { // in its own, a process has the same Role as above
				Expect(permissions(ctx, account(name), resources, where)).To(Equal(deserved(uses, where, false)),
					"what %s may do, and what it has done, on %v", name, where)
			}
		}
	}, SpecTimeout(6*patience))

	It("let the gate do what it does, and nothing else", func(ctx SpecContext) {
		org, other := newOrganization(ctx), newOrganization(ctx)
		install(ctx, renderRules(ctx, gateOn))
		since := auditEnd()
		for _, client := range [][]string{nil, {asForOldServers}} {
			ports, err := kube.FreePorts(3)
			Expect(err).NotTo(HaveOccurred())
			p := start(ctx, "gate", gateAccount, append(client, "--namespace", systemNamespace, "--lease-duration", "3s",
				"--listen-address", kube.Address(ports[0]), "--grpc-listen-address", kube.Address(ports[1]),
				"--metrics-bind-address", kube.Address(ports[2]))...)
			Expect(kube.WaitReady(ctx, http.DefaultClient, "http://"+kube.Address(ports[0])+"/readyz", p)).To(Succeed())
			Eventually(ctx, func() []string { // the Lease is renewed
				uses, _ := asked(gateAccount, since)
				return deserved(uses, place{systemNamespace, anything}, true)
			}).Should(ContainElement("patch leases.coordination.k8s.io"))
			Expect(p.Stop(ctx)).To(Succeed())
		}
		uses, forbidden := asked(gateAccount, since)
		Expect(forbidden).To(BeEmpty(), "a missing permission")
		for _, where := range places(org, other) {
			may, err := permissions(ctx, account(gateAccount), allResources(), where)
			Expect(err).NotTo(HaveOccurred())
			Expect(may).To(Equal(deserved(uses, where, true)), "what it may do, and what it has done, on %v", where)
			Expect(may).To(ConsistOf(meant(gateAccount, where)), "what it may do, and what it is meant to, on %v", where)
		}
	}, SpecTimeout(2*patience))

	It("do not collide when the release's namespace is one of watchNamespaces", func(ctx SpecContext) {
		install(ctx, renderRules(ctx, settings{"watchNamespaces": []string{systemNamespace}}))
	})

	It("may make the vault's Secret before an install, never touch one that is there, and do nothing else", func(ctx SpecContext) {
		org, other := newOrganization(ctx), newOrganization(ctx)
		install(ctx, renderHooks(ctx, settings{}))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "letmepost-vault"}}
		DeferCleanup(func(ctx context.Context) { Expect(admin.Delete(ctx, secret)).To(Succeed()) })
		since := auditEnd()
		var made map[string][]byte
		for _, said := range []string{"made the Secret " + systemNamespace + "/letmepost-vault", "is left alone"} {
			process := start(ctx, "api", vaultAccount, "vault", "init", "--secret", secret.Name, "--namespace", systemNamespace)
			Eventually(ctx, process.Done()).Should(BeClosed())
			Expect(process.Tail(1)).To(ContainSubstring(said), process.Tail(20))
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
			if made == nil {
				made = secret.Data
			}
			Expect(secret.Data).To(And(HaveKey("keyset.json"), Equal(made)))
		}
		uses, forbidden := asked(vaultAccount, since)
		Expect(forbidden).To(BeEmpty(), "a missing permission")
		for _, where := range places(org, other) {
			Expect(permissions(ctx, account(vaultAccount), allResources(), where)).To(Equal(deserved(uses, where, false)),
				"what it may do, and what it has done, on %v", where)
		}
	}, SpecTimeout(2*patience))

	DescribeTable("may do at an uninstall what `controller release` does, and nothing else", func(ctx SpecContext, everywhere bool) {
		org, other := newOrganization(ctx), newOrganization(ctx)
		var values settings
		var args []string
		if !everywhere {
			values, args = settings{"watchNamespaces": []string{org}}, []string{"--watch-namespaces", org}
		}
		install(ctx, renderHooks(ctx, values))
		left := live(org, "left")
		left.Finalizers = []string{v1alpha1.FinalizerRevocation}
		Expect(admin.Create(ctx, left)).To(Succeed())
		Expect(admin.Delete(ctx, left)).To(Succeed())
		Expect(client.IgnoreNotFound(admin.Delete(ctx, lease(leaderLease)))).To(Succeed())
		Expect(client.IgnoreNotFound(admin.Delete(ctx, crashedReplica()))).To(Succeed())
		Expect(admin.Create(ctx, crashedReplica())).To(Succeed())
		since := auditEnd()
		for range 2 { // with and without a Lease that was there before
			process := start(ctx, "controller", releaseAccount, append([]string{"release", "--namespace", systemNamespace}, args...)...)
			Eventually(ctx, process.Done()).Should(BeClosed())
			Expect(process.Tail(1)).To(ContainSubstring("done: "), process.Tail(20))
		}
		Expect(gone(ctx, left)).To(BeTrue())
		Expect(gone(ctx, crashedReplica())).To(BeTrue())
		uses, forbidden := asked(releaseAccount, since)
		Expect(forbidden).To(BeEmpty(), "a missing permission")
		for _, where := range places(org, other) {
			Expect(permissions(ctx, account(releaseAccount), allResources(), where)).To(Equal(deserved(uses, where, everywhere)),
				"what it may do, and what it has done, on %v", where)
		}
	},
		Entry("in all namespaces", SpecTimeout(2*patience), true),
		Entry("in the namespaces of watchNamespaces", SpecTimeout(2*patience), false),
	)
})

// notices proves that the comparison above can fail, with rules that are changed.
func notices(ctx context.Context, resources []string, since int64, org string) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: controllerAccount}, role)).To(Succeed())
	uses, _ := asked(controllerAccount, since)
	where := place{org, anything}
	with := func(verbs ...string) []string {
		GinkgoHelper()
		changed := role.DeepCopy()
		for i, rule := range changed.Rules {
			if slices.Contains(rule.Resources, "secrets") {
				changed.Rules[i].Verbs = verbs
			}
		}
		Expect(admin.Patch(ctx, changed, client.MergeFrom(role))).To(Succeed())
		var last []string
		Eventually(ctx, func() []string { // the authorizer follows by a watch
			var err error
			last, err = permissions(ctx, account(controllerAccount), []string{"secrets"}, where)
			Expect(err).NotTo(HaveOccurred())
			return last
		}).Should(HaveLen(len(verbs)))
		all, err := permissions(ctx, account(controllerAccount), resources, where)
		Expect(err).NotTo(HaveOccurred())
		return all
	}
	want := deserved(uses, where, true)
	By("adding a verb")
	Expect(with("get", "create", "delete")).To(ConsistOf(append(want, "delete secrets")))
	By("removing a verb")
	Expect(with("get")).To(ConsistOf(slices.DeleteFunc(want, func(what string) bool { return strings.HasPrefix(what, "create secrets") })))
}
