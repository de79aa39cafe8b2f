// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/linkedin"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

// publicURL is where LinkedIn sends browsers back to: the specs bring them to whichever replica they mean.
const publicURL, linkedinCallback = "https://api.example.com", "/v1/accounts/oauth/linkedin/callback"

// members is an organization of live keys, the members of LinkedIn whose accounts it connects, and what plays LinkedIn.
type members struct {
	desk
	oauth  *oauth.Server
	played *linkedin.Server
	keys   *vault.Keyset
	flags  []string
	states map[string]string // that browsers were sent away with, for the hunt
}

// newMembers starts LinkedIn. client is one of the authorization server's.
func newMembers(ctx SpecContext, client string, flags ...string) *members {
	GinkgoHelper()
	server, err := oauth.Start(context.WithoutCancel(ctx), publicURL+linkedinCallback)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Stop)
	m := &members{oauth: server, played: linkedin.New(GinkgoTB()), states: map[string]string{}}
	m.played.Issuer = server.URL
	m.keys, err = vault.NewKeyset()
	Expect(err).NotTo(HaveOccurred())
	keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
	Expect(vault.CreateFile(keyset, m.keys, nil)).To(Succeed())
	m.flags = append(flags, "--vault-keyset", keyset, "--public-url", publicURL, "--access-log", "all", "--log-level", "debug",
		"--linkedin-client-id", client, "--linkedin-auth-url", server.URL, "--linkedin-api-url", m.played.URL,
		"--outbound-allow", hostOf(server.URL), "--outbound-allow", hostOf(m.played.URL))
	return m
}

// startAPI starts an API that has an app at LinkedIn.
func (m *members) startAPI(ctx SpecContext, more ...string) *server {
	GinkgoHelper()
	api := launchAPIWith([]string{"LMP_LINKEDIN_CLIENT_SECRET=" + m.oauth.ClientSecret}, "live", append(m.flags, more...)...)
	api.waitReady(ctx)
	if m.key == "" {
		k := apiKey(newNamespace(ctx), "writer")
		k.Spec.Environment = v1alpha1.EnvironmentLive
		m.desk = desk{namespace: k.Namespace, key: minted(ctx, create(ctx, k))}
	}
	Eventually(ctx, api.whoami(ctx, m.key), patience, interval).Should(Equal(http.StatusOK))
	// The keyset is read once the database was: an API is ready before that.
	Eventually(ctx, func() string { return api.scrape(ctx) }, patience, interval).Should(ContainSubstring("\nlmp_vault_usable 1\n"))
	return api
}

// begin begins to connect an account, and returns where a browser goes.
func (m *members) begin(ctx context.Context, api *server, returnTo string) *url.URL {
	GinkgoHelper()
	a, err := jsonCall(http.MethodPost, "/v1/accounts/connect/linkedin", map[string]string{"returnTo": returnTo}).
		once("begin "+returnTo).send(ctx, api.url, m.key)
	Expect(err).NotTo(HaveOccurred())
	var begun struct {
		Descriptor struct{ Kind, AuthorizationURL string }
	}
	Expect(a.into(&begun)).To(Succeed(), a.String())
	Expect(begun.Descriptor.Kind).To(Equal("oauth"))
	page, err := url.Parse(begun.Descriptor.AuthorizationURL)
	Expect(err).NotTo(HaveOccurred())
	Expect(page.Query()).NotTo(HaveKey("code_challenge"), "LinkedIn refuses PKCE")
	m.states[page.Query().Get("state")] = ""
	return page
}

// signIn is begin, and the way of a member through LinkedIn's pages. It returns where LinkedIn sends the browser back.
func (m *members) signIn(ctx context.Context, api *server, who, returnTo string) *url.URL {
	GinkgoHelper()
	back, err := m.oauth.SignIn(ctx, m.begin(ctx, api, returnTo), who)
	Expect(err).NotTo(HaveOccurred())
	Expect(back.String()).To(HavePrefix(publicURL + linkedinCallback + "?"))
	hide(back.Query().Get("code"))
	return back
}

