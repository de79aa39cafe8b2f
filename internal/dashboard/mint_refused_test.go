// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// manyOwn are n scopes of somebody's own, as they are typed.
func manyOwn(n int) (typed string) {
	for i := range n {
		typed += fmt.Sprintf(" a.dev:x%d", i)
	}
	return typed
}

// TestMintWrong: what is wrong is said where it is, by the apiserver where it knows better, and what was typed stays.
func TestMintWrong(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	v := w.minter(t, acme)
	const hostile = `"><script>alert(1)</script>`
	long := strings.Repeat("x", 60<<10)
	for _, tc := range []struct {
		reason  string
		changes url.Values
		field   string // that it is said of
		says    string
	}{
		{"no name", url.Values{"name": {" "}}, "name", "Give it a name"},
		{"a name that is none, in the apiserver's words", url.Values{"name": {"My Shop"}}, "name", "RFC 1123 subdomain"},
		{"HTML as a name", url.Values{"name": {hostile}}, "name", "RFC 1123 subdomain"},
		{"a path as a name", url.Values{"name": {"../shop"}}, "name", ""},
		{"a long name", url.Values{"name": {long}}, "name", "at most 253 characters"},
		{"no environment", url.Values{"environment": nil}, "environment", "Choose one"},
		{"an environment that is none", url.Values{"environment": {"prod"}}, "environment", "Unsupported value"},
		{"HTML as an environment", url.Values{"environment": {"<b>"}}, "environment", "Unsupported value"},
		{"a long environment", url.Values{"environment": {long}}, "environment", "at most"},
		{"no scopes are not all scopes", url.Values{"scope": nil}, "scope", "Tick at least one"},
		{"a scope that is none", url.Values{"scope": {"posts:delete"}}, "scope", "must be one of posts:read"},
		{"HTML as a scope", url.Values{"scope": {"posts:read", "<b>"}}, "scope", "must be one of posts:read"},
		{"a scope of one's own that is none", url.Values{"own": {"billing:read"}}, "scope", "such as billing.example.com:read"},
		{"HTML as one", url.Values{"own": {hostile}}, "scope", "such as billing.example.com:read"},
		{"one of a domain that is not one's own", url.Values{"own": {"api.letmepost.dev:read"}}, "scope", "reserved"},
		{"too many of them", url.Values{"own": {manyOwn(40)}}, "scope", "at most 32 items"},
		{"long ones", url.Values{"own": {long}}, "own", "at most 4096"},
		{"a claim without a text", url.Values{"claims": {"plan"}}, "claims", "such as plan=gold"},
		{"a claim with an empty text", url.Values{"claims": {"plan="}}, "claims", "at least 1 chars long"},
		{"a claim twice", url.Values{"claims": {"plan=gold\nplan=free"}}, "claims", "each name once"},
		{"a claim's name that is none", url.Values{"claims": {"My Plan=gold"}}, "claims", "lower case letters"},
		{"HTML as a claim", url.Values{"claims": {"plan=" + hostile}}, "claims", "must be of letters"},
		{"long claims", url.Values{"claims": {long}}, "claims", "at most 4096"},
		{"as many characters as may be, of which each is two bytes", url.Values{"claims": {"plan=" + strings.Repeat("ä", 4091)}}, "claims", "not be more than 128"},
		{"as many lines as may be", url.Values{"claims": {strings.Repeat("a\r\n", 2047) + "ab"}}, "claims", "such as plan=gold"},
		{"one character more", url.Values{"claims": {"plan=" + strings.Repeat("ä", 4092)}}, "claims", "at most 4096 characters"},
		{"a long scope", url.Values{"scope": {long}}, "scope", "no such scope"},
		{"a thousand scopes", url.Values{"scope": strings.Split(strings.Repeat("posts:read,", 1000), ",")}, "scope", "no such scope"},
		{"a Profile that is none", url.Values{"profile": {"nobody"}}, "profile", "no such Profile"},
		{"HTML as a Profile", url.Values{"profile": {hostile}}, "profile", "no such Profile"},
		{"a long Profile", url.Values{"profile": {long}}, "profile", "at most"},
		{"no expiry", url.Values{"expiry": nil}, "expiry", "Choose how long"},
		{"an expiry that is none", url.Values{"expiry": {"91"}}, "expiry", "Choose how long"},
		{"the old key's, without one", url.Values{"expiry": {"same"}}, "expiry", "Choose how long"},
		{"a long expiry", url.Values{"expiry": {long}}, "expiry", "at most"},
		{"a day that is over", url.Values{"expiry": {"date"}, "date": {"2026-01-01"}}, "date", "is over"},
		{"a day that is none", url.Values{"expiry": {"date"}, "date": {"2027-02-30"}}, "date", "Give a day"},
		{"no day", url.Values{"expiry": {"date"}}, "date", "Give a day"},
		{"the last day of all, in the apiserver's words", url.Values{"expiry": {"date"}, "date": {"9999-12-31"}}, "expiry", ""},
		{"a long day", url.Values{"expiry": {"date"}, "date": {long}}, "date", ""},
		{"requests that are no number", url.Values{"requests": {"many"}}, "requests", "whole number"},
		{"half a request", url.Values{"requests": {"1.5"}}, "requests", "whole number"},
		{"no request at all", url.Values{"requests": {"0"}}, "requests", "greater than or equal to 1"},
		{"fewer than none", url.Values{"requests": {"-1"}}, "requests", "greater than or equal to 1"},
		{"too many requests", url.Values{"requests": {"1000001"}}, "requests", "less than or equal to 1000000"},
		{"more than are numbers", url.Values{"requests": {"99999999999999"}}, "requests", "whole number"},
		{"requests without a window", url.Values{"requests": {"5"}, "window": nil}, "window", "Give a time"},
		{"a window that is none", url.Values{"requests": {"5"}, "window": {"soon"}}, "window", "Give a time"},
		{"a short window", url.Values{"requests": {"5"}, "window": {"10ms"}}, "window", "between 1s and 24h"},
		{"a long window", url.Values{"requests": {"5"}, "window": {"25h"}}, "window", "between 1s and 24h"},
		{"a negative window", url.Values{"requests": {"5"}, "window": {"-1m"}}, "window", ""},
		{"a window of text", url.Values{"requests": {"5"}, "window": {long}}, "window", "at most"},
		{"no way", url.Values{"way": nil}, "way", "Choose how"},
		{"a way that is none", url.Values{"way": {"<b>"}}, "way", "Choose how"},
		{"a Secret's name that is none", url.Values{"way": {"cluster"}, "secret": {"My Secret"}}, "secret", "must be the name of a Secret"},
		{"a long Secret's name", url.Values{"way": {"cluster"}, "secret": {long}}, "secret", "at most"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			form := v.form("kept", tc.changes)
			for _, do := range []string{"mint", "yaml"} {
				form.Set("do", do)
				p := v.post("/keys/-/new", form)
				said := regexp.MustCompile(`<p class="wrong" id="` + tc.field + `-wrong">(.+?)</p>`).FindStringSubmatch(p.body)
				if p.status != http.StatusUnprocessableEntity || said == nil || !strings.Contains(said[1], tc.says) {
					t.Errorf("%s: %d, %q, want %q at %s", do, p.status, said, tc.says, tc.field)
				}
				if strings.Contains(p.body, hostile) || strings.Contains(p.body, "<b>") || len(p.body) > 40<<10 {
					t.Errorf("%s: a page of %d bytes, with what was sent in it:\n%.3000s", do, len(p.body), p.body)
				}
				if tc.field != "name" && !strings.Contains(p.body, `value="kept"`) {
					t.Errorf("%s: what was typed is gone", do)
				}
			}
		})
	}
	if p := v.post("/keys/-/new", v.form("old", url.Values{"form": {"x"}})); p.status != http.StatusConflict ||
		!strings.Contains(p.body, "open for too long") || !formIDs.MatchString(p.body) {
		t.Errorf("a form without its id: %d\n%s", p.status, p.body)
	}
	if p := v.post("/keys/-/new", url.Values{"name": {strings.Repeat("x", 65<<10)}}); p.status != http.StatusBadRequest {
		t.Errorf("a form of 65 KB: %d", p.status)
	}
	if n := w.keys(t, acme); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// TestMintByThoseWhoMayNot: the apiserver decides, and says why.
