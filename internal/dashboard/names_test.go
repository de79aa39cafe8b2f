// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// TestNamesThatNothingHas goes through all screens whose address has a name in it. What is there may be anything: it is
// nothing that there is, and no failure of ours. The log has none of it, as it may be a key.
func TestNamesThatNothingHas(t *testing.T) {
	var log testlog.Buffer
	w := newWorld(t, func(c *dashboard.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	acme := w.cluster.Namespace(t)
	owner := w.owner(t, acme)
	form := url.Values{
		"once": {newID()}, "uid": {newID()}, "name": {"other"}, "environment": {"live"}, "way": {"once"}, "confirm": {"yes"},
		"form": {owner.openForm("/keys/-/new")}, "scope": {"posts:read"}, "expiry": {"90"}, "method": {"app_password"},
		"organization": {owner.organization},
	}
	parameter, tried := regexp.MustCompile(`\{[a-z]+\}`), 0
	for _, s := range dashboard.Screens(w.dashboard) {
		if !parameter.MatchString(s.Path) {
			continue
		}
		for _, name := range []string{
			"missing", "marked%2Fname", "marked%25", "..%2F..%2Fmarked", "marked%00", "marked%FF", "marked%0Aname", "Marked_name",
			"-marked", strings.Repeat("marked", 100),
		} {
			tried++
			path := parameter.ReplaceAllLiteralString(s.Path, name)
			p := owner.do(s.Method, path, form.Encode())
			if p.status < 400 || p.status >= 500 {
				t.Errorf("%s %s: %d at %s", s.Method, cutAt(path), p.status, cutAt(p.path))
			}
			if s.OfPage && p.status == http.StatusConflict {
				t.Errorf("%s: it was refused before the name was looked at", cutAt(path))
			}
			if strings.Contains(p.body, `&#34;&#34;`) {
				t.Errorf("%s %s: it says that nothing is called \"\"\n%s", s.Method, cutAt(path), p.body)
			}
			// Of a platform, people are told which there are.
			if s.Method == http.MethodGet && p.status != http.StatusNotFound && !strings.Contains(s.Path, "{platform}") {
				t.Errorf("%s: %d at %s", cutAt(path), p.status, cutAt(p.path))
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d were tried", tried)
	}
	if text := log.String(); strings.Contains(text, "A page failed") || strings.Contains(text, "arked") {
		t.Errorf("the log has\n%s", text)
	}
}

// TestExcerpts: whoever sees less than there is of a text is shown that.
func TestExcerpts(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		" two\n lines ":                    "two lines",
		strings.Repeat("x", 90):            strings.Repeat("x", 90),
		strings.Repeat("x", 91):            strings.Repeat("x", 90) + "…",
		strings.Repeat("क्ष", 40):          strings.Repeat("क्ष", 30) + "…",
		"begin" + strings.Repeat(" ", 500): "begin",
		"begin" + strings.Repeat("\n", 400) + ".": "begin…",
	} {
		if got := dashboard.ExcerptOf(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestHaveItOfAnother: who says that they have a key says it of that one, and of none that has its name by now.
func TestHaveItOfAnother(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	owner := w.owner(t, acme)
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: acme, Name: "website",
			Labels: map[string]string{v1alpha1.LabelShownTo: dashboard.ShownTo("system:serviceaccount:" + acme + ":owner")},
		},
		Spec: v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:1]},
	}
	check(t, w.admin.Create(t.Context(), k))
	for _, said := range []struct {
		of     string
		status int
	}{
		{newID(), http.StatusConflict}, {"", http.StatusBadRequest}, {string(k.UID), http.StatusOK},
	} {
		if p := owner.post("/keys/website/have-it", url.Values{"uid": {said.of}}); p.status != said.status {
			t.Errorf("of %q: %d at %s", said.of, p.status, p.path)
		}
		_, labeled := w.keyOf(t, acme, "website").Labels[v1alpha1.LabelShownTo]
		if had := said.status == http.StatusOK; labeled == had {
			t.Errorf("of %q: the label is there: %v", said.of, labeled)
		}
	}
}
