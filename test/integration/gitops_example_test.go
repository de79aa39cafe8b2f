// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

var _ = Describe("GitOps: docs/examples/gitops", func() {
	It("gives staging a test key and production a live one, each healthy before the app comes", func(ctx SpecContext) {
		startController(ctx)
		apis := map[string]*server{"test": startAPI(ctx, "test"), "live": startAPI(ctx, "live")}
		for overlay, environment := range map[string]string{"staging": "test", "production": "live"} {
			namespace := "shop-" + overlay
			removeNamespace(namespace)
			objects := render(ctx, "overlays/"+overlay)
			var kinds []string
			for _, wave := range waves(objects) {
				for _, o := range wave {
					kinds = append(kinds, o.GetKind())
				}
			}
			Expect(kinds).To(Equal([]string{"Namespace", "Profile", "ApiKey", "Deployment"}), "one wave each, in this order")
			argoCD.sync(ctx, objects)
			for _, o := range objects {
				if o.GetKind() != "Deployment" { // its own controller is at work
					Expect(flux.drift(ctx, o)).To(BeEmpty(), o.GetKind())
				}
			}
			plaintext := plaintextIn(ctx, admin, namespace, secretOfApp(ctx, namespace))
			for name, api := range apis {
				want := http.StatusUnauthorized
				if name == environment {
					want = http.StatusOK
				}
				Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(want), "%s at the %s API", overlay, name)
			}
		}
	}, SpecTimeout(4*patience))

	It("rotates a key by three commits, and the app has a valid one all the time", func(ctx SpecContext) {
		const namespace = "shop-production"
		startController(ctx)
		api := startAPI(ctx, "live", "--access-log", "none")
		removeNamespace(namespace)
		current := render(ctx, "overlays/production")
		flux.sync(ctx, current)
		first := plaintextIn(ctx, admin, namespace, secretOfApp(ctx, namespace))
		Eventually(ctx, api.whoami(ctx, first), patience, interval).Should(Equal(http.StatusOK))
		withFirst := ask(ctx, api, first)

		var withSecond *questioner
		var second string
		for _, commit := range []string{"rotation/1-add", "rotation/2-roll", "rotation/3-remove"} {
			next := render(ctx, commit)
			flux.sync(ctx, next)
			if withSecond == nil {
				second = plaintextIn(ctx, admin, namespace, "website-v2")
				Eventually(ctx, api.whoami(ctx, second), patience, interval).Should(Equal(http.StatusOK))
				withSecond = ask(ctx, api, second)
			}
			gone := missing(current, next)
			if len(gone) > 0 {
				Expect(secretOfApp(ctx, namespace)).To(Equal("website-v2"), "the app has moved over before")
				_, wrong := withFirst.stop()
				Expect(wrong).To(BeEmpty(), "with the first key, until it is pruned")
			}
			for _, o := range gone {
				Expect(o.GetKind() + " " + o.GetName()).To(Equal("ApiKey website-v1"))
				deleteNow(ctx, namespace, o.GetName())
			}
			current = next
		}
		Expect(decided(ctx, api.whoami(ctx, first))).To(Equal(http.StatusUnauthorized))
		asked, wrong := withSecond.stop()
		Expect(wrong).To(BeEmpty(), "with the second key, from when it was healthy")
		Expect(asked).To(BeNumerically(">", 0))
		keys := &v1alpha1.ApiKeyList{}
		Expect(admin.List(ctx, keys, client.InNamespace(namespace))).To(Succeed())
		Expect(keys.Items).To(HaveExactElements(HaveField("Name", "website-v2")))
	}, SpecTimeout(4*patience))
})

var _ = Describe("GitOps: Secrets that were left behind", func() {
	It("are found and removed by what docs/gitops.md says, and no others", func(ctx SpecContext) {
		startController(ctx)
		namespace := newNamespace(ctx)
		for _, name := range []string{"website-v1", "served", "unowned"} {
			mint(ctx, namespace, name)
		}
		// Otherwise the garbage collector may find none that it could orphan, and delete the Secret once it sees it.
		Expect(cluster.AwaitCollector(ctx, namespace)).To(Succeed())
		orphan := client.PropagationPolicy(metav1.DeletePropagationOrphan)
		Expect(admin.Delete(ctx, apiKey(namespace, "website-v1"), orphan)).To(Succeed())
		Eventually(ctx, exists, patience, interval).WithArguments(apiKey(namespace, "website-v1")).Should(BeFalse())
		mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "unowned"}}
		unowned := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"ownerReferences":null}}`))
		Expect(admin.Patch(ctx, mine, unowned)).To(Succeed())

		steps := tourOf("docs/gitops.md", "Secrets that were left behind")
		output := pasted(ctx, script(steps))
		Expect(checkTour(steps, output)).To(Succeed())
		Expect(output).NotTo(ContainSubstring("served"))
		secrets := &corev1.SecretList{}
		Expect(admin.List(ctx, secrets, client.InNamespace(namespace))).To(Succeed())
		Expect(secrets.Items).To(ConsistOf(HaveField("Name", "served"), HaveField("Name", "unowned")))
	}, SpecTimeout(2*patience))
})

// secretOfApp is the Secret that the example's app mounts.
func secretOfApp(ctx SpecContext, namespace string) string {
	GinkgoHelper()
	app := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "website"}}
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
	return app.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name
}

// missing are the objects of before that are not in after: what a tool prunes.
func missing(before, after []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(before), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(after, func(o *unstructured.Unstructured) bool {
			return o.GroupVersionKind() == old.GroupVersionKind() && client.ObjectKeyFromObject(o) == client.ObjectKeyFromObject(old)
		})
	})
}
