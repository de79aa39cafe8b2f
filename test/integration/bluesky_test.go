// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/tracing/tracingtest"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/pds"
)

var _ = Describe("A live API with a real server of Bluesky's protocol", func() {
	It("connects an account, and publishes by it at once and later", func(ctx SpecContext) {
		server, err := pds.Start(context.WithoutCancel(ctx), pds.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Stop)
		owner, err := server.NewAccount(ctx)
		Expect(err).NotTo(HaveOccurred())
		at, err := url.Parse(server.URL)
		Expect(err).NotTo(HaveOccurred())
		keyset, dir := filepath.Join(GinkgoT().TempDir(), "keyset.json"), GinkgoT().TempDir()
		keys, err := vault.NewKeyset()
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.CreateFile(keyset, keys, nil)).To(Succeed())

		collector := tracingtest.Start(GinkgoTB())
		startController(ctx)
		flags := []string{"--vault-keyset", keyset, "--bluesky-plc-url", server.PLCURL, "--data-dir", dir}
		flags = append(flags, "--outbound-allow", at.Host, "--outbound-allow", hostOf(server.PLCURL))
		api := startAPI(ctx, "live", append(flags, "--otlp-endpoint", collector.URL, "--trace-sample-ratio", "1")...)
		k := apiKey(newNamespace(ctx), "writer")
		k.Spec.Environment = v1alpha1.EnvironmentLive
		d := desk{namespace: k.Namespace, key: minted(ctx, create(ctx, k))}
		Eventually(ctx, api.whoami(ctx, d.key), patience, interval).Should(Equal(http.StatusOK))

		connect := func(password string) answer {
			GinkgoHelper()
			a, err := jsonCall(http.MethodPost, "/v1/accounts/connect/bluesky/complete", map[string]string{
				"identifier": owner.Handle, "appPassword": password, "pdsUrl": server.URL,
			}).send(ctx, api.url, d.key)
			Expect(err).NotTo(HaveOccurred())
			return a
		}
		refused := connect("aaaa-bbbb-cccc-dddd")
		Expect(refused.status).To(Equal(http.StatusForbidden), refused.String())
		a := connect(owner.AppPassword)
		Expect(a.status).To(Equal(http.StatusCreated), a.String())
		var account struct{ ID, DisplayName, State string }
		Expect(a.into(&account)).To(Succeed())
		Expect(account.DisplayName).To(Equal(owner.Handle))
		Expect(account.State).To(Equal("active"))
		d.accounts = []string{account.ID}

		// At once, with an answer that has the record; and later, by a job.
		a, err = d.writing("Hello from a live API", time.Time{}).send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.String()).To(ContainSubstring("at://" + owner.DID))
		later := d.queueSoon(ctx, api, d.key, "Later")
		Eventually(ctx, d.read(ctx, api, later), patience, interval).Should(publishedOnce)
		Expect(owner.Posts(ctx)).To(HaveLen(2))

		By("and what opens the account is nowhere but sealed")
		Eventually(ctx, collector.Spans, patience, interval).Should(ContainElement(HaveField("Name", "publish attempt")))
		secrets := secretsOf(ctx, "sqlite:"+filepath.Join(dir, "live.db"), keys, account.ID)
		Expect(secrets).To(ContainElement(owner.AppPassword), "what is hunted for")
		found := slices.DeleteFunc(hunt(homeless(secrets...), append(files(dir), append(
			haystack(ctx, api), place{name: "traces", text: collector.Raw()},
		)...)), func(where string) bool { return strings.Contains(where, looksLikeKey) }) // the canaries of another spec
		Expect(found).To(BeEmpty())

		By("a deleted app password asks for a new one, by which the account is the same")
		Expect(owner.Call(ctx, "com.atproto.server.revokeAppPassword", map[string]any{"name": "first"}, nil)).To(Succeed())
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "live.db")+"?_pragma=busy_timeout(60000)")
		Expect(err).NotTo(HaveOccurred())
		defer db.Close()
		// Two hours later, so to say: the session is to be renewed.
		_, err = db.ExecContext(ctx, "UPDATE accounts SET refresh_at = 1")
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, func() (string, error) {
			a, err := jsonCall(http.MethodGet, "/v1/accounts/"+account.ID, nil).send(ctx, api.url, d.key)
			return a.String(), err
		}, patience, interval).Should(And(ContainSubstring("reconnect_required"), ContainSubstring("app password")))
		a, err = d.writing("Refused", time.Time{}).send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.String()).To(ContainSubstring("platform_auth_failed"))
		fresh, err := owner.NewAppPassword(ctx, "second")
		Expect(err).NotTo(HaveOccurred())
		a = connect(fresh)
		Expect(a.status).To(Equal(http.StatusOK), a.String())
		Expect(a.String()).To(And(ContainSubstring(account.ID), ContainSubstring(`"state":"active"`)))
		a, err = d.writing("Welcome back", time.Time{}).send(ctx, api.url, d.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.String()).To(ContainSubstring("at://" + owner.DID))
		Expect(owner.Posts(ctx)).To(HaveLen(3))
	}, SpecTimeout(3*patience))
})

func hostOf(text string) string {
	GinkgoHelper()
	u, err := url.Parse(text)
	Expect(err).NotTo(HaveOccurred())
	return u.Host
}
