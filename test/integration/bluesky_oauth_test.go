// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"database/sql"
	"encoding/json"
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
	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/pds"
)

// Somebody connects their account in a browser, at a real server, through the API of an app that knows nothing of the
// protocol: it shows an address to them, and waits.
var _ = Describe("A live API that connects accounts of Bluesky in a browser", func() {
	It("publishes by one as by any other, and keeps what opens it to itself", func(ctx SpecContext) {
		b := startBrowsed(ctx)

		By("a connection that is not allowed leaves nothing")
		denied := b.begin(ctx, b.owner)
		Expect(b.visit(ctx, denied, pds.Deny)).To(ContainSubstring("The access was not allowed"))
		Expect(b.accounts(ctx)).To(BeEmpty())

		By("one that is allowed is an account")
		begun := b.begin(ctx, b.owner)
		verifier := b.verifier(ctx)
		Expect(b.visit(ctx, begun, pds.Allow)).To(ContainSubstring("The account is connected"))
		first := b.accounts(ctx)
		Expect(first).To(HaveLen(1))
		Expect(first[0].DisplayName).To(Equal(b.owner.Handle))
		Expect(first[0].State).To(Equal("expiring"), "a session without a key of the client's ends in 14 days")
		b.desk.accounts = []string{first[0].ID}
		before := b.secrets(ctx, first[0].ID)

		By("at once, and later, by a job")
		b.publishes(ctx, "Hello from a browser")
		later := b.queueSoon(ctx, b.api, b.key, "Later")
		Eventually(ctx, b.read(ctx, b.api, later), patience, interval).Should(publishedOnce)

		By("also when it is due to be refreshed")
		b.due(ctx)
		Eventually(ctx, func() []string { return b.secrets(ctx, first[0].ID) }, patience, interval).ShouldNot(Equal(before))
		b.publishes(ctx, "Refreshed")
		Expect(b.owner.Posts(ctx)).To(HaveLen(3))

		By("what opens it is nowhere but sealed")
		Eventually(ctx, b.collector.Spans, patience, interval).Should(ContainElement(HaveField("Name", "publish attempt")))
		secrets := append(b.secrets(ctx, first[0].ID), before...)
		secrets = append(append(secrets, b.seen...), verifier)
		Expect(len(secrets)).To(BeNumerically(">=", 10), "three secrets twice, two states, a code, a verifier")
		found := slices.DeleteFunc(hunt(homeless(secrets...), append(files(b.dir), append(
			haystack(ctx, b.api), place{name: "traces", text: b.collector.Raw()},
		)...)), func(where string) bool {
			// The canaries of another spec; and a state is found again by its digest, which is meant to be stored.
			return strings.Contains(where, looksLikeKey) ||
				strings.Contains(where, "of its digest") && slices.ContainsFunc(b.states, func(state string) bool {
					return strings.Contains(where, state[:coreFrom])
				})
		})
		Expect(found).To(BeEmpty())

		By("a session that is over asks for the person, and the account stays the same")
		b.endSessions(ctx)
		b.due(ctx)
		Eventually(ctx, func() string { return b.accounts(ctx)[0].State }, patience, interval).Should(Equal("reconnect_required"))
		waiting := b.queueSoon(ctx, b.api, b.key, "Waits")
		again := b.begin(ctx, b.owner)
		Expect(b.visit(ctx, again, pds.Allow)).To(ContainSubstring("The account is connected"))
		Expect(b.accounts(ctx)).To(ConsistOf(And(HaveField("ID", first[0].ID), HaveField("State", "expiring"))))
		Eventually(ctx, b.read(ctx, b.api, waiting), patience, interval).Should(publishedOnce)

		By("and an app password may take the place of the browser, and the other way round")
		Expect(b.byAppPassword(ctx)).To(ContainSubstring(first[0].ID))
		Expect(b.accounts(ctx)).To(ConsistOf(And(HaveField("ID", first[0].ID), HaveField("State", "active"))))
		b.publishes(ctx, "By an app password")
		Expect(b.visit(ctx, b.begin(ctx, b.owner), pds.Allow)).To(ContainSubstring("The account is connected"))
		b.publishes(ctx, "By a browser")

		By("and disconnecting it ends the session there")
		left := b.sessions(ctx) - 1 // those of before were not given back: nothing says which they were
		a, err := jsonCall(http.MethodDelete, "/v1/accounts/"+first[0].ID, nil).send(ctx, b.api.url, b.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.status).To(Equal(http.StatusOK), a.String())
		Eventually(ctx, func() int { return b.sessions(ctx) }, patience, interval).Should(Equal(left))
	}, SpecTimeout(4*patience))
})

