// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/browser"
)

var _ = Describe("The dashboard of a live API with two replicas", func() {
	It("mints a key that is shown once, revokes it before the eyes of whoever looks, and rotates across replicas", func(ctx SpecContext) {
		startController(ctx)
		keyset := filepath.Join(GinkgoT().TempDir(), "keyset.json")
		keys, err := vault.NewKeyset()
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.CreateFile(keyset, keys, nil)).To(Succeed())
		flags := append(onPostgres(), "--vault-keyset", keyset, "--access-log", "all", "--log-level", "debug",
			"--lease-duration", "60s") // so that who hangs is waited for while somebody looks
		one, other := startAPI(ctx, "live", flags...), startAPI(ctx, "live", flags...)

		namespace := newNamespace(ctx)
		ada, token := newVisitor(ctx, one), tokenOf(ctx, namespace, "ada", "letmepost-apikey-viewer", "letmepost-apikey-minter",
			"letmepost-apikey-revoker", "letmepost-profile-editor", "letmepost-content-editor")
		ada.signIn(token, namespace)

		By("minting a key to be shown once")
		plaintext := ada.mint("shown", "once")
		hide(plaintext)
		for _, replica := range []*server{one, other} {
			Eventually(ctx, replica.whoami(ctx, plaintext), patience, interval).Should(Equal(http.StatusOK))
		}

		By("loading the page again, going back, and opening it in a second tab")
		for _, again := range []chromedp.Action[chromedp.Void]{chromedp.NavigateBack(), chromedp.NavigateForward(), chromedp.Reload()} {
			// The browser may also say that it would have to send the form again, which is as good.
			if err := chromedp.Do(ada.tab, again); !errors.As(err, new(*chromedp.LoadError)) {
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(ada.html()).NotTo(ContainSubstring(plaintext))
		}
		for _, path := range []string{"/keys", "/keys/shown", "/keys/-/new", "/"} {
			ada.visit(one, path)
			Expect(ada.html()).NotTo(ContainSubstring(plaintext), path)
		}

		By("revoking it while one replica hangs")
		Expect(other.Signal(syscall.SIGSTOP)).To(Succeed())
		DeferCleanup(func() { _ = other.Signal(syscall.SIGCONT) })
		ada.visit(one, "/keys/shown")
		ada.follow("Revoke")
		ada.press("button.danger")
		Eventually(ctx, ada.text, patience, interval).Should(ContainSubstring("1 of 2 replicas"))
		Expect(decided(ctx, one.whoami(ctx, plaintext))).To(Equal(http.StatusUnauthorized))
		Expect(other.Signal(syscall.SIGCONT)).To(Succeed())
		Eventually(ctx, ada.html, patience, interval).Should(ContainSubstring(`<li class="card confirmed">`))
		Expect(decided(ctx, other.whoami(ctx, plaintext))).To(Equal(http.StatusUnauthorized))

		By("rotating a key that was minted into the cluster, begun at one replica and gone on with at the other")
		ada.visit(one, "/keys/-/new")
		ada.mint("lmp-ci", "cluster")
		old := minted(ctx, apiKey(namespace, "lmp-ci"))
		Eventually(ctx, one.whoami(ctx, old), patience, interval).Should(Equal(http.StatusOK))
		ada.visit(one, "/keys/lmp-ci/rotate")
		ada.choose("cluster")
		ada.press("main form button.primary")
		ada.visit(other, "/keys/lmp-ci/rotate")
		Expect(ada.text()).To(ContainSubstring("lmp-ci-2"))
		successor := minted(ctx, apiKey(namespace, "lmp-ci-2"))
		Eventually(ctx, other.whoami(ctx, successor), patience, interval).Should(Equal(http.StatusOK))

		By("reading every page there is, at both replicas, in search of a key")
		for _, replica := range []*server{one, other} {
			pages := signedIn(ctx, replica, token, namespace).crawl(ctx)
			read := map[string]bool{}
			for _, p := range pages {
				path, _, _ := strings.Cut(p.name, "?")
				read[path] = true
			}
			for _, path := range []string{
				"/", "/keys", "/keys/-/new", "/keys/lmp-ci", "/keys/lmp-ci-2/secret", "/keys/lmp-ci/rotate", "/profiles", "/profiles/-/new",
				"/accounts", "/accounts/-/connect/bluesky", "/posts",
			} {
				Expect(read).To(HaveKey("page /dashboard" + path))
			}
			homes := map[string]string{plaintext: "", old: "", successor: ""}
			Expect(hunt(homes, pages)).To(BeEmpty())
			Expect(hunt(homes, []place{{"a page with it", []byte("<code>" + old + "</code>")}})).NotTo(BeEmpty())
		}

		By("being counted by the patterns of paths, which name nothing of anybody")
		Expect(one.scrape(ctx)).To(ContainSubstring(`lmp_http_requests_total{code="200",method="GET",route="/dashboard/keys/{name}"}`))
		Expect(one.scrape(ctx)).NotTo(ContainSubstring("/keys/shown"))

		By("signing out, at every replica")
		ada.press("header form button")
		ada.visit(other, "/keys")
		Expect(ada.location()).To(ContainSubstring("/dashboard/sign-in"))
	}, SpecTimeout(4*patience))
})

