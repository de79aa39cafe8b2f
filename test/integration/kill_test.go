// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
)

var _ = Describe("A publishing API that is killed", func() {
	DescribeTable("has done each write or none of it, and nothing twice", func(ctx SpecContext, part, kills, replicas int, database func() []string) {
		startController(ctx)
		flags := database()
		f := newFleet(replicas, flags)
		f.fill(ctx)
		l := newLedger(newDesk(ctx, f.living[0]), random(part))

		const writers = 12
		var writing errgroup.Group
		for range writers {
			writing.Go(func() error { l.write(ctx, f.pick); return nil })
		}
		cutBy := f.storm(ctx, l, kills, random(part+1))
		f.close()
		Expect(writing.Wait()).To(Succeed())

		f.fill(ctx)
		api := f.living[0]
		done, err := l.resolve(ctx, api.url)
		Expect(err).NotTo(HaveOccurred())
		end, err := l.check(ctx, api.url)
		Expect(err).NotTo(HaveOccurred())
		Expect(f.checkStore(ctx)).To(Succeed())
		f.checkPlaces(ctx, l)

		AddReportEntry("what happened", fmt.Sprintf("%d writes, %d kills with calls cut; sent again: %+v; in the end: %+v",
			len(l.entries), cutBy, done, end), ReportEntryVisibilityFailureOrVerbose)
		// A storm that hits nothing proves nothing.
		Expect(cutBy).To(BeNumerically(">=", kills/2), "kills that took answers away")
		Expect(done.before).To(BeNumerically(">", 0), "writes that were done, though nobody was told")
		Expect(done.now).To(BeNumerically(">", 0), "writes that were not done")
		Expect(end.unknown).To(BeNumerically(">", 0), "posts that were on their way")
		Expect([]int{
			end.published, end.refused, end.queued, end.requeued, end.canceled,
			end.files, end.discarded, end.connected, end.disconnected,
		}).To(HaveEach(BeNumerically(">", 0)))
	},
		Entry("on SQLite", 1000, 50, 1, onSQLite, SpecTimeout(8*patience)),
		Entry("on PostgreSQL", 2000, 50, 1, onPostgres, SpecTimeout(8*patience)),
		Entry("one of two on one SQLite file", 3000, 15, 2, onSQLite, SpecTimeout(8*patience)),
		Entry("one of two on PostgreSQL", 4000, 15, 2, onPostgres, SpecTimeout(8*patience)),
	)
})

// fleet is replicas of the test API on one database. They are killed and replaced.
type fleet struct {
	size  int
	flags []string

	mu      sync.Mutex
	changed *sync.Cond
	living  []*server
	turn    int
	closed  bool
}

func newFleet(size int, flags []string) *fleet {
	f := &fleet{size: size, flags: flags}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// fill starts as many replicas as are missing, and waits until they are ready.
func (f *fleet) fill(ctx SpecContext) {
	GinkgoHelper()
	var fresh []*server
	for range f.size - len(f.living) {
		fresh = append(fresh, launchAPI("test", append([]string{"--access-log", "none"}, f.flags...)...))
	}
	for _, s := range fresh {
		s.waitReady(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.living = append(f.living, fresh...)
	f.changed.Broadcast()
}

// pick returns the URL of one that runs, each in turn, and waits for one if there is none; "" if the fleet was closed.
func (f *fleet) pick() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.living) == 0 && !f.closed {
		f.changed.Wait()
	}
	if f.closed {
		return ""
	}
	f.turn++
	return f.living[f.turn%len(f.living)].url
}

// close lets writers end. The replicas go on.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.changed.Broadcast()
}

// kill kills one of them with kill -9.
func (f *fleet) kill(i int) {
	victim := f.living[i]
	victim.Kill()
	<-victim.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.living = slices.Delete(f.living, i, i+1)
}

// checkPlaces looks for keys and passwords in all that the fleet has stored and logged.
func (f *fleet) checkPlaces(ctx SpecContext, l *ledger) {
	GinkgoHelper()
	all := files(f.flags[1])
	if len(f.flags) > 2 {
		all = append(all, dumpPostgres(ctx, f.flags[3])...)
	}
	Expect(hunt(homeless(l.key), append(all, logs()...))).To(BeEmpty())
	Expect(slices.ContainsFunc(all, func(p place) bool { return bytes.Contains(p.text, []byte("sandbox:slow")) })).To(
		BeTrue(), "the posts, at least, are there")
}

// storm kills one replica after another while the ledger is written. It returns how many kills have left calls without
// an answer.
func (f *fleet) storm(ctx SpecContext, l *ledger, kills int, dice *rand.Rand) (cutBy int) {
	GinkgoHelper()
	defer f.close()
	for range kills {
		f.fill(ctx)
		before, cutBefore, _ := l.counts()
		enough := before + dice.IntN(40)
		within, cancel := context.WithTimeout(ctx, patience)
		Expect(l.await(within, func(answers, _, _ int) bool { return answers >= enough })).To(Succeed(), "writes are answered")
		cancel()
		Expect(pass(ctx, time.Duration(dice.IntN(5000))*time.Microsecond)).To(Succeed())
		f.kill(dice.IntN(len(f.living)))
		// The writers find out by themselves, and soon: of so many, some are in a call. It is rare that all are between two.
		within, cancel = context.WithTimeout(ctx, 5*time.Second)
		if l.await(within, func(_, cut, _ int) bool { return cut > cutBefore }) == nil {
			cutBy++
		}
		cancel()
	}
	return cutBy
}
