// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("make up", func() {
	It("gives what the README's tour and docs/http-api.md show, three live API processes when asked for, and the same keys after a restart", func(ctx SpecContext) {
		steps := tourOf("README.md", "A tour")
		var expected []string
		for _, s := range steps {
			expected = append(expected, s.expect)
		}
		Expect(expected).To(ContainElement("401"), "a tour without a revocation shows too little")
		dev := newDev()

		By("the tour")
		dev.up(ctx)
		Expect(dev.env["LMP_LIVE_URLS"]).To(Equal(dev.env["LMP_LIVE_URL"]))
		Expect(dev.pidNames()).To(ConsistOf("etcd", "kube-apiserver", "kube-controller-manager", "controller", "api-live-0", "api-test-0", "gate-0"))
		Expect(checkTour(steps, dev.bash(ctx, script(steps)))).To(Succeed())
		By("the examples of the API's documentation")
		DeferCleanup(func() { _ = os.Remove(kube.Path("pixel.png")) }) // which they make, and remove if all goes well
		examples := tourOf("docs/http-api.md", wholePage)
		Expect(checkTour(examples, dev.bash(ctx, script(examples)))).To(Succeed())
		key := dev.plaintextOfSample(ctx)
		Expect(answers(ctx, dev.env["LMP_LIVE_URL"], key)).To(Equal(http.StatusOK))
		dev.down()

		By("the same state, with three live API processes")
		dev.up(ctx, "LIVE_REPLICAS=3")
		Expect(dev.pidNames()).To(ConsistOf("etcd", "kube-apiserver", "kube-controller-manager", "controller",
			"api-live-0", "api-live-1", "api-live-2", "api-test-0", "gate-0"))
		urls := strings.Split(dev.env["LMP_LIVE_URLS"], ",")
		Expect(urls).To(HaveLen(3))
		Expect(slices.Compact(slices.Sorted(slices.Values(urls)))).To(HaveLen(3), "three different ones")
		for _, url := range urls {
			Expect(answers(ctx, url, key)).To(Equal(http.StatusOK), "a key from before the restart, at %s", url)
		}
		Expect(answers(ctx, dev.env["LMP_TEST_URL"], key)).To(Equal(http.StatusUnauthorized))
		for _, name := range []string{"LMP_CONTROLLER_METRICS_URL", "LMP_API_METRICS_URL"} {
			status, body, err := get(ctx, dev.env[name], "")
			Expect(err).NotTo(HaveOccurred())
			Expect(status).To(Equal(http.StatusOK), name)
			Expect(body).To(ContainSubstring("lmp_"), name)
		}
		dev.down()
	}, SpecTimeout(6*patience))
})

// tourOf reads the tour in a file of the repository.
func tourOf(file, section string) []step {
	GinkgoHelper()
	content, err := os.ReadFile(kube.Path(file))
	Expect(err).NotTo(HaveOccurred())
	steps, err := readTour(string(content), section)
	Expect(err).NotTo(HaveOccurred())
	return steps
}

// dev is a `make up`, with state and ports of its own.
type dev struct {
	dir     string
	base    int
	process *kube.Process
	env     map[string]string
	pids    map[string]int
}

func newDev() *dev {
	GinkgoHelper()
	return &dev{dir: GinkgoT().TempDir(), base: freePortBase()}
}

// freePortBase looks for a range of ports outside of those of `make up`, of its own tests and of kube.FreePorts.
func freePortBase() int {
	GinkgoHelper()
	const first, last, span = 12000, 17000, 40
	for range 100 {
		base := first + span*rand.IntN((last-first)/span)
		free := true
		for port := base; port < base+span && free; port++ {
			free = kube.PortFree(port) == nil
		}
		if free {
			return base
		}
	}
	Fail("no free range of ports")
	return 0
}