// browsed is a live API that a browser finds, an account's owner, and the browser that they have.
type browsed struct {
	desk
	api       *server
	owner     *pds.Account
	pds       *pds.Server
	chromium  *browser.Browser
	collector *tracingtest.Collector
	keys      *vault.Keyset
	dir       string
	pdsDir    string
	seen      []string // states and codes
	states    []string
}

func startBrowsed(ctx SpecContext) *browsed {
	GinkgoHelper()
	b := &browsed{dir: GinkgoT().TempDir(), pdsDir: GinkgoT().TempDir()}
	var err error
	b.pds, err = pds.Start(context.WithoutCancel(ctx), pds.Options{Data: b.pdsDir})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(b.pds.Stop)
	b.owner, err = b.pds.NewAccount(ctx)
	Expect(err).NotTo(HaveOccurred())
	b.chromium, err = browser.Start(context.WithoutCancel(ctx))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(b.chromium.Stop)

	keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
	b.keys, err = vault.NewKeyset()
	Expect(err).NotTo(HaveOccurred())
	Expect(vault.CreateFile(keyset, b.keys, nil)).To(Succeed())
	b.collector = tracingtest.Start(GinkgoTB())
	startController(ctx)
	b.api = startAPI(ctx, "live", "--vault-keyset", keyset, "--bluesky-plc-url", b.pds.PLCURL, "--data-dir", b.dir,
		"--outbound-allow", hostOf(b.pds.URL), "--outbound-allow", hostOf(b.pds.PLCURL),
		"--public-url", itself,
		"--otlp-endpoint", b.collector.URL, "--trace-sample-ratio", "1")
	k := apiKey(newNamespace(ctx), "writer")
	k.Spec.Environment = v1alpha1.EnvironmentLive
	b.desk = desk{namespace: k.Namespace, key: minted(ctx, create(ctx, k))}
	Eventually(ctx, b.api.whoami(ctx, b.key), patience, interval).Should(Equal(http.StatusOK))
	return b
}

// begin begins to connect an account, and returns where its owner is to go.
func (b *browsed) begin(ctx SpecContext, owner *pds.Account) *url.URL {
	GinkgoHelper()
	a, err := jsonCall(http.MethodPost, "/v1/accounts/connect/bluesky", map[string]string{
		"method": "oauth", "identifier": owner.Handle, "pdsUrl": b.pds.URL,
	}).send(ctx, b.api.url, b.key)
	Expect(err).NotTo(HaveOccurred())
	Expect(a.status).To(Equal(http.StatusOK), a.String())
	var begun struct {
		Descriptor struct{ Kind, AuthorizationURL string }
	}
	Expect(a.into(&begun)).To(Succeed())
	Expect(begun.Descriptor.Kind).To(Equal("oauth"))
	to, err := url.Parse(begun.Descriptor.AuthorizationURL)
	Expect(err).NotTo(HaveOccurred())
	return to
}

// visit has the account's owner say what they think of it, and returns the page that they see in the end.
func (b *browsed) visit(ctx SpecContext, to *url.URL, with pds.Answer) string {
	GinkgoHelper()
	tab, closeTab := b.chromium.Person()
	defer closeTab()
	Expect(b.owner.Consent(tab, to.String(), with)).To(Succeed())
	var at *url.URL
	Eventually(ctx, func() (string, error) {
		text, err := browser.Read[string](tab, `location.href`)
		if err == nil {
			at, err = url.Parse(text)
		}
		return text, err
	}, patience, interval).Should(HavePrefix(b.api.url + "/v1/accounts/oauth/bluesky/callback"))
	for _, name := range []string{"state", "code"} {
		if value := at.Query().Get(name); value != "" {
			b.seen = append(b.seen, value)
		}
	}
	b.states = append(b.states, at.Query().Get("state"))
	page, err := browser.Read[string](tab, `document.querySelector("main").innerText`)
	Expect(err).NotTo(HaveOccurred())
	return page
}

