// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// mostOnLease is how large a Lease may be with all that it names: they are all listed for each decision of the barrier.
const mostOnLease = 30 << 10

// leakFlood reports keys that nobody has, and among them real ones, to replicas in turn, and measures the answers.
type leakFlood struct {
	replicas []*seat
	client   *http.Client

	mu    sync.Mutex
	took  []time.Duration
	lease int // the largest, in bytes of its annotations
}

// report reports one key. Each hundred reports are of another address, of which sixty a minute are taken.
func (f *leakFlood) report(ctx context.Context, n int, plaintext string) error {
	began := time.Now()
	address := fmt.Sprintf("10.%d.%d.1", n/50/250, n/50%250)
	if err := reportBy(ctx, f.client, f.replicas[n%len(f.replicas)], plaintext, address); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took = append(f.took, time.Since(began))
	return nil
}

// watchLeases looks at the Leases until ctx ends.
func (f *leakFlood) watchLeases(ctx context.Context) {
	for ctx.Err() == nil && pass(ctx, 10*interval) == nil {
		for _, l := range leasesOfAll(ctx) {
			f.mu.Lock()
			f.lease = max(f.lease, l)
			f.mu.Unlock()
		}
	}
}

// leasesOfAll are how large the annotations of the Leases are; none if ctx has ended.
func leasesOfAll(ctx context.Context) (sizes []int) {
	list := &coordinationv1.LeaseList{}
	if admin.List(ctx, list, client.InNamespace(systemNamespace), client.HasLabels{v1alpha1.LabelReplica}) != nil {
		return nil
	}
	for _, l := range list.Items {
		size := 0
		for name, value := range l.Annotations {
			size += len(name) + len(value)
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// resident is how much memory a process has.
func resident(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err.Error()
	}
	var all []string
	for line := range strings.Lines(string(content)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":"); name == "VmHWM" || name == "VmRSS" {
			all = append(all, name+strings.TrimSpace(value))
		}
	}
	return strings.Join(all, " ")
}

var _ = Describe("Very many reports of leaked keys", func() {
	It("end all the keys that there are, and no other; and nobody else's report waits for them", func(ctx SpecContext) {
		real, random := soaking(300, 1000), soaking(6000, 100_000)
		controller := startController(ctx)
		api := seats(ctx, 2, "--trusted-proxies", "127.0.0.1/32")
		gate := gateSeats(ctx, 1)[0]
		namespace, other := newNamespace(ctx), newNamespace(ctx)
		leaking := mintMany(ctx, namespace, real)
		bystanders := mintMany(ctx, other, 8)
		awaitServed(ctx, urlsOf(append(slices.Clone(api), gate)), append(slices.Clone(bystanders), leaking[real-1]))
		f := &leakFlood{replicas: api, client: &http.Client{Timeout: patience, Transport: &http.Transport{
			MaxIdleConnsPerHost: 400, MaxConnsPerHost: 400,
		}}}
		defer f.client.CloseIdleConnections()
		watching, stop := context.WithCancel(ctx)
		var watcher sync.WaitGroup
		watcher.Go(func() { f.watchLeases(watching) })
		defer watcher.Wait()
		defer stop()

		before, began := apiserverRequests(ctx), time.Now()
		var group errgroup.Group
		group.SetLimit(600)
		every, next := random/real, 0
		for n := range random {
			group.Go(func() error { return f.report(ctx, n, newKey(key.Live)) })
			if n%every == 0 && next < real {
				k := leaking[next]
				group.Go(func() error { return f.report(ctx, n, k.plaintext) })
				next++
			}
		}
		Expect(group.Wait()).To(Succeed())
		answered := time.Since(began)

		By("asking for all of them")
		for _, k := range leaking {
			for _, s := range append(slices.Clone(api), gate) {
				refusedBy(ctx, s, k)
			}
		}
		refused := time.Since(began)
		Eventually(ctx, func() (int, error) {
			keys := &v1alpha1.ApiKeyList{}
			err := admin.List(ctx, keys, client.InNamespace(namespace))
			return len(slices.DeleteFunc(keys.Items, func(o v1alpha1.ApiKey) bool {
				return !slices.ContainsFunc(leaking, func(k *subject) bool { return k.UID == o.UID })
			})), err
		}, patience, 10*interval).Should(BeZero(), "keys that have leaked and are not deleted")
		gone := time.Since(began)
		stop()
		watcher.Wait()
		for _, k := range bystanders {
			for _, s := range append(slices.Clone(api), gate) {
				Expect(decided(ctx, s.status(ctx, "/v1/whoami", k))).To(Equal(http.StatusOK), "nobody has reported it")
			}
		}
		leaked := &v1alpha1.LeakedKeyList{}
		Expect(admin.List(ctx, leaked)).To(Succeed())
		of := map[string]int{}
		for _, l := range leaked.Items {
			of[l.Spec.ApiKeyNamespace]++
		}
		Expect(of[namespace]).To(Equal(real))
		Expect(of[other]).To(BeZero())
		for _, s := range append(slices.Clone(api), gate) {
			Eventually(ctx, metric(ctx, s.metrics, "lmp_leak_reports_waiting"), patience, interval).Should(BeZero(), s.String())
		}
		Expect(f.lease).To(BeNumerically("<", mostOnLease))

		slices.Sort(f.took)
		report := fmt.Sprintf("%d reports, %d of them of keys: answered in %s (p50 %s, p99 %s, longest %s), all refused after %s, "+
			"all gone after %s; the largest Lease %d B; %d requests to the apiserver; controller %s", len(f.took), real, answered,
			f.took[len(f.took)/2], f.took[len(f.took)*99/100], f.took[len(f.took)-1], refused, gone, f.lease,
			apiserverRequests(ctx)-before, resident(controller.PID()))
		for _, s := range append(slices.Clone(api), gate) {
			report += fmt.Sprintf("; %s %s", s, resident(s.current().PID()))
		}
		AddReportEntry("flood", report)
	}, SpecTimeout(soaking(4*patience, 10*patience)))
})

// apiserverRequests is how many requests the apiserver has answered, watches and those of this suite among them.
func apiserverRequests(ctx context.Context) (n int) {
	GinkgoHelper()
	apiserver, err := discovery.NewDiscoveryClientForConfig(cluster.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	text, err := apiserver.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_request_total{") {
			fields := strings.Fields(line)
			value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			Expect(err).NotTo(HaveOccurred())
			n += int(value)
		}
	}
	return n
}