// connect connects the account of a member, and returns its id.
func (m *members) connect(ctx context.Context, api *server, who string) string {
	GinkgoHelper()
	status, to, page := comeBack(ctx, api, m.signIn(ctx, api, who, publicURL+"/done?a=b"))
	Expect(status).To(Equal(http.StatusFound), page)
	Expect(to.Host + to.Path).To(Equal("api.example.com/done"))
	Expect(to.Query()).To(HaveKeyWithValue("a", []string{"b"}))
	Expect(to.Query()).To(HaveKey("connected"), to.String())
	return to.Query().Get("connected")
}

// comeBack is a browser that comes back from LinkedIn: what it is answered, and where it is sent on to, if it is.
func comeBack(ctx context.Context, api *server, back *url.URL) (status int, to *url.URL, page string) {
	GinkgoHelper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api.url+back.RequestURI(), http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	response, err := httpClient.Transport.RoundTrip(r) // no redirect is followed
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	if response.StatusCode == http.StatusFound {
		to, err = response.Location()
		Expect(err).NotTo(HaveOccurred())
	}
	return response.StatusCode, to, string(body)
}

// changed is an address with another value of one of its parameters; "": without it.
func changed(u *url.URL, name, value string) *url.URL {
	other, query := *u, u.Query()
	if query.Set(name, value); value == "" {
		query.Del(name)
	}
	other.RawQuery = query.Encode()
	return &other
}

// accountView is an account, as far as the specs look at it.
type accountView struct{ ID, Platform, PlatformAccountID, DisplayName, State string }

func (m *members) accountsOf(ctx context.Context, api *server) []accountView {
	GinkgoHelper()
	all, err := fetchAll[accountView](ctx, api.url, m.key, "/v1/accounts")
	Expect(err).NotTo(HaveOccurred())
	return all
}

// change changes the database of an API on SQLite behind its back, as time would.
func (m *members) change(ctx context.Context, statement string, args ...any) {
	GinkgoHelper()
	result, err := m.database(ctx).ExecContext(ctx, statement, args...)
	Expect(err).NotTo(HaveOccurred())
	Expect(result.RowsAffected()).To(BeNumerically(">", 0))
}

func (m *members) database(context.Context) *sql.DB {
	GinkgoHelper()
	file := strings.TrimPrefix(databaseOf(m.flags[:2]), "sqlite:")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(60000)")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(db.Close)
	return db
}

