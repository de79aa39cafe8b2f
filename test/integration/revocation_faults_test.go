// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// shortLease is the shortest that replicas accept: what has to expire expires soon.
const shortLease = 3 * time.Second

var leaseArgs = []string{"--lease-duration", shortLease.String()}

// What can happen to a replica, beside the faulty modes of its proxy.
const (
	kill    = "kill"    // -9, and another one is started
	replace = "replace" // it is asked to end, and another one is started
	stop    = "stop"    // SIGSTOP, and SIGCONT after a while
	hang    = "hang"    // SIGSTOP, and SIGCONT after a deletion has completed without it
)

var faults = []string{
	kill, replace, stop, hang,
	string(kube.Refuse), string(kube.Silent), string(kube.Paused), string(kube.Swallow),
}

// mishap is one thing that happens to a replica.
type mishap struct {
	fault string
	lasts time.Duration
	rest  bool // wait until it serves again before anything else happens to it
}

func (s mishap) String() string { return fmt.Sprintf("%s for %s", s.fault, s.lasts) }

// plan is what happens to a replica, one after the other: each fault as often as any other.
func plan(dice *rand.Rand, steps int) []mishap {
	all := make([]mishap, steps)
	for i := range all {
		all[i] = mishap{
			fault: faults[i%len(faults)],
			lasts: time.Duration(dice.Int64N(int64(3 * shortLease / 2))).Round(time.Millisecond),
			rest:  dice.IntN(2) == 0,
		}
	}
	dice.Shuffle(steps, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

var _ = Describe("Deleting keys while replicas fail", func() {
	It("never returns while one accepts the key, and always returns", func(ctx SpecContext) {
		stepsEach, keys := soaking(16, 200), soaking(300, 2000)
		startController(ctx)
		replicas := slices.Concat(seats(ctx, 3, leaseArgs...), gateSeats(ctx, 2, leaseArgs...))
		subjects := mintMany(ctx, newNamespace(ctx), keys)
		awaitServed(ctx, urlsOf(replicas), subjects)
		t := &trial{
			inquest: investigate(ctx, urlsOf(replicas), subjects), stays: subjects[0],
			reserve: len(replicas) * (stepsEach/len(faults) + 1), // for each that hangs
		}
		t.next.Store(20) // some stay

		over, end := context.WithCancel(ctx)
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return t.deleteEvery(life, over, 500*time.Millisecond) })
		group.Go(func() error {
			defer end()
			acts, life := errgroup.WithContext(life)
			for i, replica := range replicas {
				acts.Go(func() error { return t.play(life, replica, plan(random(i), stepsEach)) })
			}
			return acts.Wait()
		})
		err := group.Wait()
		Expect(t.stop()).To(BeEmpty())
		t.report()
		Expect(err).NotTo(HaveOccurred())
		Expect(len(t.took())).To(BeNumerically(">", len(replicas)*stepsEach), "deletions that completed")
		for _, replica := range replicas {
			Expect(t.answers[replica.url]).To(And(
				HaveKey(http.StatusOK), HaveKey(http.StatusUnauthorized), HaveKey(http.StatusServiceUnavailable)))
			Expect(replica.proxy.Swallowed()).To(BeNumerically(">", 0))
		}
	}, SpecTimeout(soaking(10*patience, 30*patience)))
})

var _ = Describe("A replica whose watch has lost a deletion", func() {
	It("learns of it by listing anew, and the deletion waits for that", func(ctx SpecContext) {
		startController(ctx)
		var replica *seat
		lease := leaseOf(ctx, func() {
			replica = seats(ctx, 1, "--lease-duration", "60s")[0] // it is never counted out
			replica.waitReady(ctx)
		})
		namespace := newNamespace(ctx)
		subjects := mintMany(ctx, namespace, 2)
		goes, stays := subjects[0], subjects[1]
		awaitServed(ctx, []string{replica.url}, subjects)
		q := investigate(ctx, []string{replica.url}, subjects)

		replica.proxy.SetMode(kube.Swallow)
		group, life := errgroup.WithContext(ctx)
		group.Go(func() error { return q.remove(life, goes, deleteKey) })
		Eventually(ctx, replica.proxy.Swallowed, patience, interval).Should(BeNumerically(">", 0))
		Expect(decided(ctx, replica.status(ctx, "/v1/whoami", goes))).To(Equal(http.StatusOK), "it knows nothing of the deletion")
		// The watch goes on behind the lost event, as if nothing had been.
		later := create(ctx, apiKey(namespace, "new"))
		Eventually(ctx, func() (int, error) {
			l := leases(ctx)[lease]
			return resourceversion.CompareResourceVersion(l.Annotations[v1alpha1.AnnotationApplied], later.ResourceVersion)
		}, patience, interval).Should(BeNumerically(">=", 0), "the replica has applied what came later")
		replica.proxy.SetMode(kube.Pass)

		Expect(group.Wait()).To(Succeed())
		Expect(decided(ctx, replica.status(ctx, "/v1/whoami", goes))).To(Equal(http.StatusUnauthorized))
		Expect(decided(ctx, replica.status(ctx, "/v1/whoami", stays))).To(Equal(http.StatusOK))
		Expect(q.stop()).To(BeEmpty())
		q.report()
	}, SpecTimeout(3*patience))
})

