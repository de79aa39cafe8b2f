// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/controller"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/timing"
)

var _ = timing.Report("controller")

func TestMain(m *testing.M) {
	kube.Main(m, kube.Options{ControllerManager: true, Manifests: []string{"config/crd", "config/rbac"}})
}

// TestOnControlPlane runs the specs against a real control plane, garbage collector and namespace controller included.
// The controller runs in this process with the credentials, and so the RBAC, of its own ServiceAccount.
func TestOnControlPlane(t *testing.T) {
	cluster = kube.Shared(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := cluster.ServiceAccountKubeconfig(t.Context(), "letmepost-system", controller.Name, path); err != nil {
		t.Fatal(err)
	}
	var err error
	if credentials, err = clientcmd.BuildConfigFromFlags("", path); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	if admin, err = client.NewWithWatch(cluster.AdminConfig(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	ctrl.SetLogger(said.logger())
	klog.SetLogger(said.logger())

	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute) // a loaded machine is slow, and waiting costs nothing when it is not
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "controller")
}

var (
	cluster     *kube.Cluster
	admin       client.WithWatch
	credentials *rest.Config // of the ServiceAccount letmepost-controller
	op          *operator    // the one that is running
	books       *ledger      // of all that happened in the whole run
	said        transcript   // by the controller, to its log
)

var _ = BeforeSuite(func(ctx context.Context) {
	awaitGarbageCollector(ctx)
	books = openLedger(ctx)
	op = startOperator()
})

var _ = AfterSuite(func(ctx context.Context) {
	if op != nil {
		op.stop()
	}
	if books != nil {
		books.close(ctx)
	}
})

// awaitGarbageCollector waits until the garbage collector has discovered ApiKeys, for which it looks every half minute.
func awaitGarbageCollector(ctx context.Context) {
	GinkgoHelper()
	org := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "gc-"}}
	Expect(admin.Create(ctx, org)).To(Succeed())
	collected := func() bool {
		owner := createKey(ctx, org)
		dependent := encoded(owner)
		Expect(admin.Create(ctx, dependent)).To(Succeed())
		Expect(admin.Delete(ctx, owner)).To(Succeed())
		return NewGomega(func(string, ...int) {}).Eventually(ctx, func() error {
			return admin.Get(ctx, client.ObjectKeyFromObject(dependent), dependent)
		}).WithTimeout(2 * time.Second).Should(Satisfy(apierrors.IsNotFound))
	}
	Eventually(ctx, collected).WithTimeout(2 * time.Minute).Should(BeTrue())
}