var _ = Describe("A live API with an app at LinkedIn", func() {
	It("connects members in a browser, and publishes; a browser that has no business there connects nobody", func(ctx SpecContext) {
		startController(ctx)
		m := newMembers(ctx, oauth.Partner, onSQLite()...) // which gets refresh tokens
		api := m.startAPI(ctx)
		m.accounts = []string{m.connect(ctx, api, "alice")}
		Expect(m.accountsOf(ctx, api)).To(HaveExactElements(accountView{
			ID: m.accounts[0], Platform: "linkedin", PlatformAccountID: "urn:li:person:alice", DisplayName: "Member alice", State: "active",
		}))
		text := `Is 1 < 2? (yes) #maths {x} \o/ a_b`
		a, err := m.writing(text, time.Time{}).send(ctx, api.url, m.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.String()).To(And(ContainSubstring("urn:li:share:"), ContainSubstring(`"published"`)))
		Expect(m.played.Posts()).To(HaveExactElements(And(HaveField("Text", text), HaveField("Author", "urn:li:person:alice"))))

		By("who comes back with no state that waits for them")
		used := m.signIn(ctx, api, "bob", "")
		status, _, page := comeBack(ctx, api, used)
		Expect(status).To(Equal(http.StatusOK), page)
		Expect(m.accountsOf(ctx, api)).To(HaveLen(2))
		expired := m.signIn(ctx, api, "carol", "")
		m.change(ctx, "UPDATE connecting SET expires_at = 1")
		for name, came := range map[string]*url.URL{
			"used": used, "expired": expired, "missing": changed(m.signIn(ctx, api, "carol", ""), "state", ""),
			"foreign": changed(m.signIn(ctx, api, "carol", ""), "state", strings.Repeat("x", 43)),
		} {
			status, _, page := comeBack(ctx, api, came)
			Expect(status).To(Equal(http.StatusBadRequest), "%s: %s", name, page)
			Expect(page).To(ContainSubstring("Begin to connect the account once more"), name)
		}
		By("who allows nothing")
		back, err := m.oauth.Refuse(ctx, m.begin(ctx, api, publicURL+"/no"))
		Expect(err).NotTo(HaveOccurred())
		status, to, page := comeBack(ctx, api, back)
		Expect(status).To(Equal(http.StatusFound), page)
		Expect(to.Query()).To(HaveKeyWithValue("connect_error", []string{"platform_auth_failed"}))
		By("who brings a code that is not theirs")
		status, _, page = comeBack(ctx, api, changed(m.signIn(ctx, api, "carol", ""), "code", "made-up-by-somebody"))
		Expect(status).To(Equal(http.StatusForbidden), page)
		Expect(m.accountsOf(ctx, api)).To(HaveLen(2), "nobody else was connected")

		By("refreshing what there is a refresh token for")
		before := secretsOf(ctx, databaseOf(m.flags[:2]), m.keys, m.accounts[0])
		Expect(before).To(HaveLen(2), "an access token and a refresh token")
		m.change(ctx, "UPDATE accounts SET refresh_at = 1 WHERE id = ?", m.accounts[0])
		after := before
		Eventually(ctx, func() []string {
			after = secretsOf(ctx, databaseOf(m.flags[:2]), m.keys, m.accounts[0])
			return after
		}, patience, interval).ShouldNot(ConsistOf(before))
		hide(append(before, after...)...)
		a, err = m.writing("Refreshed", time.Time{}).send(ctx, api.url, m.key)
		Expect(err).NotTo(HaveOccurred())
		Expect(a.String()).To(ContainSubstring("urn:li:share:"))

		By("and what opens an account, or was to, is nowhere")
		places := append(files(m.flags[1]), haystack(ctx, api)...)
		found := hunt(homeless(), places)
		for _, where := range hunt(m.states, places) {
			if !strings.Contains(where, "the secret half of its digest") { // by which the database knows a state
				found = append(found, where)
			}
		}
		// The one place where the app's secret is: the environment that only the process' own user reads.
		found = append(found, hunt(map[string]string{m.oauth.ClientSecret: ""}, slices.DeleteFunc(places, func(p place) bool {
			return p.name == "environ of "+api.Name()
		}))...)
		Expect(slices.DeleteFunc(found, func(where string) bool { return strings.Contains(where, looksLikeKey) })).To(BeEmpty())
	}, SpecTimeout(3*patience))

	It("keeps posts queued when LinkedIn takes no more today, or not this version of its API any more", func(ctx SpecContext) {
		startController(ctx)
		m := newMembers(ctx, oauth.Plain, onSQLite()...) // which gets none, as most apps
		api := m.startAPI(ctx)
		m.accounts = []string{m.connect(ctx, api, "alice")}
		notBefore := func(id string) time.Time {
			var at int64
			Expect(m.database(ctx).QueryRowContext(ctx, "SELECT not_before FROM posts WHERE id = ?", id).Scan(&at)).To(Succeed())
			return time.UnixMicro(at).UTC()
		}
		waits := func(text, code, rule string) (id string) {
			GinkgoHelper()
			id = m.queueSoon(ctx, api, m.key, text)
			Eventually(ctx, m.read(ctx, api, id), patience, interval).Should(And(HaveField("Status", queued),
				HaveField("Attempts", HaveExactElements(And(HaveField("ErrorCode", code), HaveField("ErrorRule", rule))))))
			return id
		}
		By("a day's limit")
		m.played.Fail(linkedin.Fault{On: "/rest/posts", Status: http.StatusTooManyRequests, Body: `{"status":429,"code":"TOO_MANY_REQUESTS"}`})
		began := time.Now()
		limited := waits("Limited", "rate_limited", "linkedin.rate_limited")
		Expect(notBefore(limited)).To(Or( // the day may have ended meanwhile
			BeTemporally("==", began.UTC().Truncate(24*time.Hour).Add(24*time.Hour)),
			BeTemporally("==", time.Now().UTC().Truncate(24*time.Hour).Add(24*time.Hour)),
		), "midnight UTC")
		Expect(api.scrape(ctx)).To(ContainSubstring("lmp_linkedin_version_sunset_timestamp_seconds"))

		By("an account that only its member can renew")
		soon := time.Now().Add(13 * 24 * time.Hour)
		m.change(ctx, "UPDATE accounts SET token_expires_at = ?", soon.UnixMicro())
		Expect(m.accountsOf(ctx, api)).To(HaveExactElements(HaveField("State", "expiring")))
		Expect(m.connect(ctx, api, "alice")).To(Equal(m.accounts[0]), "it is the same account")
		Expect(m.accountsOf(ctx, api)).To(HaveExactElements(HaveField("State", "active")))

		By("a version that has ended")
		Expect(api.Stop(ctx)).To(Succeed())
		api = m.startAPI(ctx, "--linkedin-version", "202511")
		Expect(api.logText()).To(ContainSubstring("LinkedIn stops taking the version"))
		a, err := jsonCall(http.MethodDelete, "/v1/posts/"+limited, nil).send(ctx, api.url, m.key) // or others would wait behind it
		Expect(err).NotTo(HaveOccurred())
		Expect(a.ok()).To(BeTrue(), a.String())
		ended := waits("Ended", "platform_unavailable", "linkedin.version.sunset")
		Expect(api.logText()).To(ContainSubstring("LinkedIn has stopped taking the version"))
		Expect(m.accountsOf(ctx, api)).To(HaveExactElements(HaveField("State", "active")), "it has done nothing wrong")
		Expect(api.Stop(ctx)).To(Succeed())
		api = m.startAPI(ctx)
		m.change(ctx, "UPDATE posts SET not_before = 0 WHERE id = ?", ended) // an hour later, so to say
		next := m.queueSoon(ctx, api, m.key, "Next")
		Eventually(ctx, m.read(ctx, api, next), patience, interval).Should(publishedOnce)
		Expect(m.played.Posts()).To(HaveExactElements(HaveField("Text", "Ended"), HaveField("Text", "Next")))
	}, SpecTimeout(3*patience))

	It("posts once, wherever the replica that posts is killed", func(ctx SpecContext) {
		startController(ctx)
		m := newMembers(ctx, oauth.Plain, onPostgres()...)
		other := m.startAPI(ctx) // first, so that it leads the queue, and no other leader has to be found
		doomed := m.startAPI(ctx)
		// Each begins at one replica, and comes back to the other one.
		for _, who := range []string{"alice", "bob"} {
			_, to, page := comeBack(ctx, other, m.signIn(ctx, doomed, who, publicURL+"/done"))
			Expect(to).NotTo(BeNil(), page)
			m.accounts = append(m.accounts, to.Query().Get("connected"))
		}
		for i, written := range []bool{true, false} {
			m.played.Fail(linkedin.Fault{On: "/rest/posts", Written: written, Silent: true})
			sending := m.writing(fmt.Sprintf("LinkedIn has it: %v", written), time.Time{}, m.accounts[i])
			go func() { _, _ = sending.send(ctx, doomed.url, m.key) }() // it gets no answer
			Eventually(ctx, m.played.Silent, patience, interval).Should(Equal(i + 1))
		}
		Expect(m.played.Posts()).To(HaveLen(1))
		doomed.end()

		posts, err := fetchAll[postView](ctx, other.url, m.key, "/v1/posts")
		Expect(err).NotTo(HaveOccurred())
		Expect(posts).To(HaveLen(2))
		for _, p := range posts {
			Eventually(ctx, m.read(ctx, other, p.ID), patience, interval).Should(HaveField("Status", Not(Equal(publishing))))
		}
		for _, p := range posts {
			Eventually(ctx, m.read(ctx, other, p.ID), patience, interval).Should(And(HaveField("Status", published),
				HaveField("Attempts", HaveExactElements(HaveField("Succeeded", false), HaveField("Succeeded", true)))))
			p, err := m.read(ctx, other, p.ID)()
			Expect(err).NotTo(HaveOccurred())
			Expect(m.played.Posts()).To(ContainElement(And(HaveField("URN", p.PlatformURI), HaveField("Text", p.Text))))
		}
		Expect(m.played.Posts()).To(HaveLen(2))
	}, SpecTimeout(3*patience))
})