func TestMintByThoseWhoMayNot(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"live-keys", "secret-names"} {
		file := kube.Path("config/policies/" + name + ".yaml")
		check(t, kube.InstallManifests(t.Context(), w.cluster.AdminConfig(), file))
		objects, err := kube.LoadManifests(file)
		check(t, err)
		t.Cleanup(func() {
			for _, o := range objects {
				check(t, w.admin.Delete(context.WithoutCancel(t.Context()), o))
			}
		})
	}
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	token := w.credential(t, acme, "tester", "letmepost-apikey-viewer", "letmepost-apikey-test-minter")
	tester := w.signedIn(t, token, acme)
	var p page
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("shown last: %d\n%s", p.status, p.body)
		}
	})
	// It may be sent many times; and by its name, only one of the policies has something against it: the apiserver tells
	// of one denial alone.
	form := tester.form("lmp-probe", url.Values{"do": {"yaml"}})
	eventually(t, "the policy of live keys is at work", func() bool {
		p = tester.post("/keys/-/new", form)
		return strings.Contains(p.body, "may not create live keys")
	})
	before := w.keys(t, acme)
	if p := tester.post("/keys/-/new", tester.form("live", nil)); p.status != http.StatusForbidden || !strings.Contains(p.body, "letmepost-apikey-minter") {
		t.Errorf("a live key by who may mint for tests alone: %d\n%s", p.status, p.body)
	}
	p = tester.post("/keys/-/new", tester.form("ours", url.Values{"environment": {"test"}}))
	if p.status != http.StatusCreated || !strings.HasPrefix(plaintexts.FindString(p.body), "lmp_test_") {
		t.Errorf("a test key: %d\n%s", p.status, p.body)
	}
	form = tester.form("named", url.Values{"environment": {"test"}, "way": {"cluster"}, "secret": {"mine"}, "do": {"yaml"}})
	eventually(t, "the policy of names is at work", func() bool {
		p = tester.post("/keys/-/new", form)
		return strings.Contains(p.body, "name that begins with lmp-")
	})
	if w.keys(t, acme) != before+1 {
		t.Error("other keys were made")
	}

	viewer := w.signedIn(t, w.credential(t, globex, "viewer", "letmepost-apikey-viewer"), globex)
	if p := viewer.get("/keys/-/new"); !strings.Contains(p.body, "You may not mint here") {
		t.Errorf("%s", p.body)
	}
	for _, do := range []string{"mint", "yaml"} {
		p := viewer.post("/keys/-/new", viewer.form("mine", url.Values{"do": {do}}))
		if p.status != http.StatusForbidden || !strings.Contains(p.body, "cannot create resource") || plaintexts.MatchString(p.body) {
			t.Errorf("%s by a viewer: %d\n%s", do, p.status, p.body)
		}
	}
	if p := viewer.post("/keys/x/have-it", url.Values{"uid": {"x"}}); p.status != http.StatusForbidden {
		t.Errorf("a viewer's say: %d", p.status)
	}
	// Who is of another organization mints in their own, whatever they send.
	if p := viewer.post("/keys/-/new", viewer.form("theirs", url.Values{"namespace": {acme}})); p.status != http.StatusForbidden ||
		w.keys(t, globex) != 0 || w.keys(t, acme) != before+1 {
		t.Errorf("%d\n%s", p.status, p.body)
	}
}
