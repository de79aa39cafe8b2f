// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// strangers are kinds that others bring. Nothing is known of them here but their names, so that all that is proved of such
// an object is that it is one.
var strangers = []struct{ group, version, kind, plural string }{
	{"monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"},
	{"monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"},
	{"cert-manager.io", "v1", "Certificate", "certificates"},
	{"gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"},
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

// inspect has the apiserver look at an object: every field must be known, and no value deprecated or, in a pod, less than
// restricted.
func inspect(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	options := []client.ApplyOption{client.FieldOwner("inspector"), client.ForceOwnership, client.DryRunAll}
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), options...)
}

var _ = Describe("The apiserver", Ordered, func() {
	BeforeAll(func(ctx context.Context) {
		scheme := runtime.NewScheme()
		Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
		c, err := client.New(server.AdminConfig(), client.Options{Scheme: scheme})
		Expect(err).NotTo(HaveOccurred())
		for _, stranger := range strangers {
			crd := definition(stranger.group, stranger.version, stranger.kind, stranger.plural)
			Expect(c.Create(ctx, crd)).To(Succeed())
			DeferCleanup(func(ctx context.Context) { Expect(c.Delete(ctx, crd)).To(Succeed()) })
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
			"api.live.autoscaling.enabled": true, "tls.existingSecret": "tls", "networkPolicy.egress.restrict": true,
		})),
		Entry("in named namespaces", SpecTimeout(patience), settings{"watchNamespaces": []string{"a", "b"}}),
		Entry("with all that can be switched on", SpecTimeout(patience), everything),
	)

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

// definition is of a kind that may hold anything.
func definition(group, version, kind, plural string) *apiextensionsv1.CustomResourceDefinition {
	anything := true
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:        plural + "." + group,
			Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, Plural: plural},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
			}},
		},
	}
}