// trial is an inquest about replicas to which things happen.
type trial struct {
	*inquest
	stays *subject     // is never deleted
	next  atomic.Int64 // which subject is deleted next
	// reserve is how many subjects deleteEvery leaves to whoever draws one: a slow machine takes longer for all else.
	reserve int
}

// deleteEvery lets a deletion begin at a steady pace, however long they take, until over ends or no key is left. It
// returns when all have completed. Each is followed by a new key, which a watch can tell of that has lost the deletion.
func (t *trial) deleteEvery(ctx, over context.Context, pace time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for i := 0; over.Err() == nil && ctx.Err() == nil; i++ {
		if s := t.drawOf(len(t.subjects) - t.reserve); s != nil {
			group.Go(func() error { return t.remove(ctx, s, deleteKey) })
		}
		<-ticks.C
		group.Go(func() error { return admin.Create(ctx, apiKey(t.stays.Namespace, fmt.Sprintf("new-%d", i))) })
	}
	return group.Wait()
}

// draw returns a subject that nobody has deleted, nil if there is none.
func (t *trial) draw() *subject { return t.drawOf(len(t.subjects)) }

// drawOf is draw of the first n subjects.
func (t *trial) drawOf(n int) *subject {
	for {
		last := t.next.Load()
		if int(last)+1 >= n {
			return nil
		}
		if t.next.CompareAndSwap(last, last+1) {
			return t.subjects[last+1]
		}
	}
}

// play lets things happen to one replica.
func (t *trial) play(ctx context.Context, replica *seat, steps []mishap) error {
	for i, s := range steps {
		err := t.act(ctx, replica, s)
		if err == nil && (s.rest || i == len(steps)-1) {
			err = replica.serves(ctx, t.stays)
		}
		if err != nil {
			return fmt.Errorf("%s, step %d of %d (%s, after %v): %w", replica, i, len(steps), s, steps[max(0, i-2):i], err)
		}
	}
	return nil
}

func (t *trial) act(ctx context.Context, replica *seat, s mishap) error {
	switch s.fault {
	case kill:
		replica.kill()
		return errors.Join(pass(ctx, s.lasts), replica.start())
	case replace:
		return errors.Join(replica.leave(ctx), replica.start())
	case stop:
		return errors.Join(replica.signal(syscall.SIGSTOP), pass(ctx, s.lasts), replica.signal(syscall.SIGCONT))
	case hang:
		return t.hang(ctx, replica)
	case string(kube.Swallow):
		return t.swallow(ctx, replica, s.lasts)
	default:
		replica.proxy.SetMode(kube.Mode(s.fault))
		err := pass(ctx, s.lasts)
		replica.proxy.SetMode(kube.Pass)
		return err
	}
}

// swallow lets a replica's watches lose events, for as long as it lasts and until at least one is lost: for that there
// have to be watches, so it begins once the replica serves.
func (t *trial) swallow(ctx context.Context, replica *seat, lasts time.Duration) error {
	if err := replica.serves(ctx, t.stays); err != nil {
		return err
	}
	before := replica.proxy.Swallowed()
	replica.proxy.SetMode(kube.Swallow)
	defer replica.proxy.SetMode(kube.Pass)
	if err := pass(ctx, lasts); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(context.Context) (bool, error) {
		return replica.proxy.Swallowed() > before, nil
	})
	if err != nil {
		return fmt.Errorf("no event was lost: %w", err)
	}
	return nil
}

// hang stops a replica until a deletion has completed without it. Requests are waiting for it when it wakes up: it must
// not accept that key, and nothing at all before it has registered again.
func (t *trial) hang(ctx context.Context, replica *seat) error {
	if err := replica.serves(ctx, t.stays); err != nil {
		return err
	}
	goes := t.draw()
	if goes == nil {
		return errors.New("no key is left")
	}
	if err := replica.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := t.remove(ctx, goes, deleteKey)
	var answers []int
	if err == nil {
		answers, err = t.askAsleep(ctx, replica, goes, t.stays)
	}
	switch {
	case err != nil:
		return errors.Join(err, replica.signal(syscall.SIGCONT))
	case count(answers, http.StatusServiceUnavailable) == 0:
		return fmt.Errorf("woken up after its Lease had expired, it answered %v, and no 503", answers)
	}
	return nil
}

// askAsleep sends requests to a stopped replica, wakes it up, and returns its answers.
func (t *trial) askAsleep(ctx context.Context, replica *seat, subjects ...*subject) ([]int, error) {
	const each = 4
	var mu sync.Mutex
	var answers []int
	var sent, answered sync.WaitGroup
	for range each {
		for _, s := range subjects {
			sent.Add(1)
			once := sync.OnceFunc(sent.Done)
			traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { once() }})
			answered.Go(func() {
				defer once() // if it can't be sent at all
				status := t.ask(traced, replica.url, s)
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, status)
			})
		}
	}
	sent.Wait()
	err := replica.signal(syscall.SIGCONT)
	answered.Wait()
	return answers, err
}

func count(all []int, wanted int) (n int) {
	for _, one := range all {
		if one == wanted {
			n++
		}
	}
	return n
}
