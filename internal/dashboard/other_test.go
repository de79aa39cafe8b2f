// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// TestAnotherOrganizationIsOpen: what was shown of one organization is not done in another one that has been opened
// since, and nobody is told that it is done.
func TestAnotherOrganizationIsOpen(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	token := w.credential(t, acme, "both", "letmepost-apikey-minter", "letmepost-apikey-revoker", "letmepost-profile-editor")
	w.binds(t, globex, acme, "both", "letmepost-apikey-minter", "letmepost-apikey-revoker", "letmepost-profile-editor")
	w.right(t, acme, "both", all, "accounts")
	both := w.signedIn(t, token, acme)
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "shop"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:1]},
	}
	check(t, w.admin.Create(t.Context(), k))
	rotation, minting := both.rotationForm("shop", nil), both.form("other", nil)
	if p := both.post("/organizations", url.Values{"name": {globex}}); p.status != http.StatusOK {
		t.Fatalf("%d at %s", p.status, p.path)
	}
	tried := 0
	for _, s := range dashboard.Screens(w.dashboard) {
		if !s.OfPage {
			continue
		}
		tried++
		path := strings.NewReplacer("{name}", "shop", "{platform}", "bluesky").Replace(s.Path)
		form := map[string]url.Values{"/keys/shop/rotate": rotation, "/keys/new": minting, "/keys/-/revoke": refs(k)}[path]
		for _, of := range []string{both.organization, "", "made-up"} { // both still has the page of acme
			if form == nil {
				form = url.Values{"name": {"other"}, "once": {newID()}}
			}
			form.Set("organization", of)
			if p := both.post(path, form); p.status != http.StatusConflict || !strings.Contains(p.body, "Another organization is open") {
				t.Errorf("%s of %q: %d at %s", path, of, p.status, p.path)
			}
		}
	}
	if tried != 5 {
		t.Errorf("%d were tried", tried)
	}
	watched := "/keys/-/revoked?" + url.Values{"key": refs(k)["key"], "organization": {both.organization}}.Encode()
	if p := both.get(watched); p.status != http.StatusConflict || strings.Contains(p.body, "onfirmed") {
		t.Errorf("what becomes of a revocation elsewhere: %d\n%s", p.status, p.body)
	}
	var keys v1alpha1.ApiKeyList
	check(t, w.admin.List(t.Context(), &keys, client.InNamespace(globex)))
	if len(keys.Items) > 0 {
		t.Errorf("there are keys: %v", keys.Items)
	}
}

// TestRotationOfAnother: a key that was made again under the name is another one, which may do more.
func TestRotationOfAnother(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	ada.post("/keys/new", ada.form("shop", nil))
	for _, uid := range []string{newID(), ""} {
		if p := ada.post("/keys/shop/rotate", ada.rotationForm("shop", url.Values{"uid": {uid}})); p.status != http.StatusConflict {
			t.Errorf("%q: %d at %s", uid, p.status, p.path)
		}
	}
	if p := ada.post("/keys/shop/rotate", ada.rotationForm("shop", nil)); p.status != http.StatusCreated {
		t.Errorf("this one: %d at %s\n%s", p.status, p.path, p.body)
	}
}

// TestPinnedAndOver: a key that was never minted and has expired reaches no more than it was to.
func TestPinnedAndOver(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "over"},
		Spec: v1alpha1.ApiKeySpec{
			Environment: v1alpha1.EnvironmentLive, ProfileRef: &v1alpha1.ProfileReference{Name: "nowhere"},
			ExpiresAt: &metav1.Time{Time: time.Now().Add(2 * time.Second).Truncate(time.Second)},
		},
	}))
	v := w.signedIn(t, w.credential(t, acme, "looker", "letmepost-apikey-viewer"), acme)
	eventually(t, "it has expired", func() bool { return strings.Join(v.get("/keys?state=expired").keys(), " ") == "over" })
	if p := v.get("/keys"); !strings.Contains(p.body, "nowhere") || strings.Contains(p.body, "whole organization</td>") {
		t.Errorf("%s", p.body)
	}
	if p := v.get("/keys?profile=-"); len(p.keys()) > 0 {
		t.Errorf("among those of the whole organization are %v", p.keys())
	}
}

// TestKeyInTheSearchWhenSignedOut: whoever pastes a key there when their session is over leads it into no address.
func TestKeyInTheSearchWhenSignedOut(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	plaintext := plaintexts.FindString(ada.post("/keys/new", ada.form("shop", nil)).body)
	p := w.visitor(t).get("/keys?q=" + plaintext + "&sort=name")
	if p.status != http.StatusOK || strings.Contains(p.path+p.body, plaintext) || !strings.Contains(p.path, "sort%3Dname") {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
}
