// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// outage is long enough for every client to notice, and to try and fail a few times.
const outage = 3 * time.Second

var _ = Describe("An API process whose apiserver goes away", func() {
	It("goes on answering from what it knows, and catches up", func(ctx SpecContext) {
		// Without leader election: a leader that can't renew its Lease ends, as it should, and is another spec's.
		startController(ctx)
		// Nor is the fence, which shuts after two thirds of a Lease: a busy machine takes long to start an apiserver.
		api := startAPI(ctx, "live", append(longLease, "--access-log", "none")...)
		namespace := newNamespace(ctx)
		stays, goes := mint(ctx, namespace, "stays"), mint(ctx, namespace, "goes")
		for _, key := range []string{stays, goes} {
			Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK))
		}

		asking := ask(ctx, api, stays)
		killAPIServer()
		asking.during(ctx, outage)
		Expect(decided(ctx, api.whoami(ctx, goes))).To(Equal(http.StatusOK), "it can't know of anything new")
		startAPIServer(ctx)

		// At once: the API process may not have found the apiserver again, and will not be told of this twice.
		Expect(admin.Delete(ctx, apiKey(namespace, "goes"))).To(Succeed())
		comes := mint(ctx, namespace, "comes")
		Eventually(ctx, api.whoami(ctx, goes), patience, interval).Should(Equal(http.StatusUnauthorized), api.logText)
		Eventually(ctx, api.whoami(ctx, comes), patience, interval).Should(Equal(http.StatusOK))
		later := mint(ctx, namespace, "later")
		Eventually(ctx, api.whoami(ctx, later), patience, interval).Should(Equal(http.StatusOK))
		asked, wrong := asking.stop()
		Expect(wrong).To(BeEmpty())
		Expect(asked).To(BeNumerically(">", 100), "rounds of questions")
	}, SpecTimeout(4*patience))

	It("waits for it, and becomes ready by itself", func(ctx SpecContext) {
		controller := startController(ctx)
		namespace := newNamespace(ctx)
		key := mint(ctx, namespace, "early")
		controller.end()

		killAPIServer()
		api := launchAPI("live")
		Eventually(ctx, api.status(ctx, "/healthz", ""), patience, interval).Should(Equal(http.StatusOK), "it is alive, though it can do nothing")
		Expect(api.status(ctx, "/readyz", "")()).To(Equal(http.StatusServiceUnavailable))
		for _, path := range []string{"/v1/whoami", "/v1/profiles", "/v1/profiles/x", "/v1/api-keys"} {
			status, body, err := get(ctx, api.url+path, "Bearer "+key)
			Expect(err).NotTo(HaveOccurred())
			Expect(status).To(Equal(http.StatusServiceUnavailable), path)
			Expect(body).To(ContainSubstring(`"code":"unavailable"`), path)
		}
		startAPIServer(ctx)
		Eventually(ctx, api.status(ctx, "/readyz", ""), patience, interval).Should(Equal(http.StatusOK))
		Expect(decided(ctx, api.whoami(ctx, key))).To(Equal(http.StatusOK), "whoever is ready knows every key")
	}, SpecTimeout(4*patience))
})

// killAPIServer lets it crash: asked to stop, it would wait for its watches to end. However the spec ends, the next one
// has an apiserver.
func killAPIServer() {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) {
		if procState(apiServer().PID()) == "" {
			startAPIServer(ctx)
		}
	}, NodeTimeout(2*patience))
	process{apiServer()}.end()
}

func startAPIServer(ctx SpecContext) {
	GinkgoHelper()
	Expect(cluster.StartAPIServer(ctx)).To(Succeed())
}

// apiServer is the apiserver that was started last.
func apiServer() *kube.Process {
	processes := cluster.Processes()
	return processes[slices.IndexFunc(processes, func(p *kube.Process) bool { return p.Name() == kube.APIServer })]
}

// questioner asks an API the same questions all the time.
type questioner struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	asked int
	wrong []string
}

// ask begins to ask: one key must be accepted, others refused, and the process be ready.
func ask(ctx SpecContext, api *server, accepted string) *questioner {
	life, cancel := context.WithCancel(ctx)
	q := &questioner{cancel: cancel}
	DeferCleanup(func() { _, _ = q.stop() })
	questions := []struct {
		path, authorization string
		want                int
	}{
		{"/v1/whoami", "Bearer " + accepted, http.StatusOK},
		{"/v1/whoami", "Bearer " + typo(accepted), http.StatusUnauthorized},
		{"/v1/whoami", "Bearer " + newKey("live"), http.StatusUnauthorized},
		{"/readyz", "", http.StatusOK},
	}
	q.done.Go(func() {
		next := time.NewTicker(5 * time.Millisecond)
		defer next.Stop()
		for life.Err() == nil {
			for _, question := range questions {
				got, err := api.status(ctx, question.path, question.authorization)()
				if err != nil || got != question.want {
					q.complain(fmt.Sprintf("GET %s: %d %v, want %d", question.path, got, err, question.want))
				}
			}
			q.count()
			<-next.C
		}
	})
	return q
}

func (q *questioner) complain(what string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wrong = append(q.wrong, what)
}

func (q *questioner) count() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked++
}

// during lets it ask for some time.
func (q *questioner) during(ctx SpecContext, d time.Duration) {
	GinkgoHelper()
	Consistently(ctx, func() []string {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.wrong
	}, d, interval).Should(BeEmpty())
}

// stop ends the questions, and returns how many rounds there were and which answers were wrong.
func (q *questioner) stop() (asked int, wrong []string) {
	q.cancel()
	q.done.Wait()
	return q.asked, q.wrong
}