// visitor is somebody with a browser.
type visitor struct {
	tab context.Context
	at  *server
}

func newVisitor(ctx SpecContext, at *server) *visitor {
	GinkgoHelper()
	chromium, err := browser.Start(context.WithoutCancel(ctx))
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(chromium.Stop)
	tab, done := chromium.Person()
	DeferCleanup(done)
	Expect(chromedp.Do(tab)).To(Succeed()) // the tab lives as long as the context of what is done first in it
	return &visitor{tab, at}
}

// tokenOf makes a ServiceAccount with ClusterRoles in a namespace, and returns a token for it.
func tokenOf(ctx SpecContext, namespace, name string, roles ...string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	Expect(admin.Create(ctx, account)).To(Succeed())
	for _, role := range roles {
		Expect(admin.Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
		})).To(Succeed())
	}
	return accountToken(ctx, namespace, name)
}

// accountToken returns a token for a ServiceAccount.
func accountToken(ctx SpecContext, namespace, name string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	Expect(admin.SubResource("token").Create(ctx, account, request)).To(Succeed())
	hide(request.Status.Token)
	return request.Status.Token
}

func (v *visitor) do(steps ...chromedp.Action[chromedp.Void]) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(v.tab, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		Fail(fmt.Sprintf("%v, at %s:\n%s", err, v.location(), v.text()))
	}
}

func (v *visitor) signIn(token, organization string) {
	GinkgoHelper()
	v.visit(v.at, "/sign-in")
	v.do(
		chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.Submit(chromedp.CSS("#token")),
		chromedp.WaitVisible(chromedp.CSS("#name")),
		chromedp.SetValue(chromedp.CSS("#name"), organization), chromedp.Submit(chromedp.CSS("#name")),
		chromedp.WaitVisible(chromedp.CSS("nav.rooms")),
	)
}

func (v *visitor) visit(at *server, path string) {
	GinkgoHelper()
	v.do(chromedp.Navigate(at.url + "/dashboard" + path))
}

// follow goes where the first link goes that begins with this text.
func (v *visitor) follow(text string) {
	GinkgoHelper()
	to, err := browser.Read[string](v.tab, fmt.Sprintf(
		`[...document.querySelectorAll("main a")].find(a => a.textContent.trim().startsWith(%q))?.href ?? ""`, text))
	Expect(err).NotTo(HaveOccurred())
	Expect(to).NotTo(BeEmpty(), v.text())
	v.do(chromedp.Navigate(to))
}

// press presses a button of a form, and waits for the page that comes.
func (v *visitor) press(selector string) {
	GinkgoHelper()
	_, err := browser.Read[bool](v.tab, `window.before = true`)
	Expect(err).NotTo(HaveOccurred())
	v.do(chromedp.Click(chromedp.CSS(selector)))
	Eventually(func() (bool, error) {
		return browser.Read[bool](v.tab, `!window.before && document.readyState === "complete"`)
	}, patience, interval).Should(BeTrue())
}

// choose picks a way to get a key.
func (v *visitor) choose(way string) {
	GinkgoHelper()
	v.do(chromedp.Click(chromedp.CSS(fmt.Sprintf("input[type=radio][value=%q]", way))))
}

// mint fills in the form for a live key, and returns the plaintext that it is shown; "": none is.
func (v *visitor) mint(name, way string) string {
	GinkgoHelper()
	v.visit(v.at, "/keys/-/new")
	v.do(chromedp.SetValue(chromedp.CSS("input[name=name]"), name))
	v.choose("live")
	v.choose(way)
	v.press("main form button.primary")
	if way != "once" {
		Expect(v.location()).To(HaveSuffix("/keys/"+name+"/secret"), v.text())
		return ""
	}
	shown, err := browser.Read[string](v.tab, `document.querySelector("#key").innerText`)
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(shown)
}

func (v *visitor) html() string {
	GinkgoHelper()
	html, err := browser.Read[string](v.tab, `document.documentElement.outerHTML`)
	Expect(err).NotTo(HaveOccurred())
	return html
}

func (v *visitor) text() string {
	text, err := browser.Read[string](v.tab, `document.querySelector("main")?.innerText ?? ""`)
	if err != nil {
		return err.Error()
	}
	return text
}

func (v *visitor) location() string {
	at, err := browser.Read[string](v.tab, `location.href`)
	if err != nil {
		return err.Error()
	}
	return at
}
