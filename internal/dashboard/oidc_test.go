// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/oidc"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/oauth"
)

const idTokens = 10 * time.Minute

// issuer is the provider that the apiserver of these tests trusts. It ends with their process.
var issuer *oauth.Issuer

func startIssuer(folder string) (_ kube.Issuer, err error) {
	if issuer, err = oauth.StartIssuer(context.Background(), folder, idTokens, "https://127.0.0.1/none"); err != nil {
		return kube.Issuer{}, err
	}
	pem, err := os.ReadFile(issuer.CAFile)
	return kube.Issuer{URL: issuer.URL, CA: pem, Client: oauth.Dashboard}, err
}

func (w *world) advance(t *testing.T, by time.Duration) {
	t.Helper()
	w.clock.by.Add(int64(by))
	check(t, issuer.Ahead(t.Context(), time.Duration(w.clock.by.Load())))
}

// provider is the issuer as this dashboard reaches it, whose server is not started yet.
func (w *world) provider(t *testing.T) *oidc.Provider {
	t.Helper()
	check(t, issuer.Restored(t.Context()))
	p, err := oidc.New(oidc.Config{
		Issuer: issuer.URL, ClientID: oauth.Dashboard, Roots: issuer.Roots, Random: rand.Reader, Clock: w.clock,
		RedirectURL:  "https://" + w.server.Listener.Addr().String() + dashboard.OIDCCallback,
		ClientSecret: func() (string, error) { return issuer.ClientSecret, nil },
		Scopes:       []string{"profile", "groups", "offline_access"},
	})
	check(t, err)
	t.Cleanup(p.Close)
	return p
}

func byProvider(c *dashboard.Config) { c.ProviderName = "Example ID" }

// friend gives the friends of somebody a role, by the group that the provider puts them into.
func (w *world) friend(t *testing.T, namespace, of, role string) {
	t.Helper()
	check(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "friends-of-" + of},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "oidc:friends-of-" + of}},
	}))
}

// leaves opens a page that leads elsewhere, and returns where, with the cookie that it sets.
func (v *visitor) leaves(path, site string) (to *url.URL, cookie string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+path, http.NoBody)
	check(v.t, err)
	r.Header.Set("Sec-Fetch-Site", site)
	stays := *v.client
	stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := stays.Do(r)
	check(v.t, err)
	check(v.t, resp.Body.Close())
	to, err = resp.Location()
	check(v.t, err)
	return to, resp.Header.Get("Set-Cookie")
}

// atProvider begins a sign-in, and returns the path by which the browser comes back.
func (v *visitor) atProvider(next, who string) string {
	v.t.Helper()
	page, _ := v.leaves("/oidc/sign-in?next="+url.QueryEscape(next), "same-origin")
	back, err := issuer.SignIn(v.t.Context(), page, who)
	check(v.t, err)
	return strings.TrimPrefix(back.RequestURI(), dashboard.Base)
}

func says(t *testing.T, p page, status int, text string) {
	t.Helper()
	if p.status != status || !strings.Contains(p.body, text) {
		t.Errorf("%d at %s, want %d and %q:\n%s", p.status, p.path, status, text, p.body)
	}
}

