// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
	"github.com/letmepost/letmepost-operator/test/browser"
)

// state is what a page shows at times.
type state struct {
	name   string
	show   func() error
	status int // of a page that refuses something; 0: it does not
}

// states are what pages show that the mere address of a screen does not come to. Each prepares itself when it is shown.
func (w *world) states(t *testing.T, acme string, ada *reader) []state {
	t.Helper()
	after := func(prepare func(), path string) func() error {
		return func() error { prepare(); return ada.at(path)() }
	}
	form := func(path string, fields map[string]string, button string) func() error {
		return ada.fill(path, fields, button)
	}
	lose := func() { w.inNeed(t, acme) }
	rotate := func() {
		f := ada.rotationForm("website", url.Values{"expiry": {"never"}, "way": {"cluster"}})
		ada.post("/keys/website/rotate", f).shows(t, http.StatusOK, []string{"website-2"}, nil)
	}
	disconnect := func() {
		gone := w.account(t, acme, "", "gone.example.com")
		ada.post("/accounts/"+gone.ID+"/disconnect", url.Values{"once": {newID()}})
	}
	waits := ""
	revoke := func() {
		w.silentReplica(t)
		k := w.key(t, acme, "website")
		waits = strings.TrimPrefix(ada.post("/keys/-/revoke", refs(k)).path, dashboard.Base)
		eventually(t, "the page names who is awaited", func() bool {
			return strings.Contains(ada.get(waits).body, "letmepost-api-live-silent (silent-pod)")
		})
	}
	over := func() {
		w.minted(t, acme, "old", func(*v1alpha1.ApiKey) {})
		k := w.key(t, acme, "old")
		waits = strings.TrimPrefix(ada.post("/keys/-/revoke", refs(k)).path, dashboard.Base)
		eventually(t, "the revocation is over", func() bool { return strings.Contains(ada.get(waits).body, "1 of 1 confirmed") })
	}
	unpinned := func() {
		check(t, w.admin.Delete(t.Context(), &v1alpha1.Profile{ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "shop"}}))
		eventually(t, "a key of it is refused", func() bool { return strings.Contains(ada.get("/keys").body, "Profile gone") })
	}
	again := func() error {
		f := ada.form("again", nil)
		ada.post("/keys/-/new", f).shows(t, http.StatusCreated, []string{"lmp_live_"}, nil)
		return ada.fill("/keys/-/new", map[string]string{"input[name=form]": f.Get("form"), "#name": "again"}, "button[value=mint]")()
	}
	byName := w.alsoBy(t, "Example ID")
	return []state{
		{name: "sign-in-by-provider", show: func() error {
			return chromedp.Do(ada.tab, chromedp.Navigate(byName+dashboard.Base+"/sign-in"))
		}},
		{name: "sign-in-wrong", status: http.StatusUnauthorized, show: form("/sign-in", map[string]string{"#token": "nobody's"}, "main button")},
		{name: "problem", show: ada.at("/nowhere"), status: http.StatusNotFound},
		{name: "organizations-wrong", status: http.StatusNotFound, show: form("/organizations", map[string]string{"#name": "nobody-s"}, "main button.primary")},
		{name: "keys-new-refused", status: http.StatusUnprocessableEntity, show: form("/keys/-/new", map[string]string{"#name": "Not A Name", "#requests": "many"}, "button[value=mint]")},
		{name: "keys-new-yaml", show: form("/keys/-/new", map[string]string{"#name": "for-git"}, "button[value=yaml]")},
		{name: "accounts-leave", show: form("/accounts/-/connect/bluesky", nil, "button[value=oauth]")},
		{name: "accounts-disconnected", show: after(disconnect, "/accounts/-/disconnected")},
		{name: "posts-notice", show: form("/posts/"+shownPost, nil, "main button.primary")},
		{name: "keys-minted", show: form("/keys/-/new", map[string]string{"#name": "once"}, "button[value=mint]")},
		{name: "keys-shown-already", show: again, status: http.StatusConflict},
		{name: "connected", show: form("/accounts/-/connect/bluesky", map[string]string{"#field\\.identifier": "warned.test", "#field\\.appPassword": "secret"}, "main button.primary")},
		{name: "revoked-over", show: func() error { over(); return ada.at(waits)() }},
		{name: "overview-in-need", show: after(lose, "/")},
		{name: "rotate-switch", show: after(rotate, "/keys/website/rotate")},
		{name: "revoked-waiting", show: func() error { revoke(); return ada.at(waits)() }},
		{name: "rotate-revoke", show: ada.at("/keys/website/rotate")},
		{name: "key-revoking", show: ada.at("/keys/website")},
		{name: "keys-in-need", show: after(unpinned, "/keys")},
	}
}