// up runs what `make up` runs, and waits until it says that everything is ready.
func (d *dev) up(ctx SpecContext, env ...string) {
	GinkgoHelper()
	program := kube.Path("bin/up")
	Expect(program).To(BeAnExistingFile(), "the product is not built yet, run `make build` first")
	var err error
	d.process, err = kube.Run(kube.Command{
		Name: "up", Path: program,
		Env: append(kube.MinimalEnv(), append(env, "LMP_DEV_DIR="+d.dir, "LMP_PORT_BASE="+strconv.Itoa(d.base))...),
		Log: filepath.Join(logDir, fmt.Sprintf("up-%d.log", started.Add(1))),
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(process{d.process}.end)
	file := filepath.Join(d.dir, "env")
	Eventually(ctx, func(g Gomega) {
		if d.process.Err() != nil {
			StopTrying(fmt.Sprintf("%v:\n%s", d.process.Err(), d.process.Tail(30))).Now()
		}
		g.Expect(file).To(BeAnExistingFile())
	}, 2*patience, interval).Should(Succeed(), func() string { return d.process.Tail(30) })
	d.readEnv(file)
	d.readPIDs()
}

func (d *dev) readEnv(file string) {
	GinkgoHelper()
	content, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	d.env = map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		Expect(found).To(BeTrue(), line)
		d.env[name] = value
	}
}

func (d *dev) readPIDs() {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(d.env["LMP_PIDS_DIR"], "*.pid"))
	Expect(err).NotTo(HaveOccurred())
	d.pids = map[string]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
		Expect(err).NotTo(HaveOccurred())
		Expect(procState(pid)).NotTo(BeEmpty(), "%s is no running process", file)
		d.pids[strings.TrimSuffix(filepath.Base(file), ".pid")] = pid
	}
}

func (d *dev) pidNames() (names []string) {
	for name := range d.pids {
		names = append(names, name)
	}
	return names
}

// down asks it to stop, and checks that it does so without an error and leaves nobody behind.
func (d *dev) down() {
	GinkgoHelper()
	// Not by its own method, to which every end after a signal is a good one.
	Expect(syscall.Kill(d.process.PID(), syscall.SIGTERM)).To(Succeed())
	Eventually(d.process.Done(), patience, interval).Should(BeClosed())
	var exit *exec.ExitError
	Expect(errors.As(d.process.Err(), &exit)).To(BeFalse(), "%v:\n%s", d.process.Err(), d.process.Tail(30))
	for name, pid := range d.pids {
		Expect(procState(pid)).To(BeEmpty(), "%s still runs", name)
	}
	Expect(filepath.Glob(filepath.Join(d.env["LMP_PIDS_DIR"], "*"))).To(BeEmpty())
	Expect(filepath.Join(d.dir, "env")).NotTo(BeAnExistingFile(), "it would tell scripts that all is ready")
}

// devDir is what the README calls the state directory, which is another one here. It is no part of "letmepost.dev/".
var devDir = regexp.MustCompile(`(^|[\s"'=])\.dev/`)

// bash runs a script in the root of the repository, as a person would in a second terminal.
func (d *dev) bash(ctx context.Context, script string) string {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec 2>&1\n"+devDir.ReplaceAllString(script, "${1}"+d.dir+"/"))
	cmd.Dir = kube.Path(".")
	cmd.Env = kube.MinimalEnv()
	output, err := cmd.Output()
	Expect(err).NotTo(HaveOccurred(), string(output))
	return string(output)
}

// plaintextOfSample is the plaintext of the sample key acme/backend.
func (d *dev) plaintextOfSample(ctx SpecContext) string {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", d.env["KUBECONFIG"])
	Expect(err).NotTo(HaveOccurred())
	c, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	return plaintextIn(ctx, c, "acme", "backend")
}

// answers returns the status that an API answers to a key.
func answers(ctx context.Context, url, key string) int {
	GinkgoHelper()
	status, _, err := get(ctx, url+"/v1/whoami", "Bearer "+key)
	Expect(err).NotTo(HaveOccurred())
	return status
}
