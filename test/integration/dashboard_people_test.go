// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/browser"
	"github.com/letmepost/letmepost-operator/test/kube"
)

var _ = Describe("The dashboard of the three people that make up has made", func() {
	It("shows each what is theirs, and finds the key whose answer never came", func(ctx SpecContext) {
		startController(ctx)
		keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
		keys, err := vault.NewKeyset()
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.CreateFile(keyset, keys, nil)).To(Succeed())
		losing := newLosing()
		flags := []string{"--vault-keyset", keyset, "--kubeconfig", losing.kubeconfig}
		api := startAPI(ctx, "live", flags...)

		acme, globex := newNamespace(ctx), newNamespace(ctx)
		installPeople(ctx, acme, globex)
		mint(ctx, acme, "website")
		mint(ctx, globex, "warehouse")

		By("being the viewer of acme, who may look")
		viewer := newVisitor(ctx, api)
		viewer.signIn(accountToken(ctx, acme, "viewer"), acme)
		viewer.sees("/keys", []string{"website"}, []string{"warehouse", "Mint a key", "Revoke chosen"})
		viewer.sees("/keys/website", []string{"website", "Requests"}, []string{"Revoke…", "Rotate"})
		viewer.sees("/keys/-/new", []string{"You may not mint here"}, nil)
		viewer.sees("/profiles", []string{"No profiles yet"}, []string{"New profile"})
		viewer.sees("/accounts", []string{"No accounts yet"}, []string{"Connect Bluesky"})
		viewer.sees("/posts", []string{"No posts yet"}, nil)
		viewer.sees("/keys/warehouse", []string{"There is no such page"}, nil)
		// What their pages do not offer, they send all the same.
		website := apiKey(acme, "website")
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(website), website)).To(Succeed())
		viewer.visit(api, "/keys/-/new")
		for path, form := range map[string]url.Values{
			"/keys/-/new":    {"form": {viewer.field("form")}, "name": {"crafted"}, "environment": {"live"}, "scope": {"posts:read"}, "expiry": {"90"}, "way": {"once"}, "do": {"mint"}},
			"/keys/-/revoke": {"key": {"website." + string(website.UID)}}, "/profiles/-/new": {"name": {"crafted"}, "do": {"create"}},
			"/accounts/-/connect/bluesky": {"once": {"x"}, "field.identifier": {"x.test"}, "field.appPassword": {"abcd-efgh-ijkl-mnop"}},
		} {
			form.Set("organization", viewer.field("organization"))
			Expect(viewer.sends(path, form)).To(Equal(http.StatusForbidden), path)
		}
		Expect(viewer.sends("/organizations", url.Values{"name": {globex}})).To(Equal(http.StatusNotFound))
		Expect(keysIn(ctx, acme)).To(ConsistOf("website"))

		By("being the minter of acme, who mints and revokes, too")
		minter := newVisitor(ctx, api)
		minter.signIn(accountToken(ctx, acme, "minter"), acme)
		minter.sees("/keys", []string{"website", "Mint a key", "Revoke chosen"}, []string{"warehouse"})
		minter.sees("/profiles", []string{"No profiles yet"}, []string{"New profile"})
		minter.sees("/accounts", []string{"No accounts yet"}, []string{"Connect Bluesky"})
		plaintext := minter.mint("newsletter", "once")
		hide(plaintext)
		Eventually(ctx, api.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
		minter.visit(api, "/keys/newsletter")
		minter.follow("Revoke")
		minter.press("button.danger")
		Eventually(ctx, minter.html, patience, interval).Should(ContainSubstring(`<li class="card confirmed">`))
		Expect(decided(ctx, api.whoami(ctx, plaintext))).To(Equal(http.StatusUnauthorized))

		By("being the owner of globex, who may do everything there, and nothing in acme")
		owner := newVisitor(ctx, api)
		owner.signIn(accountToken(ctx, globex, "owner"), globex)
		owner.sees("/keys", []string{"warehouse", "Mint a key", "Revoke chosen"}, []string{"website"})
		owner.sees("/profiles", []string{"New profile"}, nil)
		owner.sees("/accounts", []string{"Connect Bluesky"}, nil)
		owner.sees("/keys/website", []string{"There is no such page"}, nil)
		owner.mint("shop", "cluster")
		Eventually(ctx, api.whoami(ctx, minted(ctx, apiKey(globex, "shop"))), patience, interval).Should(Equal(http.StatusOK))
		Expect(owner.sends("/organizations", url.Values{"name": {acme}})).To(Equal(http.StatusNotFound))

		By("killing the API when the cluster has a key, and before anybody has it")
		losing.on.Store(true)
		minter.visit(api, "/keys/-/new")
		minter.do(chromedp.SetValue(chromedp.CSS("input[name=name]"), "never-seen"))
		_, err = chromedp.Run(minter.tab, chromedp.Evaluate[bool](
			`document.querySelector("main form button.primary").click(), window.before = true`))
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, losing.made, patience).Should(Receive())
		api.end()
		losing.on.Store(false)
		Expect(keysIn(ctx, acme)).To(ConsistOf("website", "never-seen"))

		By("finding it, at the process that comes in its place, and being rid of it")
		again := launchAPI("live", append(flags, "--listen-address", strings.TrimPrefix(api.url, "http://"))...)
		again.url = api.url
		again.waitReady(ctx)
		for _, path := range []string{"/keys", "/keys/-/new"} {
			minter.sees(path, []string{"Do you have these keys?", "never-seen"}, nil)
		}
		Expect(minter.html()).NotTo(MatchRegexp(`lmp_live_[0-9A-Za-z]{38}`))
		owner.sees("/keys", []string{"warehouse"}, []string{"Do you have these keys?", "never-seen"})
		minter.visit(again, "/keys")
		minter.press(`.pending a[href*="revoke"]`)
		minter.press("button.danger")
		// It is over when the Lease of the process that was killed has expired, which others have waited for.
		lost := apiKey(acme, "never-seen")
		Expect(client.IgnoreNotFound(admin.Get(ctx, client.ObjectKeyFromObject(lost), lost))).To(Succeed())
		Expect(lost.UID == "" || !lost.DeletionTimestamp.IsZero()).To(BeTrue(), "%+v", lost)
		minter.sees("/keys", []string{"website"}, []string{"Do you have these keys?"})
	}, SpecTimeout(4*patience))
})

