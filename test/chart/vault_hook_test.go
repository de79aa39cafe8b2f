// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// In place of a node, the spec runs the Job's program with the Job's arguments, as the Job's ServiceAccount.
var _ = Describe("The vault's keyset", func() {
	It("is made before the first pod of a release, stays as it is over upgrades, and outlives the release", func(ctx SpecContext) {
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "letmepost-vault"}}
		secret := &corev1.Secret{ObjectMeta: job.ObjectMeta}
		DeferCleanup(func(ctx context.Context) { Expect(client.IgnoreNotFound(admin.Delete(ctx, secret))).To(Succeed()) })
		var made map[string][]byte
		for _, when := range []string{"install", "upgrade"} {
			By(when)
			ended := make(chan string, 1)
			go func() {
				defer GinkgoRecover()
				out, err := runHelm(ctx, "upgrade", "--install", releaseName, kube.Path(chartPath), "--namespace", systemNamespace,
					"--create-namespace", "--set", "crds.install=false")
				Expect(err).NotTo(HaveOccurred(), out)
				ended <- out
			}()
			Eventually(ctx, func() error { return admin.Get(ctx, client.ObjectKeyFromObject(job), job) }, patience, interval).Should(Succeed())
			if when == "install" {
				deployments := &appsv1.DeploymentList{}
				Expect(admin.List(ctx, deployments, client.InNamespace(systemNamespace))).To(Succeed())
				Expect(deployments.Items).To(BeEmpty(), "a pod would start without it")
			}
			run := start(ctx, "api", job.Spec.Template.Spec.ServiceAccountName, job.Spec.Template.Spec.Containers[0].Args...)
			Eventually(ctx, run.Done(), patience).Should(BeClosed())
			Expect(run.Tail(1)).To(MatchRegexp("(made the Secret|the Secret .* is left alone)"), run.Tail(20))
			succeed(ctx, job)
			Eventually(ctx, ended, patience).Should(Receive())

			Expect(admin.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
			if made == nil {
				made = secret.Data
			}
			Expect(secret.Data).To(And(HaveKey("keyset.json"), Equal(made)))
			for _, gone := range []client.Object{
				&batchv1.Job{ObjectMeta: job.ObjectMeta}, &rbacv1.Role{}, &rbacv1.RoleBinding{}, &corev1.ServiceAccount{},
			} {
				err := admin.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: job.Name}, gone)
				Expect(client.IgnoreNotFound(err)).NotTo(HaveOccurred())
				Expect(err).To(HaveOccurred(), "%T: nobody keeps the permission", gone)
			}
			*job = batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: job.Name}}
		}
		uninstall(ctx)
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
		Expect(secret.Data).To(Equal(made))
	}, SpecTimeout(4*patience))
})

// succeed says of a Job's pod what a kubelet says when its program has ended well.
func succeed(ctx context.Context, job *batchv1.Job) {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Eventually(ctx, func() ([]corev1.Pod, error) {
		err := admin.List(ctx, pods, client.InNamespace(systemNamespace), client.MatchingLabels{batchv1.ControllerUidLabel: string(job.UID)})
		return pods.Items, err
	}, patience, interval).Should(HaveLen(1))
	// A patch: the controller of Jobs writes to its pods, too.
	succeeded := client.RawPatch(types.MergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`))
	Expect(admin.Status().Patch(ctx, &pods.Items[0], succeeded)).To(Succeed())
}
