// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"net/http"
	"os/exec"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// releasing is a `controller release` that runs.
type releasing struct {
	out   *gbytes.Buffer // stdout and stderr
	ended chan error
}

// startRelease runs it as the controller's ServiceAccount.
func startRelease(ctx context.Context, args ...string) *releasing {
	GinkgoHelper()
	r := &releasing{out: gbytes.NewBuffer(), ended: make(chan error, 1)}
	cmd := exec.CommandContext(ctx, kube.Path("bin/controller"), append([]string{
		"release", "--kubeconfig", credentials(controllerAccount), "--namespace", systemNamespace,
	}, args...)...)
	cmd.Env = kube.MinimalEnv()
	cmd.Stdout, cmd.Stderr = r.out, r.out
	Expect(cmd.Start()).To(Succeed())
	go func() { r.ended <- cmd.Wait() }()
	return r
}

func (r *releasing) text() string { return string(r.out.Contents()) }

var _ = Describe("controller release", func() {
	It("lets every key go when nobody is left who accepts it, and can be undone", func(ctx SpecContext) {
		controller := launchController(freePorts(2))
		controller.waitReady(ctx)
		api := startAPI(ctx, "live", "--lease-duration", "3s")
		namespace := newNamespace(ctx)
		DeferCleanup(func(ctx SpecContext) { forgetKeys(ctx, namespace) }, NodeTimeout(patience))
		key := mint(ctx, namespace, "stays")
		mint(ctx, namespace, "goes")
		Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))

		r := startRelease(ctx)
		Eventually(ctx, r.out, patience).Should(gbytes.Say("waiting for a controller to end"))
		Expect(controller.Stop(ctx)).To(Succeed())
		Eventually(ctx, r.out, patience).Should(gbytes.Say("1 API replicas may still accept keys: letmepost-api-live-"))
		goes, stays := apiKey(namespace, "goes"), apiKey(namespace, "stays")
		Expect(admin.Delete(ctx, goes)).To(Succeed())
		Expect(api.Signal(syscall.SIGSTOP)).To(Succeed()) // its Lease is left to expire
		Expect(fetched(ctx, goes).Finalizers).To(ConsistOf(v1alpha1.FinalizerRevocation), "a replica may accept it")
		Expect(fetched(ctx, stays).Finalizers).To(ConsistOf(v1alpha1.FinalizerRevocation))
		api.end()

		Eventually(ctx, r.ended, patience).Should(Receive(BeNil()), "%s", r.text())
		Expect(r.text()).To(And(
			MatchRegexp(`no controller and no API replica is left\n(\d+ of \d+ ApiKeys let go\n)+done: `),
			ContainSubstring(" 1 were being deleted and are gone"), ContainSubstring("install again")))
		Expect(apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(goes), goes))).To(BeTrue())
		Expect(fetched(ctx, stays).Finalizers).To(BeEmpty())
		Expect(fetched(ctx, stays).Status.Hash).NotTo(BeEmpty())
		leases := &coordinationv1.LeaseList{}
		Expect(admin.List(ctx, leases, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica})).To(Succeed())
		Expect(leases.Items).To(BeEmpty(), "the Lease of the replica that could not give it up")

		By("installing again")
		forgetReplicas(ctx)
		startController(ctx)
		Eventually(ctx, func() []string { return fetched(ctx, stays).Finalizers }, patience, interval).
			Should(ConsistOf(v1alpha1.FinalizerRevocation))
		again := startAPI(ctx, "live")
		Expect(decided(ctx, again.whoami(ctx, key))).To(Equal(http.StatusOK), "the key is the same")
		Expect(deleteKey(ctx, fetched(ctx, stays))).To(Succeed())
		Expect(decided(ctx, again.whoami(ctx, key))).To(Equal(http.StatusUnauthorized))
	}, SpecTimeout(3*patience))

	It("lets go of nothing, and says what to do, while a controller runs", func(ctx SpecContext) {
		controller := launchController(freePorts(2))
		controller.waitReady(ctx)
		namespace := newNamespace(ctx)
		DeferCleanup(func(ctx SpecContext) { forgetKeys(ctx, namespace) }, NodeTimeout(patience))
		mint(ctx, namespace, "stays") // by now the controller leads
		r := startRelease(ctx, "--watch-namespaces", namespace, "--timeout", "3s")
		var failure *exec.ExitError
		Eventually(ctx, r.ended, patience).Should(Receive(BeAssignableToTypeOf(failure)))
		Expect(r.text()).To(And(ContainSubstring("--timeout"), ContainSubstring("a controller must not be running"), ContainSubstring("kubectl patch apikey")))
		Expect(fetched(ctx, apiKey(namespace, "stays")).Finalizers).To(ConsistOf(v1alpha1.FinalizerRevocation))
	}, SpecTimeout(2*patience))

	It("leaves the keys of other namespaces, and finalizers of others, alone", func(ctx SpecContext) {
		mine, others := newNamespace(ctx), newNamespace(ctx)
		controller := startController(ctx)
		const theirs = "example.test/hold"
		for _, namespace := range []string{mine, others} {
			DeferCleanup(func(ctx SpecContext) { forgetKeys(ctx, namespace) }, NodeTimeout(patience))
			k := apiKey(namespace, "key")
			k.Finalizers = []string{theirs}
			minted(ctx, create(ctx, k))
		}
		controller.end()
		r := startRelease(ctx, "--watch-namespaces", mine)
		Eventually(ctx, r.ended, patience).Should(Receive(BeNil()), "%s", r.text())
		Expect(fetched(ctx, apiKey(mine, "key")).Finalizers).To(ConsistOf(theirs))
		Expect(fetched(ctx, apiKey(others, "key")).Finalizers).To(ConsistOf(theirs, v1alpha1.FinalizerRevocation))
	}, SpecTimeout(2*patience))
})
