// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
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

// upgrade is what the chart's README says, with values, and flags.
func upgrade(ctx context.Context, values ...string) (string, error) {
	GinkgoHelper()
	// There are no nodes, so no Job would ever run.
	args := []string{
		"upgrade", "--install", releaseName, kube.Path(chartPath), "--namespace", systemNamespace, "--create-namespace", "--no-hooks",
	}
	for _, value := range values {
		if strings.HasPrefix(value, "--") {
			args = append(args, value)
			continue
		}
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
		out, err := runHelm(ctx, append(args[1:], "--no-hooks")...) // there are no nodes, so no Job would ever run
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

// scale is what `kubectl scale` and an autoscaler do.
func scale(ctx context.Context, deployment, manager string, replicas int) {
	GinkgoHelper()
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = systemNamespace, deployment
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	Expect(admin.SubResource("scale").Patch(ctx, d, patch, client.FieldOwner(manager))).To(Succeed())
}

func replicas(ctx context.Context, deployment string) int {
	GinkgoHelper()
	d := &appsv1.Deployment{}
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: deployment}, d)).To(Succeed())
	return int(*d.Spec.Replicas)
}

var _ = Describe("The number of replicas", func() {
	const deployment = "letmepost-api-live"
	more := []string{"crds.install=false", "database.existingSecret=urls-{environment}", "media.url=s3://media"}

	DescribeTable("stays what somebody has made of it, over upgrades:", func(ctx SpecContext, manager string, n int) {
		out, err := upgrade(ctx, more...)
		Expect(err).NotTo(HaveOccurred(), out)
		DeferCleanup(uninstall)
		Expect(replicas(ctx, deployment)).To(Equal(2))
		scale(ctx, deployment, manager, n)
		for range 2 { // the second one sees what the first has written
			out, err = upgrade(ctx, more...)
			Expect(err).NotTo(HaveOccurred(), out)
			Expect(replicas(ctx, deployment)).To(Equal(n))
		}
		By("unless a value says otherwise")
		out, err = upgrade(ctx, append(more, "api.live.replicas=2")...)
		if n != 0 { // which nobody owns
			Expect(err).To(HaveOccurred())
			Expect(out).To(ContainSubstring(`conflict with "` + manager + `"`))
			out, err = upgrade(ctx, append(more, "api.live.replicas=2", "--force-conflicts")...)
		}
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(replicas(ctx, deployment)).To(Equal(2))
	},
		Entry("stopped", SpecTimeout(3*patience), "kubectl", 0),
		Entry("more", SpecTimeout(3*patience), "kubectl", 5),
		Entry("fewer", SpecTimeout(3*patience), "kubectl", 1),
	)

	It("is as many as there were when autoscaling begins, and when it ends", func(ctx SpecContext) {
		out, err := upgrade(ctx, append(more, "api.live.replicas=4")...)
		Expect(err).NotTo(HaveOccurred(), out)
		DeferCleanup(uninstall)
		on := append(more, "api.live.replicas=4", "api.live.autoscaling.enabled=true")
		out, err = upgrade(ctx, on...)
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(replicas(ctx, deployment)).To(Equal(4))
		scale(ctx, deployment, "kube-controller-manager", 7)
		out, err = upgrade(ctx, on...)
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(replicas(ctx, deployment)).To(Equal(7))
		out, err = upgrade(ctx, more...)
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(replicas(ctx, deployment)).To(Equal(7))
	}, SpecTimeout(3*patience))
})
