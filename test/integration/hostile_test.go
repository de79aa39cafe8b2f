// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// canary stands in every text of the neighbour. Whoever else sees it has seen what is not theirs.
const canary = "neighbour-canary-5f2a"

var _ = Describe("A hostile tenant", func() {
	It("neither harms a neighbour nor learns of them, whatever is tried with the credentials of one namespace", func(ctx SpecContext) {
		lasts := soaking(45*time.Second, 10*time.Minute)
		processes := startLimited(ctx)
		live, test := processes[1], processes[2]
		n := newNeighbour(ctx, live, test)
		h := newHostile(ctx, live, test, n)

		calm := n.work(ctx, lasts/4)
		attacking, end := context.WithCancel(ctx)
		group := h.attack(attacking)
		harried := n.work(ctx, lasts)
		end()
		Expect(group.Wait()).To(Succeed())

		AddReportEntry("calm", calm.String(), ReportEntryVisibilityAlways)
		AddReportEntry("attacked", harried.String(), ReportEntryVisibilityAlways)
		AddReportEntry("attacks", h.String(), ReportEntryVisibilityAlways)
		for _, p := range processes {
			peak, limit := peakMemory(p), memoryLimit(p.part)
			AddReportEntry(fmt.Sprintf("%s: %d MiB at most, of %d", p.name, peak>>20, limit>>20), ReportEntryVisibilityAlways)
			Expect(p.Err()).NotTo(HaveOccurred())
			Expect(peak).To(BeNumerically("<", limit), "the memory of %s, and what its container may have", p.name)
		}
		for _, d := range []*diary{calm, harried} {
			Expect(d.wrong).To(BeEmpty())
			Expect(d.took["delete"]).NotTo(BeEmpty())
			Expect(d.took["read"]).NotTo(BeEmpty())
		}
		// No replica fails here, so no deletion has to wait for a Lease to expire, which is what the third promise allows.
		Expect(harried.percentile("delete", 99)).To(BeNumerically("<", defaultLease))
		Expect(n.lost(ctx)).To(BeEmpty(), "posts that were accepted")
		Expect(h.seen()).To(BeEmpty(), "of the neighbour, by the hostile tenant")
		Expect(h.idle()).To(BeEmpty(), "attacks that were never carried out")
	}, SpecTimeout(20*time.Minute))
})

// defaultLease is how long a replica's Lease lasts: the default of --lease-duration.
const defaultLease = 15 * time.Second

// soaking is how much of something there is: less of it in each run of the tests, all of it in `make soak`.
func soaking[T any](quick, whole T) T {
	if os.Getenv("LMP_SOAK") != "" {
		return whole
	}
	return quick
}

// limited is a process of ours that has as much memory as the chart gives it.
type limited struct {
	*server
	name, part string
}

// startLimited starts a controller, a live and a test API with the limits that they have by default.
func startLimited(ctx SpecContext) []limited {
	GinkgoHelper()
	all := []limited{{startController(ctx, "--leader-elect=false"), "the controller", "controller"}}
	for _, environment := range []string{"live", "test"} {
		flags := append(onSQLite(), "--default-rate-limit", "60000/1m", "--failed-auth-limit", "60000/1m")
		all = append(all, limited{startAPI(ctx, environment, flags...), "the " + environment + " API", "api"})
	}
	return all
}

// memoryLimit is what the chart lets a part of the product have, in bytes.
func memoryLimit(part string) int64 {
	GinkgoHelper()
	content, err := os.ReadFile(kube.Path("charts/letmepost-operator/values.yaml"))
	Expect(err).NotTo(HaveOccurred())
	var values map[string]struct {
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	var parts map[string]any
	Expect(yaml.Unmarshal(content, &parts)).To(Succeed())
	chosen, err := yaml.Marshal(map[string]any{part: parts[part]})
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Unmarshal(chosen, &values)).To(Succeed())
	limit := values[part].Resources.Limits[corev1.ResourceMemory]
	Expect(limit.Cmp(resource.MustParse("64Mi"))).To(BeNumerically(">", 0))
	return limit.Value()
}

// peakMemory is the most resident memory that a process has had, in bytes.
func peakMemory(p limited) int64 {
	GinkgoHelper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	Expect(err).NotTo(HaveOccurred())
	_, rest, found := strings.Cut(string(content), "VmHWM:")
	Expect(found).To(BeTrue())
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	Expect(err).NotTo(HaveOccurred())
	return kilobytes << 10
}

// neighbour is another tenant, who goes on working.
type neighbour struct {
	desk
	live, test *server
	subjects   []*subject // live keys
	next       int        // which of them is deleted next

	mu       sync.Mutex
	accepted []string // ids of posts
}

func newNeighbour(ctx SpecContext, live, test limited) *neighbour {
	GinkgoHelper()
	n := &neighbour{desk: newDesk(ctx, test.server), live: live.server, test: test.server}
	const keys = 200
	n.subjects = mintMany(ctx, newNamespace(ctx), keys) // an organization for each environment
	awaitServed(ctx, []string{live.url}, n.subjects)
	return n
}