// TestSignInByProvider: from the page to the provider and back to where somebody was going, in two tabs; what others
// make of it; and what becomes of the session when the provider has something to say.
func TestSignInByProvider(t *testing.T) {
	w := newWorld(t, byProvider)
	acme := w.cluster.Namespace(t)
	w.friend(t, acme, "ann", "letmepost-apikey-viewer")
	v := w.visitor(t)
	var shown []page
	look := func(p page) page { shown = append(shown, p); return p }
	if p := look(v.get("/keys")); !strings.Contains(p.body, "Sign in with Example ID") ||
		!strings.Contains(p.body, `href="/dashboard/oidc/sign-in?next=%2fdashboard%2fkeys"`) || !strings.Contains(p.body, `id="token"`) {
		t.Errorf("%s", p.body)
	}
	_, c := v.leaves("/oidc/sign-in", "same-origin")
	for _, want := range []string{"__Host-letmepost-live-oidc-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age="} {
		if !strings.Contains(c, want) {
			t.Errorf("the cookie lacks %q: %s", want, c)
		}
	}
	for _, site := range []string{"cross-site", "same-site"} { // nobody is signed in by a link of another page
		if to, _ := v.leaves("/oidc/sign-in", site); to.Path != "/dashboard/sign-in" {
			t.Errorf("%s: led to %s", site, to)
		}
	}
	one := v.atProvider("/dashboard/", "ann")
	says(t, look(w.visitor(t).get(one)), http.StatusBadRequest, "can&#39;t be finished") // in another browser
	eventually(t, "the apiserver has read the provider's keys", func() bool {
		p := v.get(v.atProvider("/dashboard/", "ann"))
		return p.status == http.StatusOK
	})
	v = w.visitor(t)
	one = v.atProvider("/dashboard/keys?q=x", "ann")
	other := v.atProvider("https://evil.example/", "ann")
	if p := look(v.get(other)); p.path != "/dashboard/organizations?next=%2Fdashboard%2F" {
		t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
	}
	if p := look(v.get(one)); p.path != "/dashboard/organizations?next=%2Fdashboard%2Fkeys%3Fq%3Dx" {
		t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
	}
	says(t, look(v.get(one)), http.StatusBadRequest, "can&#39;t be finished") // again
	says(t, look(v.post("/organizations", url.Values{"name": {acme}})), http.StatusOK, "oidc:ann")
	says(t, look(v.get("/keys")), http.StatusOK, acme)

	denied := w.visitor(t)
	page, _ := denied.leaves("/oidc/sign-in", "none")
	back, err := issuer.Refuse(t.Context(), page)
	check(t, err)
	says(t, look(denied.get(strings.TrimPrefix(back.RequestURI(), dashboard.Base))), http.StatusForbidden, "You are not signed in")

	// The provider is away: until the credential's end nothing is seen of it, and then only that.
	issuer.Away.Store(true)
	w.advance(t, idTokens*17/20)
	says(t, look(v.get("/keys")), http.StatusOK, acme)
	w.advance(t, idTokens*4/20)
	says(t, look(v.get("/keys")), http.StatusServiceUnavailable, "be renewed at the moment")
	issuer.Away.Store(false)
	eventually(t, "the provider is back", func() bool { return v.get("/keys").status == http.StatusOK })
	// It takes its word back.
	check(t, issuer.Revoke(t.Context()))
	w.advance(t, idTokens*19/20)
	if p := look(v.get("/keys")); p.path != "/dashboard/sign-in?ended=provider&next=%2Fdashboard%2Fkeys" ||
		!strings.Contains(p.body, "Example ID has ended your session") {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
	revocations := issuer.Revocations.Load()
	if p := v.get(v.atProvider("/dashboard/", "ann")); p.status != http.StatusOK {
		t.Errorf("again: %d at %s\n%s", p.status, p.path, p.body)
	}
	v.post("/sign-out", nil)
	if n := issuer.Revocations.Load() - revocations; n != 1 {
		t.Errorf("%d refresh tokens were revoked", n)
	}
	guesser := w.visitor(t)
	for range maxFailures {
		guesser.get("/oidc/callback?state=x&code=y")
	}
	says(t, guesser.get("/oidc/callback?state=x&code=y"), http.StatusTooManyRequests, "Wait a minute")
	for _, secret := range append(issuer.Secrets(), issuer.ClientSecret) {
		for _, p := range shown {
			if strings.Contains(p.body, secret) {
				t.Errorf("%s shows %q", p.path, secret)
			}
		}
		if strings.Contains(w.log.read(t), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if !strings.Contains(w.log.read(t), `event=session.began`) || !strings.Contains(w.log.read(t), `screen=/oidc/callback`) {
		t.Error("nobody has come in, by the audit log")
	}
}
