// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"regexp"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/util/wait"
)

// election lets leadership move within seconds.
var election = []string{
	"--leader-elect", "--leader-election-namespace", systemNamespace,
	"--leader-elect-lease-duration", "4s", "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "300ms",
}

var _ = Describe("Two controllers", func() {
	It("mint every key once while leadership moves", func(ctx SpecContext) {
		live := startAPI(ctx, "live")
		audit := startAudit(ctx)
		namespace := newNamespace(ctx)

		first := candidate(ctx)
		first.awaitLeadership(ctx)
		stopCreating := createKeys(ctx, namespace)

		By("SIGTERM: the leader gives up its Lease")
		second := candidate(ctx)
		Expect(first.Signal(syscall.SIGTERM)).To(Succeed())
		second.awaitLeadership(ctx)
		Eventually(first.Done(), patience).Should(BeClosed())

		By("kill -9: the Lease runs out")
		third := candidate(ctx)
		second.Kill()
		third.awaitLeadership(ctx)

		By("SIGSTOP: the leader hangs, then wakes up and believes that it leads")
		fourth := candidate(ctx)
		Expect(third.Signal(syscall.SIGSTOP)).To(Succeed())
		fourth.awaitLeadership(ctx)
		Expect(third.Signal(syscall.SIGCONT)).To(Succeed())
		Eventually(third.Done(), patience).Should(BeClosed(), "a leader that lost its Lease must end")

		leader := fourth
		for _, point := range []string{"before-create", "after-create", "before-status"} {
			By("the leader hangs in the middle of a mint, at the point " + point)
			leader = hangAt(ctx, audit, namespace, leader, point)
		}

		created := stopCreating()
		Expect(audit.await(ctx, leader.Done(), func() bool { return audit.ready(namespace, created) })).To(Succeed(), "%d keys ready", created)
		AddReportEntry("keys created", created, ReportEntryVisibilityFailureOrVerbose)
		Expect(created).To(BeNumerically(">", 50), "keys created while leadership moved")
		Expect(verify(ctx, audit, namespace, created, live)).To(Succeed())
	}, SpecTimeout(6*patience))
})

// candidate starts a controller that stands by until it is elected.
func candidate(ctx SpecContext) *server {
	GinkgoHelper()
	s := launchController(freePorts(2), election...)
	s.waitReady(ctx)
	return s
}

// awaitLeadership waits until a process says that it leads.
func (s *server) awaitLeadership(ctx SpecContext) {
	GinkgoHelper()
	Eventually(ctx, func() (string, error) {
		_, body, err := get(ctx, s.metrics, "")
		return body, err
	}, patience, interval).Should(ContainSubstring(`leader_election_master_status{name="letmepost-controller"} 1`),
		"%s does not become the leader:\n%s", s.Name(), s.Tail(10))
}

// hangAt lets leadership go to a controller that hangs at a point of a mint, then to another one, which finishes that
// mint; only then the first goes on with what it was doing. It returns the leader.
func hangAt(ctx SpecContext, audit *audit, namespace string, leader *server, point string) *server {
	GinkgoHelper()
	stale := launch(crasher, controllerAccount, append([]string{
		"--point", point, "--action", "stop", "--concurrency", "1",
	}, election...)...)
	Eventually(stale.logText, patience, interval).Should(ContainSubstring("Attempting to acquire leader lease"))
	Expect(leader.Signal(syscall.SIGTERM)).To(Succeed())
	Eventually(func() string { return procState(stale.PID()) }, patience, interval).Should(Equal("T"), "it does not come to the point %s", point)
	Eventually(leader.Done(), patience).Should(BeClosed())
	found := regexp.MustCompile(`"the fault comes".*"at":"([^"]+)"`).FindStringSubmatch(stale.logText())
	Expect(found).To(HaveLen(2))

	next := candidate(ctx)
	next.awaitLeadership(ctx)
	finished := func() bool { return audit.keyReady(namespace, found[1]) }
	Expect(audit.await(ctx, next.Done(), finished)).To(Succeed(), "the new leader finishes the mint of %s", found[1])
	Expect(stale.Signal(syscall.SIGCONT)).To(Succeed())
	Eventually(stale.Done(), patience).Should(BeClosed(), "a leader that lost its Lease must end")

	// What it was about to do must have been refused; after the Secret's create, it may end before it does anything.
	outcome := map[string]string{
		"before-create": `the stale call has ended.*already exists`,
		"after-create":  `"continued"`,
		"before-status": `the stale call has ended.*the object has been modified`,
	}
	Expect(stale.logText()).To(MatchRegexp(outcome[point]))
	return next
}

// createKeys creates a key every now and then, until it is told to stop; then it says how many.
func createKeys(ctx SpecContext, namespace string) (stop func() int) {
	life, cancel := context.WithCancel(ctx)
	done := make(chan int)
	go func() {
		defer GinkgoRecover()
		n := 0
		defer func() { done <- n }()
		_ = wait.PollUntilContextCancel(life, 100*time.Millisecond, true, func(context.Context) (bool, error) {
			defer GinkgoRecover()
			Expect(admin.Create(ctx, apiKey(namespace, fmt.Sprintf("key-%d", n)))).To(Succeed())
			n++
			return false, nil
		})
	}()
	return func() int {
		cancel()
		return <-done
	}
}
