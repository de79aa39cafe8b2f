package kube

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// startBound is generous: on a loaded machine with two cores a start takes some ten seconds.
const startBound = 2 * time.Minute

// shared is the control plane of a test package.
var shared struct {
	sync.Mutex
	options Options
	cluster *Cluster
	err     error
}

// Main is a test package's TestMain: it runs the tests, stops the control plane that Shared started, and exits.
//
//	func TestMain(m *testing.M) { kube.Main(m, kube.Options{Manifests: []string{"config/crd"}}) }
func Main(m *testing.M, options Options) {
	shared.options = options
	shared.options.UnsafeNoFsync = true // a test's data need not survive a crash of the machine
	code := m.Run()

	shared.Lock()
	defer shared.Unlock()
	if shared.cluster != nil {
		if err := shared.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the control plane:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Shared returns the control plane of this test package, which is started at the first call, so that a run of
// unit tests alone needs none. It never skips: without a control plane, the test fails and says what to do.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		// Not the test's context: the control plane outlives the test that happens to be first.
		ctx, cancel := context.WithTimeout(context.Background(), startBound)
		defer cancel()
		shared.cluster, shared.err = Start(ctx, shared.options)
	}
	if shared.err != nil {
		t.Fatalf("start the control plane: %v", shared.err)
	}
	return shared.cluster
}

// Namespace makes a namespace of the test's own and returns its name. It goes away with the control plane.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	namespace, err := clientset.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return namespace.Name
}
