// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// mayReview is what introspection lets the gate do besides, everywhere.
var mayReview = []string{"create tokenreviews.authentication.k8s.io", "create subjectaccessreviews.authorization.k8s.io"}

var _ = Describe("Introspection, with the chart's rules", func() {
	It("tells a service what a key is that it holds, and lets the gate do no more than that takes", func(ctx SpecContext) {
		acme, globex := newOrganization(ctx), newOrganization(ctx)
		install(ctx, renderRules(ctx, settings{"gate.enabled": true, "gate.introspection.enabled": true}))
		controller := startController(ctx)
		since := auditEnd()
		ports, err := kube.FreePorts(3)
		Expect(err).NotTo(HaveOccurred())
		at := "http://" + kube.Address(ports[0])
		gate := start(ctx, "gate", gateAccount, "--namespace", systemNamespace, "--introspection",
			"--listen-address", kube.Address(ports[0]), "--grpc-listen-address", kube.Address(ports[1]),
			"--metrics-bind-address", kube.Address(ports[2]), asForOldServers)
		Expect(kube.WaitReady(ctx, http.DefaultClient, at+"/readyz", gate)).To(Succeed())

		secrets := map[string]string{}
		for _, organization := range []string{acme, globex} {
			k := live(organization, "held")
			k.Spec.Scopes = []v1alpha1.Scope{"billing.example.com:read"}
			k.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold"}
			Expect(admin.Create(ctx, k)).To(Succeed())
			await(ctx, k, v1alpha1.ConditionReady, v1alpha1.ReasonActive)
			secrets[organization] = plaintext(ctx, k)
		}
		// Of acme's keys it may know, by the role that the chart has for it; globex gives it nothing.
		service := newService(ctx, acme)
		Eventually(ctx, introspect).WithArguments(at, service("letmepost"), secrets[acme]).Should(And(
			HavePrefix(`200 {"active":true,`), ContainSubstring(`"client_id":"`+acme+`/held"`),
			ContainSubstring(`"scope":"billing.example.com:read"`), ContainSubstring(`"claims":{"plan":"gold"}`)))
		ask := func(query, token, secret string) (said string) {
			GinkgoHelper()
			Eventually(ctx, func() (string, error) { // a machine that stands still has it be fenced
				var err error
				said, err = introspect(ctx, at+query, token, secret)
				return said, err
			}).ShouldNot(HavePrefix("503 "))
			return said
		}
		Expect(ask("", service("letmepost"), secrets[globex])).To(Equal(`200 {"active":false}`))
		Expect(ask("?organization="+globex, service("letmepost"), secrets[globex])).To(HavePrefix("403 "))
		Expect(ask("", service(), secrets[acme])).To(HavePrefix("401 "), "a token for the apiserver")
		Expect(ask("", newService(ctx, "")("letmepost"), secrets[acme])).To(HavePrefix("403 "), "who may nothing")
		Expect(ask("", "", secrets[acme])).To(HavePrefix("401 "))

		By("revoking: from the moment on that the deletion is over, the key is one like any that there never was")
		Expect(admin.Delete(ctx, live(acme, "held"))).To(Succeed())
		Eventually(ctx, gone).WithArguments(live(acme, "held")).Should(BeTrue())
		Expect(ask("", service("letmepost"), secrets[acme])).To(Equal(`200 {"active":false}`))

		By("renewing the Lease")
		Eventually(ctx, func() []string {
			uses, _ := asked(gateAccount, since)
			return deserved(uses, place{systemNamespace, anything}, true)
		}).Should(ContainElement("patch leases.coordination.k8s.io"))
		Expect(gate.Stop(ctx)).To(Succeed())
		Expect(controller.Stop(ctx)).To(Succeed())
		uses, forbidden := asked(gateAccount, since)
		Expect(forbidden).To(BeEmpty(), "a missing permission")
		resources := allResources()
		for _, where := range places(acme, globex) {
			may, err := permissions(ctx, account(gateAccount), resources, where)
			Expect(err).NotTo(HaveOccurred())
			Expect(may).To(ContainElements(deserved(uses, where, true)), "what it has done, on %v", where)
			Expect(may).To(ConsistOf(append(meant(gateAccount, where), mayReview...)), "what it is meant to, on %v", where)
		}
	}, SpecTimeout(6*patience))
})

// newService makes a ServiceAccount that may ask about the keys of its namespace, and returns what makes tokens of it;
// without a namespace, one that may nothing.
func newService(ctx context.Context, namespace string) func(audiences ...string) string {
	GinkgoHelper()
	if namespace != "" {
		Expect(admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "introspector"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "letmepost-introspector"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "service"}},
		})).To(Succeed())
	} else {
		namespace = newOrganization(ctx)
	}
	service := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "service"}}
	Expect(admin.Create(ctx, service)).To(Succeed())
	return func(audiences ...string) string {
		GinkgoHelper()
		request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		Expect(admin.SubResource("token").Create(ctx, service, request)).To(Succeed())
		return request.Status.Token
	}
}

// introspect asks as RFC 7662 has it, and returns status and body.
func introspect(ctx context.Context, at, token, secret string) (string, error) {
	at, query, _ := strings.Cut(at, "?")
	form := url.Values{"token": {secret}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/introspect?"+query, strings.NewReader(form))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}
