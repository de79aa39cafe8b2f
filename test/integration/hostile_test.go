// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
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

		calm := n.work(ctx, lasts/6)
		attacking, end := context.WithCancel(ctx)
		group := h.attack(attacking)
		harried := n.work(ctx, lasts)
		// On a loaded machine, the turn of one that waits for others may come later.
		Eventually(ctx, h.idle, 4*patience, interval).Should(BeEmpty(), "attacks that were never carried out")
		end()
		Expect(group.Wait()).To(Succeed())

		AddReportEntry("calm", calm.String(), ReportEntryVisibilityAlways)
		AddReportEntry("attacked", harried.String(), ReportEntryVisibilityAlways)
		AddReportEntry("attacks", h.String(), ReportEntryVisibilityAlways)
		for _, p := range processes {
			peak, limit := peakMemory(p), memoryLimit(p.part)
			Expect(hunt(homeless(h.key, n.key), []place{
				{"the log of " + p.name, []byte(p.logText())}, {"the metrics of " + p.name, []byte(p.scrape(ctx))},
			})).To(BeEmpty())
			AddReportEntry(fmt.Sprintf("%s: %d MiB at most, of %d", p.name, peak>>20, limit>>20), ReportEntryVisibilityAlways)
			Expect(p.Err()).NotTo(HaveOccurred())
			Expect(peak).To(BeNumerically("<", limit/2), "the memory of %s, and half of what its container may have", p.name)
		}
		AddReportEntry("writes sent again", n.again.Load(), ReportEntryVisibilityAlways)
		Expect(n.again.Load()).To(BeNumerically("<=", 1+len(harried.took["write"])/10), "writes that were told to come again")
		for _, d := range []*diary{calm, harried} {
			Expect(d.wrong).To(BeEmpty())
			Expect(d.took["delete"]).NotTo(BeEmpty())
			Expect(d.took["read"]).NotTo(BeEmpty())
			Expect(d.took["come"]).NotTo(BeEmpty())
		}
		// No replica fails here, so no deletion has to wait for a Lease to expire, which is what the third promise allows.
		// All that is tried runs on the neighbour's machine too. Where that is so slow that even what they do alone takes
		// long, what they do beside it may take as many times as long.
		for _, kind := range []string{"delete", "mint", "read", "list", "write", "come"} { // come: from their time on
			most := max(defaultLease, 50*calm.percentile(kind, 99))
			Expect(harried.percentile(kind, 99)).To(BeNumerically("<", most), kind)
		}
		Expect(n.lost(ctx)).To(BeEmpty(), "posts that were accepted")
		Expect(h.seen()).To(BeEmpty(), "of the neighbour, by the hostile tenant")
	}, SpecTimeout(20*time.Minute))
})

// defaultLease is how long a replica's Lease lasts: the default of --lease-duration.
const defaultLease = 15 * time.Second

// soaking is how much of something there is: less of it in each run of the tests, all of it in a `make soak` of ten
// minutes, and in a shorter one as much more as it takes of them.
func soaking[T ~int | ~int64](quick, whole T) T {
	text := os.Getenv("LMP_SOAK")
	if text == "" {
		return quick
	}
	lasts, err := time.ParseDuration(text)
	if err != nil {
		panic(fmt.Sprintf("LMP_SOAK: %v", err)) // while specs are put together: there is none yet that could fail
	}
	return max(quick, quick+T(float64(whole-quick)*lasts.Minutes()/10))
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
	// Of the two, the neighbour reads at the test API: who is known there is not to be held up by wrong keys from their
	// address. At the live one, deleted keys are asked for all the time.
	failures := map[string]string{"live": "60000/1m", "test": "60/1m"}
	for _, environment := range []string{"live", "test"} {
		flags := append(onSQLite(), "--default-rate-limit", "60000/1m", "--failed-auth-limit", failures[environment])
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