// diary is what a tenant has noticed of a span of work.
type diary struct {
	mu    sync.Mutex
	took  map[string][]time.Duration // by kind of work
	wrong []string
}

func (d *diary) note(kind string, began time.Time, wrong string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.took[kind] = append(d.took[kind], time.Since(began))
	if wrong != "" && len(d.wrong) < 20 {
		d.wrong = append(d.wrong, kind+": "+wrong)
	}
}

func (d *diary) percentile(kind string, p int) time.Duration {
	took := slices.Sorted(slices.Values(d.took[kind]))
	if len(took) == 0 {
		return 0
	}
	return took[min(len(took)-1, len(took)*p/100)]
}

func (d *diary) String() string {
	var text strings.Builder
	for _, kind := range []string{"delete", "read", "list", "write"} {
		fmt.Fprintf(&text, "%s: %d, median %s, p99 %s; ", kind, len(d.took[kind]),
			d.percentile(kind, 50).Round(time.Millisecond), d.percentile(kind, 99).Round(time.Millisecond))
	}
	return text.String()
}

// work does what a tenant does for a while: deletes keys, reads, lists and publishes, one after the other of each kind.
func (n *neighbour) work(ctx context.Context, lasts time.Duration) *diary {
	d := &diary{took: map[string][]time.Duration{}}
	over, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	var group errgroup.Group
	for kind, task := range map[string]struct {
		every time.Duration
		do    func(context.Context) string
	}{
		"delete": {lasts / 60, n.deleteOne}, // of each span, at most as many as there are keys for
		"read":   {20 * time.Millisecond, n.readOne},
		"list":   {100 * time.Millisecond, n.list},
		"write":  {200 * time.Millisecond, n.publish},
	} {
		group.Go(func() error {
			ticks := time.NewTicker(task.every)
			defer ticks.Stop()
			for over.Err() == nil {
				began := time.Now()
				d.note(kind, began, task.do(ctx))
				select {
				case <-ticks.C:
				case <-over.Done():
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	return d
}

// deleteOne deletes a live key that is served, and returns what was wrong: "" for nothing.
func (n *neighbour) deleteOne(ctx context.Context) string {
	if n.next == len(n.subjects) {
		return "no key is left to delete"
	}
	s := n.subjects[n.next]
	n.next++
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.asked.Store(time.Now().UnixNano())
	if err := deleteKey(ctx, s.ApiKey); err != nil {
		return err.Error() + ": " + whyHeld(ctx, s.ApiKey)
	}
	s.gone.Store(time.Now().UnixNano())
	if status, _, err := get(ctx, n.live.url+"/v1/whoami", "Bearer "+s.plaintext); err != nil || status != http.StatusUnauthorized {
		return fmt.Sprintf("a deleted key is answered %d, %v", status, err)
	}
	return ""
}

func (n *neighbour) readOne(ctx context.Context) string { return n.expect(ctx, "/v1/whoami") }
func (n *neighbour) list(ctx context.Context) string {
	return n.expect(ctx, "/v1/posts?limit=20&q=canary")
}

func (n *neighbour) expect(ctx context.Context, path string) string {
	status, body, err := get(ctx, n.test.url+path, "Bearer "+n.key)
	if err != nil || status != http.StatusOK {
		return fmt.Sprintf("GET %s: %d %s, %v", path, status, body, err)
	}
	return ""
}

func (n *neighbour) publish(ctx context.Context) string {
	a, err := n.writing(canary+" "+rand.Text(), time.Time{}).send(ctx, n.test.url, n.key)
	var b batch
	if err == nil {
		err = a.into(&b)
	}
	if err != nil {
		return err.Error()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, result := range b.Results {
		n.accepted = append(n.accepted, result.PostID)
	}
	return ""
}

// lost are the posts that were accepted and are not there, or not published.
func (n *neighbour) lost(ctx context.Context) (found []string) {
	for _, id := range n.accepted {
		if post, err := n.read(ctx, n.test, id)(); err != nil || post.Status != published {
			found = append(found, fmt.Sprintf("%s: %s, %v", id, post.Status, err))
		}
	}
	return found
}

// credentialsIn makes a ServiceAccount with what a minter and revoker of one namespace may do, and nothing else.
func credentialsIn(ctx SpecContext, namespace string) *rest.Config {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "hostile"}
	Expect(admin.Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta})).To(Succeed())
	for _, role := range []string{"viewer", "minter", "test-minter", "revoker"} {
		Expect(admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "letmepost-apikey-" + role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: meta.Name}},
		})).To(Succeed())
	}
	path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(cluster.ServiceAccountKubeconfig(ctx, namespace, meta.Name, path)).To(Succeed())
	config, err := clientcmd.BuildConfigFromFlags("", path)
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1 // whoever is hostile does not hold back
	return config
}
