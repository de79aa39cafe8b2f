// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"math/rand/v2"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/timing"
)

var _ = timing.Report("api")

func TestMain(m *testing.M) { kube.Main(m, kube.Options{Manifests: []string{"config/crd"}}) }

// TestAgainstAPIServer runs the specs: what the schema promises is proved on the apiserver that enforces it.
func TestAgainstAPIServer(t *testing.T) {
	admin := kube.Shared(t).AdminConfig()
	core = kubernetes.NewForConfigOrDie(admin)
	api = typedClient(t, admin)
	RegisterFailHandler(Fail)
	RunSpecs(t, "v1alpha1")
}

var (
	core *kubernetes.Clientset
	api  *rest.RESTClient // speaks the Go types of this package, as the controller's and the API's watches do
)

const (
	apiKeys  = "apikeys"
	profiles = "profiles"
)

func typedClient(t *testing.T, config *rest.Config) *rest.RESTClient {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config.GroupVersion = &v1alpha1.GroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newNamespace makes a namespace of a test's own.
func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	ns, err := core.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	Expect(err).NotTo(HaveOccurred())
	return ns.Name
}

// create posts an object with the given spec, in YAML.
func create(ctx context.Context, resource, namespace, spec string) (*unstructured.Unstructured, error) {
	GinkgoHelper()
	body, err := yaml.YAMLToJSON([]byte(spec))
	Expect(err).NotTo(HaveOccurred(), spec)
	return post(ctx, resource, namespace, string(body))
}

// post posts an object with the given spec, in JSON or what is meant to be, byte for byte.
func post(ctx context.Context, resource, namespace, spec string) (*unstructured.Unstructured, error) {
	kind := map[string]string{apiKeys: "ApiKey", profiles: "Profile"}[resource]
	body := `{"apiVersion":"letmepost.dev/v1alpha1","kind":"` + kind + `","metadata":{"generateName":"it-"},"spec":` + spec + `}`
	return answer(api.Post().Namespace(namespace).Resource(resource).Body([]byte(body)).Do(ctx))
}

// replace puts object back as it is; into its subresource, if one is named.
func replace(
	ctx context.Context, resource string, object *unstructured.Unstructured, subresource ...string,
) (*unstructured.Unstructured, error) {
	GinkgoHelper()
	body, err := object.MarshalJSON()
	Expect(err).NotTo(HaveOccurred())
	return answer(api.Put().Namespace(object.GetNamespace()).Resource(resource).Name(object.GetName()).
		SubResource(subresource...).Body(body).Do(ctx))
}

// answer reads what the apiserver sent without the Go types, which are what is being tested.
func answer(result rest.Result) (*unstructured.Unstructured, error) {
	if err := result.Error(); err != nil {
		remember(err)
		return nil, err
	}
	body, err := result.Raw()
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(body)
}

// expectDecodes gets and lists, into the Go types, a namespace in which name was accepted. An object that cannot be
// decoded would stop every watch, and with it the controller and the API of all tenants.
func expectDecodes(ctx context.Context, resource, namespace, name string) {
	GinkgoHelper()
	one, list := map[string]func() (runtime.Object, runtime.Object){
		apiKeys:  func() (runtime.Object, runtime.Object) { return &v1alpha1.ApiKey{}, &v1alpha1.ApiKeyList{} },
		profiles: func() (runtime.Object, runtime.Object) { return &v1alpha1.Profile{}, &v1alpha1.ProfileList{} },
	}[resource]()
	Expect(api.Get().Namespace(namespace).Resource(resource).Name(name).Do(ctx).Into(one)).To(Succeed())
	Expect(api.Get().Namespace(namespace).Resource(resource).Do(ctx).Into(list)).To(Succeed())
}

// random is seeded with ginkgo's seed, which is printed with every run and can be given back with -ginkgo.seed.
func random() *rand.Rand { return rand.New(rand.NewPCG(uint64(GinkgoRandomSeed()), 0)) }
