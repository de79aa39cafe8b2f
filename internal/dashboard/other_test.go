// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
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
		form := map[string]url.Values{"/keys/shop/rotate": rotation, "/keys/-/new": minting, "/keys/-/revoke": refs(k)}[path]
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
	const refused, untold = "Another organization is open", "or it is in another organization"
	for _, page := range []struct {
		path    string
		status  int    // without an organization in the address
		says    string // likewise
		untruth string // what there would be to say of a key that is not there
	}{
		{"/keys/-/revoke", http.StatusConflict, refused, "It is gone already"},
		{"/keys/-/revoked", http.StatusConflict, refused, "onfirmed"},
		{"/keys/shop/rotate", http.StatusNotFound, untold, "that is over"},
	} {
		query := refs(k)
		both.get(page.path+"?"+query.Encode()).shows(t, page.status, []string{page.says}, []string{page.untruth})
		for _, of := range []string{both.organization, "", "made-up"} { // both still has the page of acme
			query.Set("organization", of)
			both.get(page.path+"?"+query.Encode()).shows(t, http.StatusConflict, []string{refused}, []string{page.untruth})
		}
	}
	var keys v1alpha1.ApiKeyList
	check(t, w.admin.List(t.Context(), &keys, client.InNamespace(globex)))
	if len(keys.Items) > 0 {
		t.Errorf("there are keys: %v", keys.Items)
	}
}

// ofOneOrganization are addresses that would be told falsely where another organization is open.
var ofOneOrganization = regexp.MustCompile(
	`"(?:\d+; url=)?/dashboard(/keys/[^"]+/(?:rotate|revoked?)\?[^"]*|/keys/[^"]+/rotate)"`,
)

// TestAddressesSayWhose: whatever leads to the revocation or the rotation of a key says of which organization that is.
func TestAddressesSayWhose(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	w.opens(t, plaintexts.FindString(ada.post("/keys/-/new", ada.form("shop", nil)).body))
	form := ada.rotationForm("shop", nil)
	const revoke, rotate = "/keys/-/revoke", "/keys/shop/rotate"
	for _, page := range []struct {
		what    string
		page    page
		leadsTo []string
	}{
		{"the first step", ada.get(ada.rotation("shop")), []string{rotate}},
		{"the new key", ada.post(rotate, form), []string{rotate}},
		{"its form once more", ada.post(rotate, form), []string{revoke, rotate}},
		{"the second step", ada.get(ada.rotation("shop")), []string{revoke, rotate, rotate}},
		{"where it is", ada.get("/keys/shop-2/secret?rotates=shop"), []string{rotate}},
		{"the key", ada.get("/keys/shop"), []string{rotate, revoke}},
		{"the list, and what may be lost", ada.get("/keys"), []string{revoke, revoke}},
		{"the form, and what may be lost", ada.get("/keys/-/new"), []string{revoke, revoke}},
	} {
		var leadsTo []string
		for _, m := range ofOneOrganization.FindAllStringSubmatch(page.page.body, -1) {
			to, err := url.Parse(html.UnescapeString(m[1]))
			check(t, err)
			if leadsTo = append(leadsTo, to.Path); to.Query().Get("organization") != ada.organization {
				t.Errorf("%s leads to %s", page.what, to)
			}
		}
		slices.Sort(leadsTo)
		slices.Sort(page.leadsTo)
		if !slices.Equal(leadsTo, page.leadsTo) {
			t.Errorf("%s leads to %q, want %q\n%s", page.what, leadsTo, page.leadsTo, page.page.body)
		}
	}
	// What is ticked in the list is sent as an address, too.
	if of := ada.get("/keys").fields().Get("organization"); of != ada.organization {
		t.Errorf("the list is of %q", of)
	}
}

// TestRotationOfAnother: a key that was made again under the name is another one, which may do more.
func TestRotationOfAnother(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	ada := w.minter(t, acme)
	ada.post("/keys/-/new", ada.form("shop", nil))
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
	plaintext := plaintexts.FindString(ada.post("/keys/-/new", ada.form("shop", nil)).body)
	p := w.visitor(t).get("/keys?q=" + plaintext + "&sort=name")
	if p.status != http.StatusOK || strings.Contains(p.path+p.body, plaintext) || !strings.Contains(p.path, "sort%3Dname") {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
}
