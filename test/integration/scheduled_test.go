// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

// Posts that are settled after one attempt.
var (
	publishedOnce = And(HaveField("Status", published), HaveField("Attempts", HaveExactElements(HaveField("Succeeded", true))))
	neverTried    = HaveField("Attempts", BeEmpty())
)

var _ = Describe("A scheduled post", func() {
	for name, database := range map[string]func() []string{"SQLite": onSQLite, "PostgreSQL": onPostgres} {
		It("is published once after a restart, after its key was rotated away, and not if it was canceled, on "+name, func(ctx SpecContext) {
			startController(ctx)
			flags := database()
			api := startAPI(ctx, "test", flags...)
			d := newDesk(ctx, api)
			rotated := d.mint(ctx, api, "rotated", nil)
			send := func(c call) {
				a, err := c.send(ctx, api.url, d.key)
				ExpectWithOffset(1, err).NotTo(HaveOccurred())
				ExpectWithOffset(1, a.status).To(Equal(http.StatusOK), a.String())
			}
			ids := map[string]string{"canceled": d.queue(ctx, api, d.key, "canceled", future)}
			send(jsonCall(http.MethodDelete, "/v1/posts/"+ids["canceled"], nil))
			for text, key := range map[string]string{"stays": d.key, "goes on": rotated} {
				ids[text] = d.queue(ctx, api, key, text, future)
			}
			moved := d.queue(ctx, api, d.key, "moved", future)
			due := d.moveSoon(ctx, api, moved)
			deleteNow(ctx, d.namespace, "rotated")
			Expect(decided(ctx, api.whoami(ctx, rotated))).To(Equal(http.StatusUnauthorized))
			Expect(api.Stop(ctx)).To(Succeed())

			// All comes due while nothing runs.
			for _, text := range []string{"canceled", "stays", "goes on"} {
				comeDue(ctx, flags, text)
			}
			Expect(pass(ctx, time.Until(due))).To(Succeed())
			api = startAPI(ctx, "test", flags...)
			for _, id := range []string{ids["stays"], ids["goes on"], moved} {
				Eventually(ctx, d.read(ctx, api, id), patience, interval).Should(publishedOnce)
			}
			Expect(d.read(ctx, api, ids["canceled"])()).To(And(HaveField("Status", canceled), neverTried))
		}, SpecTimeout(2*patience))
	}

	It("survives the death of the replica that is publishing", func(ctx SpecContext) {
		startController(ctx)
		flags := onPostgres()
		doomed, other := startAPI(ctx, "test", flags...), startAPI(ctx, "test", flags...)
		d := newDesk(ctx, doomed)
		Eventually(ctx, other.whoami(ctx, d.key), patience, interval).Should(Equal(http.StatusOK))
		const slow, quick = 24, 24
		// Posts of one account go out one at a time: so that many are on their way, there are many accounts.
		accounts := make([]string, slow)
		for i := range accounts {
			a, err := connecting("bluesky", fmt.Sprintf("busy-%d.test", i)).send(ctx, doomed.url, d.key)
			Expect(err).NotTo(HaveOccurred())
			var account struct{ ID string }
			Expect(a.into(&account)).To(Succeed())
			accounts[i] = account.ID
		}
		var ids []string
		for i := range slow + quick {
			text := fmt.Sprintf("quick %d", i)
			if i < slow {
				text = fmt.Sprintf("sandbox:slow %d", i)
			}
			d.accounts = accounts[i%slow:]
			ids = append(ids, d.queue(ctx, doomed, d.key, text, future))
		}
		comeDue(ctx, flags, "sandbox:slow ")
		// A replica has six of one organization at a time: both are at it.
		Eventually(ctx, func() (int, error) {
			page, err := fetch[struct{ Data []postView }](ctx, other.url, d.key, "/v1/posts?status=publishing")
			return len(page.Data), err
		}, patience, interval).Should(BeNumerically(">", 6))
		doomed.Kill()
		<-doomed.Done()
		comeDue(ctx, flags, "quick ")

		unknown := 0
		for i, id := range ids {
			var p postView
			Eventually(ctx, d.read(ctx, other, id), 2*patience, interval).Should(
				HaveField("Status", BeElementOf(published, failed)), "post %d", i)
			p, err := d.read(ctx, other, id)()
			Expect(err).NotTo(HaveOccurred())
			Expect(p.Attempts).To(HaveLen(1))
			if p.Status == failed {
				unknown++
				Expect(p.Error.unknown()).To(BeTrue(), "%+v", p.Error)
				Expect(i).To(BeNumerically("<", slow), "only what was on its way can be unknown")
			}
		}
		Expect(unknown).To(And(BeNumerically(">", 0), BeNumerically("<", slow)), "both replicas were at it")
	}, SpecTimeout(4*patience))
})

