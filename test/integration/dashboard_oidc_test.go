// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/letmepost/letmepost-operator/test/browser"
)

// Somebody who was never here signs in with nothing but their name at a provider that this project did not write, and
// an apiserver that trusts it, by the configuration that docs/dashboard.md shows.
var _ = Describe("The dashboard of a live API that people sign in to by an OpenID provider", func() {
	It("takes them for whom the cluster takes them, for longer than an ID token lasts, until they or the provider end it", func(ctx SpecContext) {
		f := startFederation(ctx)
		acme, globex := newNamespace(ctx), newNamespace(ctx)
		f.grant(ctx, acme, "view", "oidc:friends-of-eve", "list")
		f.grant(ctx, globex, "edit", "oidc:friends-of-eve", "create")
		eve := f.visitor(ctx)

		By("signing in for the first time, which begins at one replica and ends at the other")
		f.behind.Store(f.one)
		eve.visit(f.front, "/keys")
		Expect(eve.location()).To(HaveSuffix("/dashboard/sign-in?next=%2Fdashboard%2Fkeys"))
		eve.do(chromedp.Click(chromedp.CSS("main a.primary")))
		f.signInAt(eve, "eve")
		f.behind.Store(f.other)
		const short = 20 * time.Second // time enough to come back and be looked up, on a machine that is busy
		f.consent(ctx, eve, short)
		Expect(eve.location()).To(HaveSuffix("/dashboard/organizations?next=%2Fdashboard%2Fkeys"))

		By("the ID token being renewed once, whichever replicas are asked at that moment")
		shortID := lastIDToken()
		Expect(issuer.Restored(ctx)).To(Succeed())
		renewals := issuer.Renewals.Load()
		cookie, _, back := f.shown()
		raw := &person{cookie: cookie}
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				defer GinkgoRecover()
				status, _, page := raw.ask(ctx, http.MethodGet, []*server{f.one, f.other}[n%2].url+"/dashboard/organizations", nil)
				Expect(status).To(Equal(http.StatusOK), page)
			})
		}
		all.Wait()
		Expect(issuer.Renewals.Load() - renewals).To(BeEquivalentTo(1))

		By("seeing what their group may, and no more")
		f.choose(eve, acme)
		Expect(eve.html()).To(ContainSubstring("oidc:eve"))
		Expect(eve.location()).To(HaveSuffix("/dashboard/keys"))
		eve.visit(f.front, "/keys/-/new")
		Expect(eve.text()).To(ContainSubstring("You may not mint here"))
		_, err := browser.Read[bool](eve.tab, `document.querySelector("button.primary").disabled = false`)
		Expect(err).NotTo(HaveOccurred())
		eve.do(chromedp.SetValue(chromedp.CSS("input[name=name]"), "refused"))
		eve.choose("live")
		eve.choose("once")
		eve.press("main form button.primary")
		Expect(eve.text()).To(ContainSubstring(`User "oidc:eve" cannot create resource "apikeys"`))
		eve.visit(f.front, "/organizations")
		f.choose(eve, "kube-system")
		Expect(eve.location()).To(HaveSuffix("/dashboard/organizations"), eve.text())
		f.choose(eve, globex)
		plaintext := eve.mint("by-eve", "once")
		for _, replica := range []*server{f.one, f.other} {
			Eventually(ctx, replica.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
		}
		for _, replica := range []*server{f.one, f.other} {
			raw.at = replica
			f.keep(raw.crawl(ctx)...)
		}
		f.keep(dumpPostgres(ctx, f.database)...)

		By("after the end of their first ID token, by the apiserver's clock")
		Eventually(ctx, func() error { return reviewed(ctx, shortID) }, patience, interval).Should(Satisfy(apierrors.IsUnauthorized))
		for _, replica := range []*server{f.one, f.other} {
			f.behind.Store(replica)
			eve.visit(f.front, "/keys/by-eve")
			Expect(eve.text()).To(ContainSubstring("by-eve"))
		}

		By("coming back to the callback once more, which is good for nothing")
		eve.visit(f.front, back)
		Expect(eve.text()).To(ContainSubstring("can't be finished"))

		By("signing out at one replica, which the other and the provider know")
		revocations := issuer.Revocations.Load()
		eve.visit(f.front, "/keys")
		eve.press("header form button")
		f.behind.Store(f.one)
		eve.visit(f.front, "/keys")
		Expect(eve.location()).To(ContainSubstring("/dashboard/sign-in"))
		for _, replica := range []*server{f.one, f.other} {
			status, header, _ := raw.ask(ctx, http.MethodGet, replica.url+"/dashboard/keys", nil)
			Expect(status).To(Equal(http.StatusSeeOther))
			Expect(header.Get("Location")).To(HavePrefix("/dashboard/sign-in"))
		}
		Expect(issuer.Revocations.Load() - revocations).To(BeEquivalentTo(1))

		By("signing in again, and being told when the provider takes its word back")
		eve.do(chromedp.Click(chromedp.CSS("main a.primary")))
		f.consent(ctx, eve, time.Minute)
		Expect(issuer.Revoke(ctx)).To(Succeed())
		f.behind.Store(f.other)
		eve.visit(f.front, "/keys")
		Expect(eve.location()).To(ContainSubstring("/dashboard/sign-in?ended=provider"))
		Expect(eve.text()).To(ContainSubstring("has ended your session"))

		By("what the provider has given being nowhere but sealed")
		Eventually(ctx, f.collector.Spans, patience, interval).Should(ContainElement(HaveField("Name", HaveSuffix("/oidc/callback"))))
		f.keep(dumpPostgres(ctx, f.database)...)
		f.keep(place{"traces", f.collector.Raw()})
		f.keep(f.answers()...)
		for _, replica := range []*server{f.one, f.other} {
			Expect(replica.logText()).To(ContainSubstring(`"person":"oidc:eve"`), "the audit log has who it was")
		}
		_, kept, _ := f.shown()
		Expect(kept).To(HaveLen(2), "sign-ins that have begun")
		secrets := slices.Concat(issuer.Secrets(), kept)
		hide(secrets...)
		secrets = append(secrets, issuer.ClientSecret) // which has a place elsewhere, where LinkedIn's server shares it
		homes := homeless(append(secrets, plaintext)...)
		found := slices.DeleteFunc(hunt(homes, append(f.places, haystack(ctx, f.one, f.other)...)), func(where string) bool {
			return strings.Contains(where, looksLikeKey) // the canaries of another spec
		})
		Expect(found).To(ConsistOf(HavePrefix("answer to POST /dashboard/keys/-/new: ")), "but for the key, where it is shown once")
		for _, secret := range secrets {
			Expect(hunt(homes, []place{{"a log with it", []byte("x" + secret + "x")}})).NotTo(BeEmpty())
		}
	}, SpecTimeout(4*patience))
})
