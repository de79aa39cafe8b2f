// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// TestProfiles: made with the apiserver's words at the fields, listed, shown, and deleted with what hangs on it first.
func TestProfiles(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	owner := w.signedIn(t, w.credential(t, acme, "owner", "letmepost-apikey-viewer", "letmepost-profile-editor"), acme)
	w.right(t, acme, "owner", all, "posts", "accounts", "media")
	viewer := w.member(t, acme, "viewer", nil)

	owner.get("/profiles").shows(t, http.StatusOK, []string{"No profiles yet", "New profile"}, nil)
	viewer.get("/profiles").shows(t, http.StatusOK, []string{"No profiles yet"}, []string{"New profile"})
	viewer.get("/profiles/-/new").shows(t, http.StatusForbidden, []string{"create profiles"}, nil)

	profiles := func() []*caller.Profile {
		return w.index.Profiles(&caller.Caller{Organization: caller.Organization{ID: w.idOf(t, acme), Name: acme}})
	}
	t.Run("create", func(t *testing.T) {
		for _, tc := range []struct {
			reason string
			form   url.Values
			says   []string
		}{
			{"nothing", nil, []string{"A profile needs a name."}},
			{"no name for a resource", url.Values{"name": {"Shop <b>"}, "description": {"kept <i>"}}, []string{`id="name-wrong"`, "RFC 1123", "Shop &lt;b&gt;", "kept &lt;i&gt;"}},
			{"too long", url.Values{"name": {"a"}, "displayName": {strings.Repeat("x", 121)}}, []string{`id="displayName-wrong"`, "may not be"}},
			{"no duration", url.Values{"name": {"a"}, "maxKeyLifetime": {"a month"}}, []string{"This is no duration", `value="a month"`}},
			{"too short a window", url.Values{"name": {"a"}, "requests": {"5"}, "window": {"1ms"}}, []string{`id="window-wrong"`, "must be between 1s and 24h"}},
			{"no number", url.Values{"name": {"a"}, "requests": {"many"}, "window": {"1m"}}, []string{"This is no whole number"}},
			{"too few requests", url.Values{"name": {"a"}, "requests": {"0"}, "window": {"1m"}}, []string{`id="requests-wrong"`, "greater than or equal to 1"}},
		} {
			owner.post("/profiles/-/new", tc.form).shows(t, http.StatusUnprocessableEntity, tc.says, []string{"Shop <b>", "kept <i>"})
			if t.Failed() {
				t.Fatal(tc.reason)
			}
		}
		form := url.Values{"name": {" shop "}, "displayName": {"The <b>Shop</b>"}, "maxKeyLifetime": {"720h"}, "requests": {"600"}, "window": {"1m"}}
		viewer.post("/profiles/-/new", form).shows(t, http.StatusForbidden, []string{"cannot create resource"}, nil)
		form.Set("check", "1")
		owner.post("/profiles/-/new", form).shows(t, http.StatusOK, []string{"The cluster would take this profile"}, nil)
		var made v1alpha1.Profile
		if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: acme, Name: "shop"}, &made); !apierrors.IsNotFound(err) {
			t.Fatalf("it was only to be checked: %v", err)
		}
		form.Del("check")
		p := owner.post("/profiles/-/new", form)
		p.shows(t, http.StatusOK, []string{"The &lt;b&gt;Shop&lt;/b&gt;", ">720h<", ">600 requests in 1m<", "Delete…"}, []string{"<b>Shop"})
		if p.path != "/dashboard/profiles/shop" {
			t.Errorf("at %s", p.path)
		}
		owner.post("/profiles/-/new", form).shows(t, http.StatusUnprocessableEntity, []string{"already exists"}, nil)
		eventually(t, "the index has the profile", func() bool { return len(profiles()) == 1 })
	})
	check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "pinned"},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, ProfileRef: &v1alpha1.ProfileReference{Name: "shop"}},
	}))
	a := w.account(t, acme, profiles()[0].ID, "alice")
	w.post(t, acme, a, "one")
	w.post(t, acme, a, "two")
	t.Run("list", func(t *testing.T) {
		pinned := regexp.MustCompile(`<td class="number"[^>]*>1</td>`)
		eventually(t, "the list has the pinned key", func() bool { return pinned.MatchString(viewer.get("/profiles").body) })
		viewer.get("/profiles?q=SHOP").shows(t, http.StatusOK, []string{"The &lt;b&gt;Shop"}, nil)
		viewer.get("/profiles?q=nothing").shows(t, http.StatusOK, []string{"No profile has this"}, []string{"The &lt;b&gt;Shop"})
		viewer.get("/profiles/shop").shows(t, http.StatusOK, []string{"You may not see them."}, []string{"Delete…"})
		viewer.get("/profiles/nowhere").shows(t, http.StatusNotFound, nil, nil)
	})
	t.Run("delete", func(t *testing.T) {
		counted := regexp.MustCompile(`(?s)Keys that are pinned to it: 1<.*<strong>1</strong> They stay connected.*<strong>2</strong> They go out.*<strong>0</strong> They stay, for`)
		var p page
		eventually(t, "the Profile counts its keys", func() bool {
			p = owner.get("/profiles/shop/delete")
			return counted.MatchString(p.body)
		})
		form := url.Values{"uid": {regexp.MustCompile(`name="uid" value="([^"]+)"`).FindStringSubmatch(p.body)[1]}}
		viewer.post("/profiles/shop/delete", form).shows(t, http.StatusForbidden, []string{"cannot delete resource"}, nil)
		owner.post("/profiles/shop/delete", nil).shows(t, http.StatusBadRequest, nil, nil)
		owner.post("/profiles/shop/delete", url.Values{"uid": {"another"}}).shows(t, http.StatusConflict, []string{"Somebody was faster"}, nil)
		owner.post("/profiles/shop/delete", form).shows(t, http.StatusOK, []string{"The profile is deleted."}, nil)
		eventually(t, "the index has heard of it", func() bool { return len(profiles()) == 0 })
	})
}
