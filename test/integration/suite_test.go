// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration proves what no part can prove alone: the real controller and API processes, each under its own
// ServiceAccount, on a real control plane, while processes are killed, stopped and restarted.
package integration_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/timing"
)

var _ = timing.Report("integration")

const (
	systemNamespace   = "letmepost-system"
	controllerAccount = "letmepost-controller"
	liveAccount       = "letmepost-api-live"
	testAccount       = "letmepost-api-test"
	gateAccount       = "letmepost-gate"

	// patience is how long anything that should happen may take. On a loaded machine with two cores, things take long.
	patience = time.Minute
	interval = 20 * time.Millisecond
)

// The control plane and what the specs of this package share. Specs run one after the other.
var (
	cluster *kube.Cluster
	admin   client.WithWatch // an administrator
	logDir  string           // the logs of all that the specs start
	crasher string           // the program of ./crashing
	seed    uint64
)

// The controller manager runs as well: a garbage collector that deleted a minted Secret would be noticed.
func TestMain(m *testing.M) {
	kube.Main(m, kube.Options{Issuer: startIssuer, Manifests: []string{
		"config/crd", "config/rbac", "config/policies", "config/gate/rbac.yaml", "config/gate/policies.yaml",
	}, ControllerManager: true})
}

func TestIntegration(t *testing.T) {
	seed = chosenSeed(t)
	cluster = kube.Shared(t)
	logDir = t.TempDir()
	var err error
	if admin, err = client.NewWithWatch(cluster.AdminConfig(), client.Options{Scheme: scheme(t)}); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{controllerAccount, liveAccount, testAccount, gateAccount} {
		if err := cluster.ServiceAccountKubeconfig(t.Context(), systemNamespace, account, credentials(account)); err != nil {
			t.Fatal(err)
		}
	}
	log.SetLogger(GinkgoLogr) // or controller-runtime says that nobody has
	crasher = build(t, "./test/integration/crashing")
	RegisterFailHandler(func(message string, skip ...int) {
		depth := 1 // this function, so that the line of the expectation is named and not one of gomega
		if len(skip) > 0 {
			depth += skip[0]
		}
		Fail(fmt.Sprintf("%s\n\nTo repeat it, set LMP_SEED=%d", message, seed), depth)
	})
	RunSpecs(t, "integration")
	// Once more at the very end, which is all that some CI systems show.
	for _, failure := range failures {
		t.Log(failure)
	}
}

// failures are what went wrong, each with the name of its spec.
var failures []string

var _ = ReportAfterEach(func(report SpecReport) {
	if report.Failed() {
		message := report.FailureMessage()
		const most = 2000 // an expectation about a log quotes it
		failures = append(failures, fmt.Sprintf("%s (%s): %s", report.FullText(), report.FailureLocation(), message[:min(most, len(message))]))
	}
})

// chosenSeed is $LMP_SEED, or one of this run's own.
func chosenSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("LMP_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("LMP_SEED: %v", err)
	}
	return n
}

// random returns the dice of part n of what a spec does: the same for the same seed, whatever runs beside it.
func random(n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags=grpcnotrace", "-buildvcs=false", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the product is built, so that nothing is compiled for it alone
	cmd.Dir = kube.Path(".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// credentials is the kubeconfig file of one of our ServiceAccounts.
func credentials(account string) string { return filepath.Join(logDir, "..", account+".kubeconfig") }
