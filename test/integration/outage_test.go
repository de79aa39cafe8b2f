// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"

	"github.com/letmepost/letmepost-operator/test/postgres"
)

var _ = Describe("Two replicas on one PostgreSQL", func() {
	DescribeTable("execute one of 200 identical writes that come at once", func(ctx SpecContext, text string, overlap int) {
		startController(ctx)
		flags := onPostgres()
		replicas := []*server{startAPI(ctx, "test", flags...), startAPI(ctx, "test", flags...)}
		d := newDesk(ctx, replicas[0])
		Eventually(ctx, replicas[1].whoami(ctx, d.key), patience, interval).Should(Equal(http.StatusOK))

		const at, targets = 200, 3
		c := d.writing(text, time.Time{}, d.accounts[:targets]...)
		answers := make([]answer, at)
		start := make(chan struct{})
		var group errgroup.Group
		for i := range at {
			group.Go(func() (err error) {
				<-start
				answers[i], err = c.send(ctx, replicas[i%2].url, d.key)
				return err
			})
		}
		close(start)
		Expect(group.Wait()).To(Succeed())

		first := slices.IndexFunc(answers, func(a answer) bool { return a.ok() && !a.replayed })
		Expect(first).NotTo(Equal(-1), "one executes")
		executed, running := 0, 0
		for _, a := range answers {
			switch {
			case a.running():
				running++
			default:
				Expect(a.status).To(Equal(http.StatusOK), a.String())
				Expect(string(a.body)).To(Equal(string(answers[first].body)))
			}
			if a.ok() && !a.replayed {
				executed++
			}
		}
		Expect(executed).To(Equal(1))
		Expect(running).To(BeNumerically(">=", overlap), "they did come at once")

		var b batch
		Expect(answers[first].into(&b)).To(Succeed())
		var want []string
		for _, r := range b.Results {
			Expect(r.Status).To(Equal(published))
			want = append(want, r.PostID)
		}
		Expect(want).To(HaveLen(targets))
		for _, s := range replicas {
			again, err := c.send(ctx, s.url, d.key)
			Expect(err).NotTo(HaveOccurred())
			Expect(again).To(Equal(answer{http.StatusOK, answers[first].body, true}), s.Name())
			listed, err := fetchAll[postView](ctx, s.url, d.key, "/v1/posts")
			Expect(err).NotTo(HaveOccurred())
			var got []string
			for _, p := range listed {
				got = append(got, p.ID)
			}
			Expect(got).To(ConsistOf(want))
		}
		for _, id := range want {
			Expect(d.read(ctx, replicas[1], id)()).To(HaveField("Attempts", HaveLen(1)))
		}
	},
		// The one that executes may have ended before the next is looked at.
		Entry("that end soon", "all at once", 0, SpecTimeout(2*patience)),
		Entry("while the platform is slow", "all at once sandbox:slow", 1, SpecTimeout(2*patience)),
	)
})

var _ = Describe("A PostgreSQL that goes away", func() {
	It("costs no accepted write, and needs no restart of the API", func(ctx SpecContext) {
		controller := startController(ctx)
		database := postgres.StartServer(GinkgoTB())
		api := startAPI(ctx, "test", append(onSQLite(), "--database-url", database.Address, "--access-log", "none")...)
		l := newLedger(newDesk(ctx, api), random(5000))
		controller.end() // the outage of the database is none of its business

		life, end := context.WithCancel(ctx)
		var writing errgroup.Group
		for range 12 {
			writing.Go(func() error { l.write(life, func() string { return api.url }); return nil })
		}
		defer func() { end(); _ = writing.Wait() }()
		dice := random(5001)
		for range 3 {
			answers, _, away := l.counts()
			upTo, refused := answers+100+dice.IntN(50), away+50
			Expect(l.await(ctx, func(answers, _, _ int) bool { return answers >= upTo })).To(Succeed())
			database.Stop(GinkgoTB())
			Expect(l.await(ctx, func(_, _, away int) bool { return away >= refused })).To(Succeed(), "503 unavailable meanwhile")
			Expect(decided(ctx, api.whoami(ctx, l.key))).To(Equal(http.StatusOK), "who a key is needs no database")
			for _, path := range []string{"/v1/posts", "/v1/media", "/v1/accounts"} {
				a, err := jsonCall(http.MethodGet, path, nil).send(ctx, api.url, l.key)
				Expect(err).NotTo(HaveOccurred())
				Expect(a.unavailable()).To(BeTrue(), "%s: %s", path, a)
			}
			database.Start(GinkgoTB())
		}
		answers, _, _ := l.counts()
		Expect(l.await(ctx, func(now, _, _ int) bool { return now >= answers+100 })).To(Succeed(), "it works again")
		end()
		Expect(writing.Wait()).To(Succeed())
		_, cut, _ := l.counts()
		Expect(cut).To(BeZero(), "every call was answered")

		done, err := l.resolve(ctx, api.url)
		Expect(err).NotTo(HaveOccurred(), func() string { return api.Tail(60) })
		ended, err := l.check(ctx, api.url)
		Expect(err).NotTo(HaveOccurred(), func() string { return api.Tail(60) })
		AddReportEntry("what happened", fmt.Sprintf("%d writes; sent again: %+v; in the end: %+v", len(l.entries), done, ended),
			ReportEntryVisibilityFailureOrVerbose)
		Expect(ended.published).To(BeNumerically(">", 0))
		Expect(done.now).To(BeNumerically(">", 0))
	}, SpecTimeout(4*patience))

	It("is waited for by an API that starts", func(ctx SpecContext) {
		startController(ctx)
		database := postgres.StartServer(GinkgoTB())
		database.Stop(GinkgoTB())
		namespace := newNamespace(ctx)
		k := apiKey(namespace, "early")
		k.Spec.Environment = "test"
		key := minted(ctx, create(ctx, k))
		api := launchAPI("test", append(onSQLite(), "--database-url", database.Address)...)
		Eventually(ctx, api.status(ctx, "/healthz", ""), patience, interval).Should(Equal(http.StatusOK))
		Eventually(ctx, api.whoami(ctx, key), patience, interval).Should(Equal(http.StatusOK), "it has the keys")
		Expect(api.status(ctx, "/readyz", "")()).To(Equal(http.StatusServiceUnavailable))
		a, err := jsonCall(http.MethodGet, "/v1/posts", nil).send(ctx, api.url, key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.unavailable()).To(BeTrue(), a.String())

		database.Start(GinkgoTB())
		Eventually(ctx, api.status(ctx, "/readyz", ""), patience, interval).Should(Equal(http.StatusOK))
		Expect(api.status(ctx, "/v1/posts", "Bearer "+key)()).To(Equal(http.StatusOK))
	}, SpecTimeout(2*patience))
})
