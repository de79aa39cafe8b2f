// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"net/http"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

const (
	controllerName = "letmepost-controller"
	liveName       = "letmepost-api-live"
	testName       = "letmepost-api-test"
)

// The life of one release, from its first install to the last.
var _ = Describe("The chart", Ordered, func() {
	var address string  // of a PostgreSQL server
	var values []string // beside the defaults: databases on it, and media that replicas share

	BeforeAll(func(ctx SpecContext) {
		namespace(ctx, systemNamespace)
		namespace(ctx, teamNamespace)
		// As a client with the address of the node, which pods reach.
		address = postgres.StartServerOn(GinkgoTB(), nodeIP, "10.0.0.0/8").Address
		values = databases(ctx, address, "posts")
	})

	It("is installed with its defaults, and an app that mounts its key is let in", func(ctx SpecContext) {
		seconds := took(func() {
			helm(ctx, "install", release, chart(), "-n", systemNamespace, "--wait", "--timeout", "3m")
		})
		figure("helm install to Ready: %.1f s", seconds)
		apiKey(ctx, "backend", "live")

		By("an app with envFrom, and nothing else")
		said := complete(ctx, fromSecret(appPod(teamNamespace, "app", "call", "-calls", "5"), "backend"))
		Expect(counts(said)).To(Equal(map[string]int{"200": 5}))

		for deployment, program := range map[string]string{controllerName: "controller", liveName: "api"} {
			for _, pod := range podsOf(ctx, deployment) {
				figure("memory of %s, idle: %.0f MB", pod.Name, resident(pod.Name, program))
			}
		}
	})

	It("takes PostgreSQL, and with it a second replica of each API", func(ctx SpecContext) {
		key := secretValue(ctx, "backend", "LMP_API_KEY")
		helm(ctx, append([]string{"upgrade", release, chart(), "-n", systemNamespace, "--wait", "--timeout", "3m"}, values...)...)
		settled(ctx, liveName, testName)
		urls := podURLs(ctx, liveName)
		Expect(urls).To(HaveLen(2))
		for _, url := range urls {
			Expect(answers(ctx, url, key)).To(Equal(http.StatusOK), url)
		}
	})

	It("refuses a deleted key at every replica when kubectl returns", func(ctx SpecContext) {
		urls := podURLs(ctx, liveName)
		for i := range 10 {
			name := fmt.Sprintf("leaked-%d", i)
			key := apiKey(ctx, name, "live")
			for _, url := range urls {
				Eventually(answers).WithArguments(ctx, url, key).Should(Equal(http.StatusOK))
			}
			kubectl(ctx, "delete", "apikey", name, "-n", teamNamespace)
			for _, url := range urls {
				Expect(answers(ctx, url, key)).To(Equal(http.StatusUnauthorized), url)
			}
		}
	})

	Describe("under load", func() {
		var key string

		BeforeEach(func(ctx SpecContext) {
			key = apiKey(ctx, "busy", "test")
			connect(ctx, serviceURL(ctx, testName), key)
		})

		It("drops no request while it is rolled", func(ctx SpecContext) {
			l := startLoad(serviceURL(ctx, testName), key)
			for range 2 {
				kubectl(ctx, "rollout", "restart", "deployment/"+testName, "deployment/"+controllerName, "-n", systemNamespace)
				settled(ctx, testName, controllerName)
			}
			l.expectNoFailure("two rolling restarts")
		})

		It("drops no request while its pods are evicted", func(ctx SpecContext) {
			l := startLoad(serviceURL(ctx, testName), key)
			for _, deployment := range []string{testName, controllerName} {
				for _, pod := range podsOf(ctx, deployment) {
					drain(ctx, pod)
				}
				settled(ctx, deployment)
			}
			l.expectNoFailure("the eviction of every pod")
		})
	})

	It("goes on when one replica of two is killed, and revokes without it", func(ctx SpecContext) {
		key := apiKey(ctx, "survivor", "live")
		pods := podsOf(ctx, liveName)
		Expect(pods).To(HaveLen(2))
		Expect(syscall.Kill(process(pods[0].Name, "api"), syscall.SIGKILL)).To(Succeed())
		Expect(answers(ctx, "http://"+pods[1].Status.PodIP+":8080", key)).To(Equal(http.StatusOK), "the other one")

		// It died without giving its Lease up: the deletion waits until that has expired, and no longer.
		kubectl(ctx, "delete", "apikey", "survivor", "-n", teamNamespace, "--timeout=60s")
		for _, url := range podURLs(ctx, liveName) {
			Expect(answers(ctx, url, key)).NotTo(Equal(http.StatusOK), url)
		}
		Eventually(ready).WithArguments(ctx, liveName).Should(Equal(2), "it is started again")
		for _, url := range podURLs(ctx, liveName) {
			Expect(answers(ctx, url, key)).To(Equal(http.StatusUnauthorized), url)
		}
	})

	It("leaves nothing stuck when it is uninstalled, and keys are valid when it is installed again", func(ctx SpecContext) {
		key := secretValue(ctx, "backend", "LMP_API_KEY")
		apiKey(ctx, "doomed", "live")
		uninstall(ctx)
		Expect(leftovers(ctx)).To(ConsistOf(
			"PersistentVolumeClaim "+liveName, "PersistentVolumeClaim "+testName, // database.sqlite.keep, of the first install
			"Lease "+controllerName, // that nobody holds
		), "what docs/operations.md says that stays")
		Expect(there(ctx, "crd", "apikeys.letmepost.dev")).To(BeTrue(), "crds.keep")

		By("deleting a key with nobody there")
		kubectl(ctx, "delete", "apikey", "doomed", "-n", teamNamespace, "--timeout=30s")

		helm(ctx, append([]string{"install", release, chart(), "-n", systemNamespace, "--wait", "--timeout", "3m"}, values...)...)
		settled(ctx, liveName)
		for _, url := range podURLs(ctx, liveName) {
			Expect(answers(ctx, url, key)).To(Equal(http.StatusOK), url)
		}
		Eventually(finalizers).WithArguments(ctx, "backend").Should(ContainElement(v1alpha1.FinalizerRevocation),
			"its revocation is confirmed again")
	})

	It("is upgraded from its previous version without a failed request", func(ctx SpecContext) {
		uninstall(ctx)
		values := databases(ctx, address, "older") // that the newer version has not migrated
		helm(ctx, append([]string{"install", release, previousChart(), "-n", systemNamespace, "--wait", "--timeout", "3m"}, values...)...)
		settled(ctx, testName, liveName, controllerName)
		Expect(expiresColumn(ctx)).To(BeFalse(), "its definitions are older")
		Expect(there(ctx, "validatingadmissionpolicy", "letmepost-live-keys")).To(BeFalse())
		Expect(there(ctx, "configmap", "letmepost-settings")).To(BeTrue())
		key := apiKey(ctx, "upgraded", "test")
		connect(ctx, serviceURL(ctx, testName), key)

		l := startLoad(serviceURL(ctx, testName), key)
		helm(ctx, append([]string{"upgrade", release, chart(), "-n", systemNamespace, "--wait", "--timeout", "5m"}, values...)...)
		settled(ctx, testName, liveName, controllerName)
		l.expectNoFailure("the upgrade from the previous version")
		Expect(expiresColumn(ctx)).To(BeTrue(), "definitions are upgraded with the release")
		Expect(there(ctx, "validatingadmissionpolicy", "letmepost-live-keys")).To(BeTrue())
		Expect(there(ctx, "configmap", "letmepost-settings")).To(BeFalse(), "what the version does without is gone")
		Expect(answers(ctx, serviceURL(ctx, liveName), secretValue(ctx, "backend", "LMP_API_KEY"))).To(Equal(http.StatusOK))
		kubectl(ctx, "delete", "apikey", "upgraded", "-n", teamNamespace, "--timeout=30s")
		Expect(answers(ctx, serviceURL(ctx, testName), key)).To(Equal(http.StatusUnauthorized))
	})
})
