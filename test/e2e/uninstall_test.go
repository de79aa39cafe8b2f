// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// uninstall uninstalls the release, and waits until its pods are gone: Helm waits for Deployments, not for their pods.
func uninstall(ctx context.Context) {
	GinkgoHelper()
	helm(ctx, "uninstall", release, "-n", systemNamespace, "--wait", "--timeout", "3m")
	Eventually(func(g Gomega) {
		var pods corev1.PodList
		g.Expect(admin.List(ctx, &pods, client.InNamespace(systemNamespace))).To(Succeed())
		g.Expect(pods.Items).To(BeEmpty())
	}).WithContext(ctx).Should(Succeed())
}

// leftovers are all objects with the release's label that are there, as "Kind name", whatever their kind, and all
// Leases of its namespace.
func leftovers(ctx context.Context) (found []string) {
	GinkgoHelper()
	lists, err := clients.Discovery().ServerPreferredResources()
	Expect(err).NotTo(HaveOccurred())
	for _, list := range lists {
		for _, r := range list.APIResources {
			if !strings.Contains(strings.Join(r.Verbs, " "), "list") || r.Kind == "Event" {
				continue
			}
			objects := &metav1.PartialObjectMetadataList{}
			objects.APIVersion, objects.Kind = list.GroupVersion, r.Kind+"List"
			Expect(admin.List(ctx, objects, client.MatchingLabels{"app.kubernetes.io/instance": release})).To(Succeed(), r.Kind)
			for i := range objects.Items {
				found = append(found, r.Kind+" "+objects.Items[i].Name)
			}
		}
	}
	var leases coordinationv1.LeaseList
	Expect(admin.List(ctx, &leases, client.InNamespace(systemNamespace))).To(Succeed())
	for i := range leases.Items {
		found = append(found, "Lease "+leases.Items[i].Name)
	}
	return found
}

// there tells whether an object exists in the release's namespace, or beside all namespaces.
func there(ctx context.Context, kind, name string) bool {
	GinkgoHelper()
	return kubectl(ctx, "get", kind, name, "-n", systemNamespace, "--ignore-not-found", "-o", "name") != ""
}

// expiresColumn tells whether the definition of ApiKeys has the column Expires, which the previous version's has not.
func expiresColumn(ctx context.Context) bool {
	GinkgoHelper()
	columns := kubectl(ctx, "get", "crd", "apikeys.letmepost.dev", "-o", "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}")
	return strings.Contains(columns, "Expires")
}