type browsedAccount struct{ ID, DisplayName, State string }

func (b *browsed) accounts(ctx SpecContext) []browsedAccount {
	GinkgoHelper()
	a, err := jsonCall(http.MethodGet, "/v1/accounts", nil).send(ctx, b.api.url, b.key)
	Expect(err).NotTo(HaveOccurred())
	var list struct{ Data []browsedAccount }
	Expect(a.into(&list)).To(Succeed())
	return list.Data
}

func (b *browsed) byAppPassword(ctx SpecContext) string {
	GinkgoHelper()
	a, err := jsonCall(http.MethodPost, "/v1/accounts/connect/bluesky/complete", map[string]string{
		"identifier": b.owner.Handle, "appPassword": b.owner.AppPassword, "pdsUrl": b.pds.URL,
	}).send(ctx, b.api.url, b.key)
	Expect(err).NotTo(HaveOccurred())
	Expect(a.status).To(Equal(http.StatusOK), a.String())
	return a.String()
}

func (b *browsed) publishes(ctx SpecContext, text string) {
	GinkgoHelper()
	a, err := b.writing(text, time.Time{}).send(ctx, b.api.url, b.key)
	Expect(err).NotTo(HaveOccurred())
	Expect(a.String()).To(ContainSubstring("at://" + b.owner.DID))
}

func (b *browsed) secrets(ctx SpecContext, account string) []string {
	GinkgoHelper()
	secrets := secretsOf(ctx, "sqlite:"+filepath.Join(b.dir, "live.db"), b.keys, account)
	slices.Sort(secrets)
	return secrets
}

// query runs a statement on a database that somebody else has open, and returns the value that it finds, if any.
func query[T any](ctx SpecContext, file, statement string, args ...any) (value T) {
	GinkgoHelper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(60000)")
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()
	if err := db.QueryRowContext(ctx, statement, args...).Scan(&value); err != nil {
		Expect(err).To(MatchError(sql.ErrNoRows))
	}
	return value
}

// due makes an hour pass, so to say: what opens the account is to be refreshed.
func (b *browsed) due(ctx SpecContext) {
	GinkgoHelper()
	query[int](ctx, filepath.Join(b.dir, "live.db"), "UPDATE accounts SET refresh_at = 1 RETURNING 1")
}

// sessions are those that the account's server knows of.
func (b *browsed) sessions(ctx SpecContext) int {
	GinkgoHelper()
	return query[int](ctx, filepath.Join(b.pdsDir, "pds", "account.sqlite"), "SELECT count(*) FROM token")
}

// endSessions ends them, as their owner may.
func (b *browsed) endSessions(ctx SpecContext) {
	GinkgoHelper()
	query[int](ctx, filepath.Join(b.pdsDir, "pds", "account.sqlite"), "DELETE FROM token RETURNING 1")
}

// verifier is the secret of a connection that has begun: nobody else than this server ever has it.
func (b *browsed) verifier(ctx SpecContext) string {
	GinkgoHelper()
	// The state went to the account's server beforehand, so it is not in the address: the only one that waits is it.
	sealed := query[[]byte](ctx, filepath.Join(b.dir, "live.db"), "SELECT sealed FROM connecting")
	id := query[string](ctx, filepath.Join(b.dir, "live.db"), "SELECT id FROM connecting")
	organization := query[string](ctx, filepath.Join(b.dir, "live.db"), "SELECT organization_id FROM connecting")
	text, err := vault.Fixed(b.keys).Open(sealed, vault.Of{Organization: organization, Account: id, Name: "oauth_state"})
	Expect(err).NotTo(HaveOccurred())
	var attempt struct{ Resume []byte }
	Expect(json.Unmarshal(text, &attempt)).To(Succeed())
	var consent struct{ Verifier string }
	Expect(json.Unmarshal(attempt.Resume, &consent)).To(Succeed())
	Expect(len(consent.Verifier)).To(BeNumerically(">=", 43))
	return consent.Verifier
}