var _ = Describe("A deleted key with letmepost.dev/cancel-scheduled", func() {
	DescribeTable("takes what it has queued with it, and nothing else", func(ctx SpecContext, database func() []string) {
		startController(ctx)
		flags := database()
		replicas := []*server{startAPI(ctx, "test", flags...), startAPI(ctx, "test", flags...)}
		startAPI(ctx, "live") // of the other environment: it has nothing to do with it
		api := replicas[0]
		d := newDesk(ctx, api)
		leaked, plain := d.mint(ctx, api, "leaked", nil), d.mint(ctx, api, "plain", nil)
		kept := []string{d.queue(ctx, api, d.key, "writer's", future), d.queue(ctx, api, plain, "plain's", future)}
		var gone []string
		for i := range 5 {
			gone = append(gone, d.queue(ctx, api, leaked, fmt.Sprintf("leaked %d", i), future))
		}
		annotate(ctx, d.namespace, "leaked", "Yes ") // as any word for true
		Expect(d.read(ctx, api, gone[0])()).To(HaveField("Status", queued), "the annotation alone does nothing")

		deleteNow(ctx, d.namespace, "plain")
		deleteNow(ctx, d.namespace, "leaked")
		for _, id := range gone {
			Expect(d.read(ctx, replicas[1], id)()).To(And(HaveField("Status", canceled), neverTried))
		}
		for _, id := range kept {
			Expect(d.read(ctx, replicas[1], id)()).To(HaveField("Status", queued))
		}
	},
		Entry("on SQLite", onSQLite, SpecTimeout(2*patience)),
		Entry("on PostgreSQL", onPostgres, SpecTimeout(2*patience)),
	)

	It("waits for the database, refused all the while", func(ctx SpecContext) {
		startController(ctx)
		database := postgres.StartServer(GinkgoTB())
		api := startAPI(ctx, "test", append(onSQLite(), "--database-url", database.Address)...)
		d := newDesk(ctx, api)
		leaked := d.mint(ctx, api, "leaked", nil)
		id := d.queue(ctx, api, leaked, "leaked", future)
		annotate(ctx, d.namespace, "leaked", "true")

		database.Stop(GinkgoTB())
		k := apiKey(d.namespace, "leaked")
		Expect(admin.Delete(ctx, k)).To(Succeed())
		Eventually(ctx, api.whoami(ctx, leaked), patience, interval).Should(Equal(http.StatusUnauthorized))
		awaitReason(ctx, k, v1alpha1.ReasonRevoking)
		awaitCondition(ctx, k, v1alpha1.ConditionRevoking, v1alpha1.ReasonAwaitingReplicas)
		Consistently(ctx, exists, "3s", interval).WithArguments(k).Should(BeTrue())
		Expect(decided(ctx, api.whoami(ctx, leaked))).To(Equal(http.StatusUnauthorized))

		database.Start(GinkgoTB())
		Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse())
		Expect(d.read(ctx, api, id)()).To(And(HaveField("Status", canceled), neverTried))
	}, SpecTimeout(2*patience))
})

// comeDue makes time pass, so to say, for posts whose texts begin so, and for their jobs. What is to happen before they
// are due has happened then, however long it has taken.
func comeDue(ctx context.Context, flags []string, texts string) {
	GinkgoHelper()
	db := openDatabase(flags)
	defer db.Close()
	for _, statement := range []string{
		fmt.Sprintf(`UPDATE posts SET scheduled_at = %[1]d, due_at = %[1]d WHERE text LIKE '%[2]s%%'`, time.Now().UnixMicro(), texts),
		fmt.Sprintf(`UPDATE river_job SET scheduled_at = CURRENT_TIMESTAMP WHERE state = 'scheduled' AND EXISTS (
SELECT 1 FROM posts AS p WHERE p.text LIKE '%s%%' AND CAST(river_job.args AS TEXT) LIKE '%%' || p.id || '%%')`, texts),
	} {
		_, err := db.ExecContext(ctx, statement)
		Expect(err).NotTo(HaveOccurred())
	}
}

// moveSoon moves a post to a moment from now, and returns that.
func (d desk) moveSoon(ctx context.Context, api *server, id string) time.Time {
	GinkgoHelper()
	for {
		at := time.Now().Add(4 * time.Second)
		a, err := jsonCall(http.MethodPatch, "/v1/posts/"+id, map[string]any{"scheduledAt": at.UTC()}).send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		if !a.late(at) {
			Expect(a.status).To(Equal(http.StatusOK), a.String())
			return at
		}
	}
}

// annotate sets the annotation on an ApiKey.
func annotate(ctx SpecContext, namespace, name, value string) {
	GinkgoHelper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationCancelScheduled, value)
	Expect(admin.Patch(ctx, apiKey(namespace, name), client.RawPatch("application/merge-patch+json", patch))).To(Succeed())
}

// deleteNow deletes an ApiKey and waits until it is gone, as `kubectl delete` does.
func deleteNow(ctx SpecContext, namespace, name string) {
	GinkgoHelper()
	k := apiKey(namespace, name)
	Expect(admin.Delete(ctx, k)).To(Succeed())
	Eventually(ctx, exists, patience, interval).WithArguments(k).Should(BeFalse(), "the deletion completes")
}