// installPeople makes the people of make up in other namespaces, and waits until they may what their roles say: what
// view, edit and admin have of ours is added to them by the cluster.
func installPeople(ctx SpecContext, acme, globex string) {
	GinkgoHelper()
	text, err := os.ReadFile(kube.Path("hack/up/people.yaml"))
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "people.yaml")
	renamed := strings.NewReplacer("namespace: acme", "namespace: "+acme, "namespace: globex", "namespace: "+globex)
	Expect(os.WriteFile(file, []byte(renamed.Replace(string(text))), 0o600)).To(Succeed())
	Expect(kube.InstallManifests(ctx, cluster.AdminConfig(), file)).To(Succeed())
	for _, right := range [][4]string{
		{acme, "viewer", "list", "apikeys"},
		{acme, "viewer", "list", "posts"},
		{acme, "viewer", "list", "accounts"},
		{acme, "minter", "create", "apikeys"},
		{acme, "minter", "delete", "apikeys"},
		{acme, "minter", "list", "accounts"},
		{globex, "owner", "create", "apikeys"},
		{globex, "owner", "create", "profiles"},
		{globex, "owner", "create", "accounts"},
	} {
		Eventually(ctx, func() (bool, error) {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + right[0] + ":" + right[1],
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: right[0], Verb: right[2], Group: v1alpha1.GroupVersion.Group, Resource: right[3],
				},
			}}
			err := admin.Create(ctx, review)
			return review.Status.Allowed, err
		}, patience, interval).Should(BeTrue(), "%v", right)
	}
}

// sees goes to a page, and reads it.
func (v *visitor) sees(path string, shown, hidden []string) {
	GinkgoHelper()
	v.visit(v.at, path)
	for _, text := range shown {
		Expect(v.text()).To(ContainSubstring(text), path)
	}
	for _, text := range hidden {
		Expect(v.text()).NotTo(ContainSubstring(text), path)
	}
}

// sends sends a form that no page has, from a page of the dashboard, and returns the status of the answer.
func (v *visitor) sends(path string, form url.Values) int {
	GinkgoHelper()
	status, err := chromedp.Run(v.tab, chromedp.Evaluate[int](fmt.Sprintf(
		`fetch("/dashboard%s", {method: "POST", body: new URLSearchParams(%q)}).then(answer => answer.status)`, path, form.Encode(),
	), chromedp.EvalAwaitPromise))
	Expect(err).NotTo(HaveOccurred())
	return status
}

// field is what a field of the page has.
func (v *visitor) field(name string) string {
	GinkgoHelper()
	value, err := browser.Read[string](v.tab, fmt.Sprintf(`document.querySelector("[name=%s]").value`, name))
	Expect(err).NotTo(HaveOccurred())
	return value
}

// keysIn are the names of the ApiKeys of a namespace.
func keysIn(ctx SpecContext, namespace string) (names []string) {
	GinkgoHelper()
	list := &v1alpha1.ApiKeyList{}
	Expect(admin.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// losing stands between an API and the apiserver. While it is on, an ApiKey that is created is there, and its answer is
// held back for as long as somebody waits for it.
type losing struct {
	kubeconfig string // of the live API
	on         atomic.Bool
	made       chan struct{}
}

func newLosing() *losing {
	GinkgoHelper()
	config := cluster.AdminConfig()
	target, err := url.Parse(config.Host)
	Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	Expect(err).NotTo(HaveOccurred())
	l := &losing{kubeconfig: filepath.Join(GinkgoT().TempDir(), "kubeconfig"), made: make(chan struct{}, 1)}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0), // it is cut off by the end of the API
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			create := r.Request.Method == http.MethodPost && strings.HasSuffix(r.Request.URL.Path, "/apikeys")
			if !create || r.StatusCode != http.StatusCreated || !l.on.Load() {
				return nil
			}
			l.made <- struct{}{}
			<-r.Request.Context().Done()
			return r.Request.Context().Err()
		},
	}
	// An apiserver that refuses a request answers before it has read its body, and a proxy that still passes it on then
	// sometimes loses the answer. So it is read first.
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	DeferCleanup(func() { server.CloseClientConnections(); server.Close() })
	of, err := clientcmd.LoadFromFile(credentials(liveAccount))
	Expect(err).NotTo(HaveOccurred())
	for _, c := range of.Clusters {
		c.Server, c.CertificateAuthority = server.URL, ""
		c.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	}
	Expect(clientcmd.WriteToFile(*of, l.kubeconfig)).To(Succeed())
	return l
}
