// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
)

var read, all = []string{"get", "list"}, []string{"get", "list", "create", "delete"}

// once finds the id of the form on a page.
func (p page) once(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(p.body)
	if found == nil {
		t.Fatalf("no form at %s:\n%s", p.path, p.body)
	}
	return found[1]
}

// shows checks what is on a page, and what is not.
func (p page) shows(t *testing.T, status int, texts, not []string) {
	t.Helper()
	if p.status != status {
		t.Errorf("%s: %d, want %d", p.path, p.status, status)
	}
	for _, text := range texts {
		if !strings.Contains(p.body, text) {
			t.Errorf("%s does not show %q", p.path, text)
		}
	}
	for _, text := range append(not, "⟦", "&lt;no value", "<no value") {
		if strings.Contains(p.body, text) {
			t.Errorf("%s shows %q", p.path, text)
		}
	}
	if t.Failed() {
		t.Logf("%d at %s\n%s", p.status, p.path, p.body)
	}
}

// TestPosts: the list with its filters and pages, one post, and what may be done to it by whom.
func TestPosts(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	editor := w.member(t, acme, "editor", all, "posts")
	viewer := w.member(t, acme, "viewer", read, "posts")
	nobody := w.member(t, acme, "nobody", nil)
	stranger := w.member(t, globex, "stranger", all, "posts")

	editor.get("/posts").shows(t, http.StatusOK, []string{"No posts yet"}, []string{"<table"})
	nobody.get("/posts").shows(t, http.StatusForbidden, []string{"You may not list posts.letmepost.dev in " + acme}, nil)

	a, b := w.account(t, acme, "", "alice"), w.account(t, acme, "", "bob")
	queued := w.post(t, acme, a, "<b>first</b> thing")
	rejected := w.tried(t, acme, b, "second thing", platform.Failure{
		Code: platform.CodeRejected, Message: "It says <i>no</i>.", Remediation: "Ask it.",
		PlatformResponse: json.RawMessage(`{"error":"<u>InvalidRequest</u>"}`),
	})
	t.Run("list", func(t *testing.T) {
		viewer.get("/posts").shows(t, http.StatusOK, []string{"&lt;b&gt;first&lt;/b&gt; thing", "second thing", "alice", "bob"}, []string{"<b>first"})
		for _, tc := range []struct{ reason, query, has, hasNot string }{
			{"status", "status=queued", "first&lt;", "second"},
			{"two statuses", "status=queued&status=rejected", "second", "No post"},
			{"the chosen ones stay chosen", "status=rejected&platform=bluesky", `value="rejected" checked`, `value="queued" checked`},
			{"a status that is none counts for nothing", "status=x", "first&lt;", "⟦"},
			{"nor does it beside one that is", "status=x&status=queued", "first&lt;", "second"},
			{"platform", "platform=linkedin", "No post fits", "first&lt;"},
			{"two platforms", "platform=linkedin&platform=bluesky", "second", "No post"},
			{"account", "account=" + b.ID, "second", "first&lt;"},
			{"two accounts", "account=" + a.ID + "," + b.ID, "first&lt;", "No post"},
			{"profile", "profile=b0000000-0000-4000-8000-000000000001", "No post fits", "first&lt;"},
			{"text", "q=FIRST", "first&lt;", "second"},
			{"error code", "errorCode=" + platform.CodeRejected, "second", "first&lt;"},
			{"error codes, parted by a comma", "errorCode=x,+" + platform.CodeRejected, "second", "first&lt;"},
			{"more values than are taken", "errorCode=" + strings.Repeat("x%2C", 3000) + "&errorCode=x", "No post fits", strings.Repeat("x, x", 2)},
			{"a code that no post has", "errorCode=%00%ff<i>", "No post fits", "<i>"},
			{"days", "from=2001-01-01&until=2001-01-02", "No post fits", "first&lt;"},
			{"today", "from=" + rejected.CreatedAt.UTC().Format("2006-01-02"), "second", "No post"},
			{"a cursor that is none", "after=%00x", "first&lt;", "⟦"},
		} {
			p := viewer.get("/posts?" + tc.query)
			p.shows(t, http.StatusOK, []string{tc.has}, []string{tc.hasNot})
			if t.Failed() {
				t.Fatal(tc.reason)
			}
		}
		stranger.get("/posts").shows(t, http.StatusOK, []string{"No posts yet"}, []string{"thing"})
	})
	t.Run("one", func(t *testing.T) {
		viewer.get("/posts/"+queued.ID).shows(t, http.StatusOK,
			[]string{"&lt;b&gt;first&lt;/b&gt;", "delete posts.letmepost.dev", "disabled", "gone-key"}, nil)
		editor.get("/posts/"+rejected.ID).shows(t, http.StatusOK,
			[]string{"It says &lt;i&gt;no&lt;/i&gt;.", "Ask it.", ">Try again<", `name="once"`, "What the platform said", "InvalidRequest"}, []string{"disabled"})
		nobody.get("/posts/"+queued.ID).shows(t, http.StatusForbidden, nil, []string{"first"})
		stranger.get("/posts/"+queued.ID).shows(t, http.StatusNotFound, nil, []string{"first"})
		editor.get("/posts/nowhere").shows(t, http.StatusNotFound, nil, nil)
	})
	status := func(id string) store.Status {
		p, err := w.reaching(t, acme).Post(t.Context(), id)
		check(t, err)
		return p.Status
	}
	t.Run("cancel", func(t *testing.T) {
		once := editor.get("/posts/" + queued.ID).once(t)
		form := url.Values{"once": {once}}
		viewer.post("/posts/"+queued.ID+"/cancel", form).shows(t, http.StatusForbidden, []string{"delete posts"}, nil)
		stranger.post("/posts/"+queued.ID+"/cancel", form).shows(t, http.StatusNotFound, nil, nil)
		editor.post("/posts/"+queued.ID+"/cancel", nil).shows(t, http.StatusBadRequest, nil, nil)
		if got := status(queued.ID); got != store.Queued {
			t.Fatalf("it is %s", got)
		}
		editor.post("/posts/"+queued.ID+"/cancel", form).shows(t, http.StatusOK, []string{"canceled", ">Try again<"}, nil)
		if got := status(queued.ID); got != store.Canceled {
			t.Errorf("it is %s", got)
		}
	})
	t.Run("retry", func(t *testing.T) {
		p := editor.get("/posts/" + rejected.ID)
		form := url.Values{"once": {p.once(t)}}
		viewer.post("/posts/"+rejected.ID+"/retry", form).shows(t, http.StatusForbidden, []string{"create posts"}, nil)
		for at, want := range map[string]int{
			"soon": http.StatusUnprocessableEntity, "2001-01-01T00:00": http.StatusUnprocessableEntity,
		} {
			odd := url.Values{"once": {"at " + at}, "at": {at}}
			editor.post("/posts/"+rejected.ID+"/retry", odd).shows(t, want, []string{"Nothing was changed"}, nil)
		}
		tomorrow := time.Now().UTC().AddDate(0, 0, 1).Truncate(time.Minute)
		form.Set("at", tomorrow.Format("2006-01-02T15:04"))
		editor.post("/posts/"+rejected.ID+"/retry", form).shows(t, http.StatusOK, []string{"queued"}, []string{"could not be done"})
		if p, err := w.reaching(t, acme).Post(t.Context(), rejected.ID); err != nil || !p.ScheduledAt.Equal(tomorrow) {
			t.Errorf("it is queued for %v, want %v; %v", p.ScheduledAt, tomorrow, err)
		}
		editor.post("/posts/"+rejected.ID+"/retry", form).shows(t, http.StatusOK, nil, []string{"could not be done"}) // sent twice
		again := url.Values{"once": {"another"}}
		editor.post("/posts/"+rejected.ID+"/retry", again).shows(t, http.StatusConflict, []string{"Only posts that are failed"}, nil)
		if got := status(rejected.ID); got != store.Queued {
			t.Errorf("it is %s", got)
		}
		editor.get("/posts/"+rejected.ID).shows(t, http.StatusOK, []string{"system:serviceaccount:" + acme + ":editor, at the dashboard"}, nil)
	})
	t.Run("pages", func(t *testing.T) {
		for range 60 {
			w.post(t, acme, a, "one of many")
		}
		first := viewer.get("/posts")
		next := regexp.MustCompile(`href="/dashboard(/posts\?after=[^"]+)"`).FindStringSubmatch(first.body)
		if next == nil || strings.Count(first.body, "<tr>") != 51 {
			t.Fatalf("%d rows, next %v", strings.Count(first.body, "<tr>"), next)
		}
		viewer.get(next[1]).shows(t, http.StatusOK, []string{"second thing", "Newest first"}, []string{">Older<"})
	})
}
