// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("Restore: an etcd that goes back in time", func() {
	It("revives what was revoked since, until it is revoked again; running replicas fence themselves meanwhile", func(ctx SpecContext) {
		plane := ownPlane(ctx)
		controller := startController(ctx)
		api := startAPI(ctx, "live", "--lease-duration", "5s")
		namespace := newNamespace(ctx)
		kept, leaked := mint(ctx, namespace, "kept"), mint(ctx, namespace, "leaked")
		for _, key := range []string{kept, leaked} {
			Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
		}

		By("a snapshot")
		plane.stop()
		snapshot := filepath.Join(GinkgoT().TempDir(), "etcd")
		Expect(os.CopyFS(snapshot, os.DirFS(plane.data()))).To(Succeed())
		plane.start(ctx)
		Eventually(ctx, api.whoami(ctx, leaked), patience, interval).Should(Equal(http.StatusOK))

		By("a revocation, and the snapshot restored")
		Eventually(ctx, func() error { return admin.Delete(ctx, apiKey(namespace, "leaked")) }, patience, interval).Should(Succeed())
		Eventually(ctx, exists, patience, interval).WithArguments(apiKey(namespace, "leaked")).Should(BeFalse())
		Expect(decided(ctx, api.whoami(ctx, leaked))).To(Equal(http.StatusUnauthorized))
		made := mint(ctx, namespace, "made-since")
		write(ctx, namespace, 2000) // so that the new past does not reach the old present within the spec
		plane.stop()
		Eventually(ctx, api.whoami(ctx, kept), patience, interval).Should(Equal(http.StatusServiceUnavailable), "the fence")
		Expect(os.RemoveAll(plane.data())).To(Succeed())
		Expect(os.CopyFS(plane.data(), os.DirFS(snapshot))).To(Succeed())
		plane.start(ctx)

		By("what runs still, and what is started now")
		Eventually(ctx, api.whoami(ctx, kept), patience, interval).Should(Equal(http.StatusOK), "the fence opens by itself")
		Expect(exists(ctx, apiKey(namespace, "leaked"))).To(BeTrue(), "it is back")
		Eventually(ctx, api.whoami(ctx, leaked), patience, interval).Should(Equal(http.StatusOK))
		Eventually(ctx, api.whoami(ctx, made), patience, interval).Should(Equal(http.StatusUnauthorized), "what was made since is lost")
		late := startAPI(ctx, "live", "--lease-duration", "5s")
		Expect(decided(ctx, late.whoami(ctx, leaked))).To(Equal(http.StatusOK))

		By("revoked again")
		Expect(admin.Delete(ctx, apiKey(namespace, "leaked"))).To(Succeed())
		for _, s := range []*server{api, late} {
			Eventually(ctx, s.whoami(ctx, leaked), patience, interval).Should(Equal(http.StatusUnauthorized))
		}
		// A controller from before may watch from a revision that is in the future now, and hear nothing for minutes.
		controller.end()
		startController(ctx)
		Eventually(ctx, exists, patience, interval).WithArguments(apiKey(namespace, "leaked")).Should(BeFalse())
		for _, s := range []*server{api, late} {
			Expect(decided(ctx, s.whoami(ctx, leaked))).To(Equal(http.StatusUnauthorized))
			Expect(decided(ctx, s.whoami(ctx, kept))).To(Equal(http.StatusOK))
		}
	}, SpecTimeout(6*patience))
})

// write makes resourceVersions go up.
func write(ctx SpecContext, namespace string, times int) {
	GinkgoHelper()
	var writers errgroup.Group
	for w := range 8 {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("writes-%d", w)}}
		Expect(admin.Create(ctx, o)).To(Succeed())
		writers.Go(func() error {
			for i := range times / 8 {
				patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i))
				if err := admin.Patch(ctx, o, patch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	Expect(writers.Wait()).To(Succeed())
}

// plane is a control plane of a spec's own, which stands in the place of the suite's while the spec runs.
type plane struct {
	options kube.Options
	running *kube.Cluster
}

// ownPlane starts one. Processes that the spec starts after it belong to it, and end before it does.
func ownPlane(ctx SpecContext) *plane {
	GinkgoHelper()
	ports := freePorts(4)
	p := &plane{options: kube.Options{
		Dir: GinkgoT().TempDir(), ControllerManager: true, UnsafeNoFsync: true, Manifests: []string{"config/crd", "config/rbac"},
		Ports: kube.Ports{EtcdClient: ports[0], EtcdPeer: ports[1], APIServer: ports[2], ControllerManager: ports[3]},
	}}
	suites := cluster
	DeferCleanup(func(ctx SpecContext) {
		p.stop()
		use(ctx, suites)
	}, NodeTimeout(patience))
	p.start(ctx)
	return p
}

func (p *plane) data() string { return filepath.Join(p.options.Dir, "etcd") }

func (p *plane) start(ctx SpecContext) {
	GinkgoHelper()
	var err error
	p.running, err = kube.Start(ctx, p.options)
	Expect(err).NotTo(HaveOccurred())
	use(ctx, p.running)
}

func (p *plane) stop() {
	GinkgoHelper()
	if p.running == nil {
		return
	}
	// It crashes: asked to stop, the apiserver would wait for the watches of the processes that run on.
	for _, running := range p.running.Processes() {
		process{running}.end()
	}
	Expect(p.running.Stop()).To(Succeed())
	p.running = nil
}

// use makes the suite's helpers, and the processes that are started from now on, speak to a control plane.
func use(ctx SpecContext, c *kube.Cluster) {
	GinkgoHelper()
	fresh, err := client.NewWithWatch(c.AdminConfig(), client.Options{Scheme: admin.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	cluster, admin = c, fresh
	for _, account := range []string{controllerAccount, liveAccount, testAccount} {
		Expect(c.ServiceAccountKubeconfig(ctx, systemNamespace, account, credentials(account))).To(Succeed())
	}
}