// fill fills in the form of a page and sends it by a button, though the browser would not for what is wrong with it. It
// returns when another page is there.
func (r *reader) fill(path string, fields map[string]string, button string) func() error {
	return func() error {
		if err := r.at(path)(); err != nil {
			return err
		}
		for field, text := range fields {
			if err := chromedp.Do(r.tab, chromedp.SetValue(chromedp.CSS(field), text)); err != nil {
				return err
			}
		}
		if _, err := browser.Read[bool](r.tab,
			`window.before = true, [...document.forms].forEach(f => f.noValidate = true), true`); err != nil {
			return err
		}
		if err := chromedp.Do(r.tab, chromedp.Click(chromedp.CSS(button))); err != nil {
			return err
		}
		eventually(r.t, "another page is there", func() bool {
			there, err := browser.Read[bool](r.tab, `!window.before && document.readyState === "complete"`)
			return err == nil && there
		})
		return nil
	}
}

// counting has the pages of a dashboard tell what keys are used for.
func counting(t *testing.T) func(*dashboard.Config) {
	return func(c *dashboard.Config) {
		k, err := use.New(use.Options{
			Index: c.Directory.(*authn.Index), Store: c.Store, Environment: key.Live, Replica: "letmepost-api-live-5f7c",
			Complete: func() bool { return true }, Clock: clock.RealClock{}, Logger: c.Logger,
		})
		check(t, err)
		c.Use = k
	}
}

// use has keys used for some days, now more and now less.
func (w *world) use(t *testing.T, organization string, names ...string) {
	t.Helper()
	for i, name := range names {
		k := w.key(t, organization, name)
		for hour := range 36 {
			check(t, w.store.Work().AddUse(t.Context(), "letmepost-api-live-9d2b", []store.Use{{
				Organization: k.Status.OrganizationID, Environment: key.Live, Key: string(k.UID),
				UsedAt:   time.Now().Add(-time.Duration(hour)*time.Hour - 10*time.Minute),
				Requests: int64(1200/(i+1) + 97*(hour*hour%13)), Refused: int64(11 * (hour % 4)),
			}}))
		}
	}
}

// seesReplicas gives somebody the right to list the Leases of the release's namespace, and waits until it counts.
func (w *world) seesReplicas(t *testing.T, organization string, who *visitor, name string) {
	t.Helper()
	role := metav1.ObjectMeta{Namespace: system, Name: "see-replicas-" + organization}
	check(t, w.admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: role, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"list"}},
	}}))
	check(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: organization, Name: name}},
	}))
	eventually(t, "the apiserver knows of the right", func() bool {
		return strings.Contains(who.get("/").body, "Each renews its Lease while it accepts requests")
	})
}

// inNeed gives an organization one of each that its overview has to say.
func (w *world) inNeed(t *testing.T, organization string) {
	t.Helper()
	a := w.account(t, organization, "", "blog.example.com")
	c, err := w.store.Work().Connection(t.Context(), a.ID)
	check(t, err)
	_, err = w.store.Work().RequireReconnect(t.Context(), a.ID, c.Version, platform.Failure{Code: platform.CodeAuthFailed, Message: "revoked"})
	check(t, err)
	w.post(t, organization, a, "late", func(p *store.Post) { p.ScheduledAt = time.Now().Add(-time.Hour) })
	w.minted(t, organization, "campaign", func(k *v1alpha1.ApiKey) {
		k.Spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(5 * 24 * time.Hour).Truncate(time.Second)))
	})
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: system, Name: "letmepost-api-test-" + organization, Labels: map[string]string{v1alpha1.LabelReplica: "test"},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("letmepost-api-test-0"), LeaseDurationSeconds: new(int32(15)),
			RenewTime: new(metav1.NewMicroTime(time.Now().Add(-time.Hour))),
		},
	}
	check(t, w.admin.Create(t.Context(), lease))
	t.Cleanup(func() { check(t, client.IgnoreNotFound(w.admin.Delete(context.WithoutCancel(t.Context()), lease))) })
}

// alsoBy is where another replica is by whose pages people sign in by a provider.
func (w *world) alsoBy(t *testing.T, provider string) string {
	t.Helper()
	c := w.config
	c.ProviderName, c.Provider = provider, w.provider(t)
	d, err := dashboard.New(c)
	check(t, err)
	server := httptest.NewTLSServer(d)
	t.Cleanup(server.Close)
	return server.URL
}
