// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// strangers are kinds that others bring, with the module of hack/crds that has their definition, and the file in it.
var strangers = []struct{ kind, module, file string }{
	{"ServiceMonitor", "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	{"PrometheusRule", "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"},
	{"Certificate", "github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_certificates.yaml"},
	{"HTTPRoute", "sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
	{"BackendTLSPolicy", "sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml"},
}

// definitionsOfOthers are those of strangers, as their modules have them. Go keeps modules after the first time.
func definitionsOfOthers(ctx context.Context) []client.Object {
	GinkgoHelper()
	inModule := func(args ...string) string {
		command := exec.CommandContext(ctx, "go", args...)
		command.Dir = kube.Path("hack/crds")
		out, err := command.Output()
		Expect(err).NotTo(HaveOccurred(), "go %s", strings.Join(args, " "))
		return strings.TrimSpace(string(out))
	}
	inModule("mod", "download")
	var found []client.Object
	for _, stranger := range strangers {
		dir := inModule("list", "-m", "-f", "{{.Dir}}", stranger.module)
		objects, err := kube.LoadManifests(filepath.Join(dir, stranger.file))
		Expect(err).NotTo(HaveOccurred())
		Expect(objects).To(HaveLen(1))
		kind, _, err := unstructured.NestedString(objects[0].Object, "spec", "names", "kind")
		Expect(err).NotTo(HaveOccurred())
		Expect(kind).To(Equal(stranger.kind))
		found = append(found, objects[0])
	}
	return found
}

// warnings are what the apiserver has to say about requests that it accepts.
type warnings struct {
	mu   sync.Mutex
	said []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

// inspector is an administrator whose requests are dry runs, and whose warnings are kept.
func inspector() (client.Client, *warnings) {
	GinkgoHelper()
	heard := &warnings{}
	config := server.AdminConfig()
	config.WarningHandler = heard
	c, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	Expect(err).NotTo(HaveOccurred())
	return c, heard
}

// inspect has the apiserver look at an object: every field must be known, and no value deprecated or, in a pod, less
// than restricted.
func inspect(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	options := []client.ApplyOption{client.FieldOwner("inspector"), client.ForceOwnership, client.DryRunAll}
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), options...)
}

var _ = Describe("The apiserver", Ordered, func() {
	BeforeAll(func(ctx context.Context) {
		for _, crd := range definitionsOfOthers(ctx) {
			Expect(admin.Create(ctx, crd)).To(Succeed())
			DeferCleanup(func(ctx context.Context) { Expect(admin.Delete(ctx, crd)).To(Succeed()) })
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}
		Expect(client.IgnoreAlreadyExists(admin.Create(ctx, ns))).To(Succeed())
		Expect(admin.Patch(ctx, ns, client.RawPatch("application/merge-patch+json",
			[]byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/warn":"restricted"}}}`)))).To(Succeed())
		for _, name := range []string{"a", "b"} {
			Expect(client.IgnoreAlreadyExists(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))).To(Succeed())
		}
	}, NodeTimeout(patience))

	DescribeTable("accepts all that the chart makes, without a warning", func(ctx SpecContext, s settings) {
		c, heard := inspector()
		objects := render(ctx, s)
		Expect(len(objects)).To(BeNumerically(">", 20))
		for _, object := range objects {
			Eventually(ctx, func() error {
				err := inspect(ctx, c, object)
				if err != nil && !meta.IsNoMatchError(err) { // a definition that has just been made
					return StopTrying(object.GetKind() + " " + object.GetName()).Wrap(err)
				}
				return err
			}).Should(Succeed())
		}
		Expect(heard.said).To(BeEmpty())
	},
		Entry("by default", SpecTimeout(patience), settings{}),
		Entry("with PostgreSQL, scaling and TLS", SpecTimeout(patience), with(postgres, settings{
			"api.live.autoscaling.enabled": true, "tls.existingSecret": "tls", "networkPolicy.egress.restrict": true, "networkPolicy.egress.rules": []any{map[string]any{"ports": tcp(5432)}},
		})),
		Entry("in named namespaces", SpecTimeout(patience), settings{"watchNamespaces": []string{"a", "b"}}),
		Entry("with all that can be switched on", SpecTimeout(patience), everything),
	)

	It("knows the kinds of others, too: notices a field that they don't have", func(ctx SpecContext) {
		c, _ := inspector()
		missed := map[string]bool{}
		for _, stranger := range strangers {
			missed[stranger.kind] = true
		}
		for _, object := range render(ctx, everything) {
			if !missed[object.GetKind()] {
				continue
			}
			delete(missed, object.GetKind())
			Expect(unstructured.SetNestedField(object.Object, "x", "spec", "anything")).To(Succeed())
			Eventually(ctx, inspect).WithArguments(c, object).Should(MatchError(ContainSubstring("anything")), object.GetKind())
		}
		Expect(missed).To(BeEmpty())
	}, SpecTimeout(patience))

	It("notices a field that is not there, and a pod that is not restricted", func(ctx SpecContext) {
		c, heard := inspector()
		objects := render(ctx, nil)
		i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
		deployment := objects[i]
		Expect(unstructured.SetNestedField(deployment.Object, true, "spec", "template", "spec", "hostNetwork")).To(Succeed())
		Expect(inspect(ctx, c, deployment)).To(Succeed())
		Expect(strings.Join(heard.said, "\n")).To(ContainSubstring("would violate PodSecurity"))
		Expect(unstructured.SetNestedField(deployment.Object, int64(1), "spec", "template", "spec", "gracePeriod")).To(Succeed())
		Expect(inspect(ctx, c, deployment)).To(MatchError(ContainSubstring("gracePeriod")))
	}, SpecTimeout(patience))
})
