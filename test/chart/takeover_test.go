// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// runHelm runs Helm against the apiserver. No pod runs here, so nothing is waited for.
func runHelm(ctx context.Context, args ...string) (string, error) {
	GinkgoHelper()
	command := exec.CommandContext(ctx, kube.Path("bin/tools/helm"), args...)
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+filepath.Join(serverDir, "helm"), "KUBECONFIG="+server.KubeconfigPath())
	out, err := command.CombinedOutput()
	return string(out), err
}

// upgrade is what the chart's README says, with values.
func upgrade(ctx context.Context, values ...string) (string, error) {
	GinkgoHelper()
	args := []string{"upgrade", "--install", releaseName, kube.Path(chartPath), "--namespace", systemNamespace}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	return runHelm(ctx, args...)
}

func uninstall(ctx context.Context) {
	GinkgoHelper()
	// There are no nodes, so the Job would never run.
	out, err := runHelm(ctx, "uninstall", releaseName, "--namespace", systemNamespace, "--no-hooks")
	Expect(err).NotTo(HaveOccurred(), out)
}

var _ = Describe("A release", func() {
	It("takes over what was applied from config/, with every key", func(ctx SpecContext) {
		Expect(kube.InstallManifests(ctx, server.AdminConfig(), kube.Path("config/rbac"), kube.Path("config/policies"), kube.Path("config/deploy"))).To(Succeed())
		org := newOrganization(ctx)
		before := apiKey(org, aKey, v1alpha1.EnvironmentTest)
		Expect(admin.Create(ctx, before)).To(Succeed())

		page, err := os.ReadFile(kube.Path(chartPath + "/README.md"))
		Expect(err).NotTo(HaveOccurred())
		line := "helm upgrade --install letmepost-operator charts/letmepost-operator -n letmepost-system --take-ownership --force-conflicts"
		Expect(string(page)).To(ContainSubstring("\n" + line + "\n"))
		args := strings.Fields(strings.Replace(line, chartPath, kube.Path(chartPath), 1))
		out, err := runHelm(ctx, args[1:]...)
		Expect(err).NotTo(HaveOccurred(), out)
		DeferCleanup(uninstall)

		after := apiKey(org, aKey, "")
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(after), after)).To(Succeed())
		Expect(after.UID).To(Equal(before.UID))
		Expect(after.DeletionTimestamp).To(BeNil())
		By("and upgrades from then on without force")
		out, err = upgrade(ctx)
		Expect(err).NotTo(HaveOccurred(), out)
	}, SpecTimeout(3*patience))
})
