// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/connecting"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// TestConnect: by what is filled in, and in the browser, for the person who has begun and is still allowed to. What
// opens an account is on no page and in no log.
func TestConnect(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	editor := w.member(t, acme, "editor", all, "accounts")
	viewer := w.member(t, acme, "viewer", read, "accounts")
	other := w.member(t, acme, "other", all, "accounts")
	accounts := func() []store.Account {
		found, _, err := w.reaching(t, acme).Accounts(t.Context(), store.Page{Limit: 10})
		check(t, err)
		return found
	}
	const form, secret = "/accounts/-/connect/bluesky", "abcd-efgh-ijkl-mnop"
	editor.get("/accounts").shows(t, http.StatusOK, []string{`href="/dashboard/accounts/-/connect/bluesky"`, "Connect Bluesky"}, nil)
	viewer.get("/accounts").shows(t, http.StatusOK, nil, []string{"Connect Bluesky"})
	viewer.get(form).shows(t, http.StatusForbidden, []string{"create accounts.letmepost.dev"}, nil)
	editor.get("/accounts/-/connect/nowhere").shows(t, http.StatusUnprocessableEntity, []string{"no platform of this name"}, nil)

	t.Run("filled in", func(t *testing.T) {
		p := editor.get(form)
		typed := url.Values{"once": {p.once(t)}, "field.appPassword": {secret}}
		editor.post(form, typed).shows(t, http.StatusUnprocessableEntity, []string{"is missing."}, []string{secret})
		typed.Set("field.identifier", "al\x00ice.test")
		editor.post(form, typed).shows(t, http.StatusUnprocessableEntity, []string{"can&#39;t be shown"}, []string{secret})
		typed.Set("field.identifier", "alice.test")
		typed.Set("profile", "b0000000-0000-4000-8000-000000000001")
		editor.post(form, typed).shows(t, http.StatusUnprocessableEntity, []string{"no such profile", `value="alice.test"`}, []string{secret})
		if n := len(accounts()); n != 0 {
			t.Fatalf("%d accounts", n)
		}
		typed.Del("profile")
		viewer.post(form, typed).shows(t, http.StatusForbidden, nil, []string{secret})
		for range 2 { // sent twice, done once
			editor.post(form, typed).shows(t, http.StatusOK, []string{"The account is connected.", "alice.test"}, []string{secret})
		}
		if got := accounts(); len(got) != 1 || got[0].DisplayName != "alice.test" {
			t.Errorf("%+v", got)
		}
	})
	leave := func(v *visitor) string {
		p := v.post(form, url.Values{"once": {newID()}, "method": {"oauth"}})
		p.shows(t, http.StatusOK, []string{"Go to Bluesky", `href="https://platform.example?state=person.`}, nil)
		return regexp.MustCompile(`state=([^"&]+)"`).FindStringSubmatch(p.body)[1]
	}
	back := strings.TrimPrefix(connecting.PersonReturnsTo("bluesky"), dashboard.Base) + "?code="
	t.Run("in the browser", func(t *testing.T) {
		state := leave(editor)
		if !connecting.OfPerson(state) {
			t.Errorf("the API takes %s for a key's", state)
		}
		// Somebody else, who may do as much, does not get what she has begun; and then it is nobody's.
		other.get(back+"good&state="+state).shows(t, http.StatusUnprocessableEntity, []string{"No connection waits"}, nil)
		editor.get(back+"good&state="+state).shows(t, http.StatusUnprocessableEntity, []string{"No connection waits"}, nil)
		state = leave(editor)
		viewer.get(back+"good&state="+state).shows(t, http.StatusForbidden, nil, nil)
		if p := w.visitor(t).get(back + "good&state=" + state); !strings.HasPrefix(p.path, "/dashboard/sign-in") {
			t.Errorf("signed out, and at %s", p.path)
		}
		editor.get(back+"bad&state="+state).shows(t, http.StatusUnprocessableEntity, []string{"The person has &lt;b&gt;refused"}, nil)
		if n := len(accounts()); n != 1 {
			t.Fatalf("%d accounts", n)
		}
		editor.get(back+"good&state="+leave(editor)).shows(t, http.StatusOK, []string{"The account is connected.", "browsed"}, []string{"a-token"})
		if n := len(accounts()); n != 2 {
			t.Errorf("%d accounts", n)
		}
	})
	t.Run("with a warning", func(t *testing.T) {
		says := []string{"is connected. Its platform has something to say", "This opens &lt;b&gt;more&lt;/b&gt; than it has to.", "test.warned"}
		typed := url.Values{"once": {newID()}, "field.identifier": {"warned.test"}, "field.appPassword": {secret}}
		editor.post(form, typed).shows(t, http.StatusOK, says, []string{secret})
		editor.post(form, typed).shows(t, http.StatusOK, []string{"The account is connected.", "warned.test"}, []string{"test.warned"})
		editor.get(back+"warned&state="+leave(editor)).shows(t, http.StatusOK, says, []string{"a-token"})
		if n := len(accounts()); n != 3 {
			t.Errorf("%d accounts", n)
		}
	})
	if log := w.log.read(t); strings.Contains(log, secret) || strings.Contains(log, "a-token") {
		t.Error("what opens an account is in the log")
	}
}
