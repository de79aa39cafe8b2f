// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("Uninstalling", func() {
	It("gets stuck on nothing when the controller is already gone, with what docs/revocation.md says", func(ctx SpecContext) {
		steps := tourOf("docs/revocation.md", "When the controller is already gone")

		controller := startController(ctx)
		organization, doomed := newNamespace(ctx), newNamespace(ctx)
		for _, namespace := range []string{organization, doomed} {
			mint(ctx, namespace, "first")
			mint(ctx, namespace, "second")
		}
		controller.end()
		Expect(admin.Delete(ctx, apiKey(organization, "first"))).To(Succeed())
		Expect(admin.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: doomed}})).To(Succeed())
		stuck := apiKey(organization, "first")
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(stuck), stuck)).To(Succeed(), "nobody takes the finalizer off")

		Expect(checkTour(steps, pasted(ctx, script(steps)))).To(Succeed())

		Expect(apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(stuck), stuck))).To(BeTrue())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKey{Name: doomed}, &corev1.Namespace{}))
		}, patience, interval).Should(BeTrue(), "a namespace with keys goes as well")
		second := apiKey(organization, "second")
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(second), second)).To(Succeed(), "what nobody has deleted stays")
	}, SpecTimeout(3*patience))
})

// pasted runs commands as an administrator of the cluster would, and returns what they print.
func pasted(ctx context.Context, commands string) string {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec 2>&1\n"+commands)
	cmd.Dir = GinkgoT().TempDir()
	cmd.Env = append(kube.MinimalEnv(), "KUBECONFIG="+cluster.KubeconfigPath(),
		fmt.Sprintf("PATH=%s:%s", os.Getenv("PATH"), kube.Path("bin/k8s")))
	output, err := cmd.Output()
	Expect(err).NotTo(HaveOccurred(), string(output))
	return string(output)
}
