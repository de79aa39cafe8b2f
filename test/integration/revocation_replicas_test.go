// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// seat is where a replica runs, of the live API or a gate. Processes come and go; the addresses, and the proxy before
// the apiserver, stay.
type seat struct {
	number           int
	proxy            *kube.Proxy
	program, account string
	args             []string
	url, metrics     string

	mu      sync.Mutex
	process process
}

// seats makes places for n replicas of the API and starts them.
func seats(ctx SpecContext, n int, args ...string) []*seat {
	GinkgoHelper()
	var all []*seat
	for i := range n {
		ports := freePorts(2)
		all = append(all, seatOf(ctx, &seat{
			number: i, program: "bin/api", account: liveAccount,
			url:     "http://" + kube.Address(ports[0]),
			metrics: "http://" + kube.Address(ports[1]) + "/metrics",
			args: append([]string{
				"--environment", "live", "--access-log", "none",
				"--listen-address", kube.Address(ports[0]), "--metrics-bind-address", kube.Address(ports[1]),
				"--data-dir", filepath.Join(logDir, "..", "data"),
				// These ask as often as they can, and want to be told why not.
				"--default-rate-limit", "none", "--failed-auth-limit", "none",
			}, args...),
		}))
	}
	return all
}

// gateSeats makes places for n gates and starts them. Their URL is what a proxy asks at that appends the client's path:
// so whoever asks the API's paths there asks what such a proxy would.
func gateSeats(ctx SpecContext, n int, args ...string) []*seat {
	GinkgoHelper()
	var all []*seat
	for i := range n {
		ports := freePorts(3)
		all = append(all, seatOf(ctx, &seat{
			number: i, program: "bin/gate", account: gateAccount,
			url:     "http://" + kube.Address(ports[0]) + "/demand/scope=posts:read",
			metrics: "http://" + kube.Address(ports[1]) + "/metrics",
			args: append([]string{
				"--environment", "live", "--listen-address", kube.Address(ports[0]),
				"--metrics-bind-address", kube.Address(ports[1]), "--grpc-listen-address", kube.Address(ports[2]),
				"--default-rate-limit", "none",
			}, args...),
		}))
	}
	return all
}

// seatOf starts a replica with a proxy of its own before the apiserver.
func seatOf(ctx SpecContext, s *seat) *seat {
	GinkgoHelper()
	proxy, err := cluster.StartProxy()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(proxy.Close)
	kubeconfig := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(proxy.ServiceAccountKubeconfig(ctx, systemNamespace, s.account, kubeconfig)).To(Succeed())
	s.proxy, s.args = proxy, append([]string{"--kubeconfig", kubeconfig}, s.args...) // the last --kubeconfig counts
	Expect(s.start()).To(Succeed())
	DeferCleanup(s.kill)
	return s
}

// start starts a replica. Whoever made the seat ends it.
func (s *seat) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := start(kube.Path(s.program), s.account, s.args...)
	if err == nil {
		s.process = p
	}
	return err
}

func (s *seat) current() process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

func (s *seat) kill() { s.current().end() }

// leave ends the replica in order.
func (s *seat) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.current().Stop(ctx)
}

func (s *seat) signal(signal syscall.Signal) error { return s.current().Signal(signal) }

// serves waits until the replica accepts a key.
func (s *seat) serves(ctx context.Context, key *subject) error {
	if err := accepts(ctx, s.url, key); err != nil {
		return fmt.Errorf("%s: %w; the end of its log:\n%s", s, err, s.current().Tail(15))
	}
	return nil
}

func (s *seat) String() string {
	return fmt.Sprintf("%s, replica %d", filepath.Base(s.program), s.number)
}

func urlsOf(seats []*seat) (urls []string) {
	for _, s := range seats {
		urls = append(urls, s.url)
	}
	return urls
}

// Each spec of this package begins without the replicas of those before it, which were killed.
var _ = BeforeEach(forgetReplicas)

// forgetReplicas removes the Leases of replicas: deletions would wait for those that nobody renews any more.
func forgetReplicas(ctx SpecContext) {
	GinkgoHelper()
	Expect(admin.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica})).To(Succeed())
}

// leases are those of replicas, by name.
func leases(ctx context.Context) map[string]coordinationv1.Lease {
	GinkgoHelper()
	list := &coordinationv1.LeaseList{}
	Expect(admin.List(ctx, list, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica})).To(Succeed())
	all := map[string]coordinationv1.Lease{}
	for _, l := range list.Items {
		Expect(l.Name).To(HavePrefix("letmepost-api-"))
		all[l.Name] = l
	}
	return all
}

// leaseOf lets one replica be started, and returns the name of its Lease.
func leaseOf(ctx SpecContext, start func()) string {
	GinkgoHelper()
	before := leases(ctx)
	start()
	after := leases(ctx)
	maps.DeleteFunc(after, func(name string, _ coordinationv1.Lease) bool { _, old := before[name]; return old })
	names := slices.Collect(maps.Keys(after))
	Expect(names).To(HaveLen(1), "a Lease for one replica")
	return names[0]
}

// metric returns a value from the text of /metrics: the metric's name with its labels, as it is written there.
func metric(ctx context.Context, url, name string) func() (float64, error) {
	return func() (float64, error) {
		_, body, err := get(ctx, url, "")
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(body) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				return strconv.ParseFloat(strings.TrimSpace(value), 64)
			}
		}
		return 0, fmt.Errorf("no metric %s at %s", name, url)
	}
}

// pass waits for d, or for the end of ctx.
func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
