// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// examples are the blocks of YAML on a page that have a text in them, as they stand there.
func examples(page, with string) (blocks []string) {
	GinkgoHelper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
	Expect(err).NotTo(HaveOccurred())
	for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], with) {
			blocks = append(blocks, block[1])
		}
	}
	return blocks
}

// What docs/guard.md says of scopes of one's own is pasted, and does what the page says of it.
var _ = Describe("The examples of docs/guard.md", func() {
	It("make a key for billing in acme, and keep others from making one", func(ctx SpecContext) {
		for _, name := range []string{"acme", "globex"} {
			_, err := core.CoreV1().Namespaces().Create(ctx,
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			Expect(err).To(Or(Not(HaveOccurred()), Satisfy(apierrors.IsAlreadyExists)))
		}
		keys, policies := examples("guard.md", "kind: ApiKey\n"), examples("guard.md", "kind: ValidatingAdmissionPolicy\n")
		Expect(keys).To(HaveLen(1))
		Expect(policies).To(HaveLen(1))
		var shop unstructured.Unstructured
		Expect(yaml.Unmarshal([]byte(keys[0]), &shop.Object)).To(Succeed())
		tryIn := func(ctx context.Context, namespace string) error {
			other := shop.DeepCopy()
			other.SetNamespace(namespace)
			body, err := other.MarshalJSON()
			Expect(err).NotTo(HaveOccurred())
			return api.Post().Namespace(namespace).Resource(apiKeys).Param("dryRun", "All").Body(body).Do(ctx).Error()
		}
		Expect(tryIn(ctx, "globex")).To(Succeed())

		file := filepath.Join(GinkgoT().TempDir(), "policy.yaml")
		Expect(os.WriteFile(file, []byte(policies[0]), 0o600)).To(Succeed())
		Expect(kube.InstallManifests(ctx, kube.Shared(GinkgoTB()).AdminConfig(), file)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { // and until it is in force no more, for the specs that follow
			admission := core.AdmissionregistrationV1()
			Expect(admission.ValidatingAdmissionPolicyBindings().Delete(ctx, "billing-scopes", metav1.DeleteOptions{})).To(Succeed())
			Expect(admission.ValidatingAdmissionPolicies().Delete(ctx, "billing-scopes", metav1.DeleteOptions{})).To(Succeed())
			Eventually(ctx, tryIn).WithArguments("globex").Should(Succeed())
		}, NodeTimeout(patience))
		Eventually(ctx, tryIn).WithArguments("globex").Should(And(
			Satisfy(apierrors.IsInvalid), MatchError(ContainSubstring("keys for billing are made in acme"))))
		Expect(tryIn(ctx, "acme")).To(Succeed())
		_, err := create(ctx, apiKeys, "globex", live(`scopes: ["crm.example.com:read"]`))
		Expect(err).NotTo(HaveOccurred(), "another domain")
		_, err = create(ctx, apiKeys, "globex", live(""))
		Expect(err).NotTo(HaveOccurred(), "a key of the API")
	}, SpecTimeout(2*patience))
})
