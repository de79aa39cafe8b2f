// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/browser"
)

// TestMidSession: in a real browser, who loses their rights while they are signed in is shown nothing of what they
// stood for when half a minute has passed, and whose credential expires is asked to sign in again; both are told what
// to do.
func TestMidSession(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.minted(t, acme, "secretive")
	a := w.account(t, acme, "", "secretive-account")
	w.post(t, acme, a, "secretive post")
	chromium, err := browser.Start(t.Context(), chromedp.IgnoreCertErrors)
	check(t, err)
	t.Cleanup(chromium.Stop)
	signedIn := func(name string) *reader {
		w.credential(t, acme, name, "letmepost-apikey-viewer")
		w.right(t, acme, name, read, "posts", "accounts")
		r := browsing(t, chromium, w.visitor(t))
		w.untilMay(t, acme, name, true)
		r.signIn(w.token(t, acme, name, shortest), acme)
		return r
	}

	t.Run("rights", func(t *testing.T) {
		leaver := signedIn("leaver")
		missing := map[string]string{
			"/keys": `cannot list resource "apikeys"`, "/keys/secretive": `cannot get resource "apikeys"`,
			"/posts": "You may not list posts.letmepost.dev", "/accounts": "You may not list accounts.letmepost.dev",
		}
		for path := range missing {
			leaver.open(t, path)
			if text := leaver.html(); !strings.Contains(text, "secretive") {
				t.Fatalf("%s is not shown:\n%s", path, text)
			}
		}
		check(t, w.admin.DeleteAllOf(t.Context(), &rbacv1.RoleBinding{}, client.InNamespace(acme)))
		w.untilMay(t, acme, "leaver", false)
		w.clock.by.Add(int64(30 * time.Second))
		for path, said := range missing {
			leaver.open(t, path)
			text, err := browser.Read[string](leaver.tab, `document.querySelector("main").innerText`)
			check(t, err)
			for _, want := range []string{"You may not do this", "Ask an administrator of the cluster for a role", said} {
				if !strings.Contains(text, want) || strings.Contains(leaver.html(), "secretive-account") {
					t.Errorf("%s: want %q:\n%s", path, want, text)
				}
			}
		}
	})

	t.Run("credential", func(t *testing.T) {
		expiring := signedIn("expiring")
		expiring.open(t, "/keys?q=secretive")
		w.clock.by.Add(int64(shortest))
		expiring.open(t, "/keys?q=secretive")
		text, err := browser.Read[string](expiring.tab, `document.querySelector("main").innerText`)
		check(t, err)
		if !strings.Contains(text, "Your session is over") || strings.Contains(expiring.html(), "secretive<") {
			t.Fatalf("%s", text)
		}
		check(t, chromedp.Do(expiring.tab,
			chromedp.SetValue(chromedp.CSS("#token"), w.token(t, acme, "expiring", 2*shortest)),
			chromedp.Submit(chromedp.CSS("#token")), chromedp.WaitVisible(chromedp.CSS("#name")),
			chromedp.SetValue(chromedp.CSS("#name"), acme), chromedp.Submit(chromedp.CSS("#name")),
			chromedp.WaitVisible(chromedp.CSS("table.keys")),
		))
		if at, err := browser.Read[string](expiring.tab, `location.href`); err != nil || !strings.HasSuffix(at, "/keys?q=secretive") {
			t.Errorf("they go on at %s: %v", at, err)
		}
	})
}

// shortest is the least time for which the apiserver gives a token.
const shortest = 10 * time.Minute

// token returns another token of a ServiceAccount, which is good for so long.
func (w *world) token(t *testing.T, namespace, name string, lasts time.Duration) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(lasts / time.Second))},
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	check(t, w.admin.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

// untilMay waits until the apiserver goes by what was changed of a ServiceAccount's rights.
func (w *world) untilMay(t *testing.T, namespace, name string, may bool) {
	t.Helper()
	for _, resource := range []string{"apikeys", "posts", "accounts"} {
		eventually(t, "the apiserver knows who may list "+resource, func() bool {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + namespace + ":" + name,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Verb: "list", Group: v1alpha1.GroupVersion.Group, Resource: resource,
				},
			}}
			check(t, w.admin.Create(t.Context(), review))
			return review.Status.Allowed == may
		})
	}
}

// open goes to a page.
func (r *reader) open(t *testing.T, path string) {
	t.Helper()
	check(t, chromedp.Do(r.tab, chromedp.Navigate(r.base+path)))
}
