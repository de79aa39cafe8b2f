// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
	"github.com/letmepost/letmepost-operator/internal/publish"
)

// publish posts a text to an account at once.
func (f *fixture) publish(t *testing.T, key, account, text string) batch {
	t.Helper()
	return ok[batch](t, f, publication(key, targetOf(account, ""), `,"text":"`+text+`"`))
}

func (f *fixture) getPost(t *testing.T, key, id string) postDetail {
	t.Helper()
	return ok[postDetail](t, f, sent{method: http.MethodGet, target: "/v1/posts/" + id, key: key})
}

func TestAPostIsPublishedAtOnce(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account, file := f.connect(t, key), f.upload(t, key)
	b := ok[batch](t, f, publication(key, targetOf(account, ""),
		`,"text":"hello","firstComment":{"text":"first"},"media":[{"kind":"image","mediaId":"`+file+`","altText":"a line"}]`))
	r := b.Results[0]
	switch {
	case b.Status != "published" || len(b.Results) != 1 || r.Status != "published" || r.AccountID != account || r.Platform != "bluesky":
		t.Errorf("%+v", b)
	case !strings.HasPrefix(r.CID, "sandbox_") || !strings.Contains(r.URI, r.CID) || !strings.HasPrefix(r.FirstCommentCID, "sandbox_"):
		t.Errorf("receipt %+v", r)
	case len(r.Warnings) != 1 || r.Warnings[0].Code != "sandbox.no_platform_write" || r.Error != nil:
		t.Errorf("warnings %+v, error %v", r.Warnings, r.Error)
	}
	p := f.getPost(t, key, r.PostID)
	if p.Status != "published" || p.PublishedAt == nil || *p.PlatformCID != r.CID || p.Text != "hello" || len(p.Attempts) != 1 || p.ScheduledAt != nil {
		t.Errorf("%+v", p)
	}
	if a := p.Attempts[0]; !a.Succeeded || a.AttemptNumber != 1 || a.FinishedAt == nil || a.ErrorCode != nil {
		t.Errorf("%+v", a)
	}
	if len(p.MediaRefs) != 1 || *p.MediaRefs[0].MediaID != file || p.MediaRefs[0].AltText != "a line" {
		t.Errorf("media %+v", p.MediaRefs)
	}
}

// Each magic text gives the result that the documentation says.
func TestMagicTexts(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	statuses := map[string]string{
		platform.CodeAuthFailed: "rejected", platform.CodeRejected: "rejected", platform.CodeUnavailable: "failed",
		platform.CodeRateLimited: "failed", platform.CodeInternalError: "failed",
	}
	// Where it is not known whether the platform has the post, the rule is the one that clients meet outside of the
	// sandbox.
	unknown := map[string]string{"sandbox:timeout": publish.RuleTimeout, "sandbox:outcome_unknown": publish.RuleOutcomeUnknown}
	for _, magic := range sandbox.Magic {
		if magic.Code == "" {
			continue // slow: package sandbox's tests wait for it, with a clock of their own
		}
		before := f.rows(t, "posts")
		s := publication(key, targetOf(account, ""), `,"text":"please `+magic.Text+` now"`)
		if magic.Code == platform.CodePreflightFailed {
			f.refused(t, magic.Text, s, http.StatusBadRequest, "sandbox.preflight_failed")
			if e := errorOf(t, f.send(s)); e.Code != magic.Code || e.Platform != "bluesky" || e.Remediation == "" {
				t.Errorf("%s: %+v", magic.Text, e)
			}
			if after := f.rows(t, "posts"); after != before {
				t.Errorf("%s: %d posts were stored", magic.Text, after-before)
			}
			continue
		}
		b := ok[batch](t, f, s)
		r := b.Results[0]
		if want := statuses[magic.Code]; want == "" || string(r.Status) != want || b.Status != "failed" || r.Error == nil || r.Error.Code != magic.Code || r.URI != "" {
			t.Errorf("%s: %+v, error %v", magic.Text, b, r.Error)
			continue
		}
		rule := unknown[magic.Text]
		if delete(unknown, magic.Text); rule != "" && r.Error.Rule != rule || rule == "" && !strings.HasPrefix(r.Error.Rule, "sandbox.") {
			t.Errorf("%s: rule %q, want %q", magic.Text, r.Error.Rule, rule)
		}
		p := f.getPost(t, key, r.PostID)
		told := p.Attempts[0]
		if told.ErrorRule == nil || *told.ErrorRule != r.Error.Rule {
			t.Errorf("%s: the attempt does not tell the rule: %+v", magic.Text, told)
		}
		if p.Status != r.Status || p.Error.Code != magic.Code || told.Succeeded || *told.ErrorCode != magic.Code || p.PublishedAt != nil {
			t.Errorf("%s: %+v", magic.Text, p)
		}
	}
	if len(unknown) > 0 {
		t.Errorf("no magic texts: %v", unknown)
	}
}

func TestSomeTargetsFail(t *testing.T) { onBoth(t, someTargetsFail) }

func someTargetsFail(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	a, b := f.connect(t, key), f.connectTo(t, key, "linkedin", "bob")
	got := ok[batch](t, f, publication(key, targetOf(a, `,"text":"sandbox:rejected"`)+","+targetOf(b, "")+`,{"platform":"linkedin","text":"own"}`, `,"text":"hello"`))
	var statuses []string
	for i, r := range got.Results {
		statuses = append(statuses, string(r.Platform)+" "+string(r.Status))
		if i > 0 && r.AccountID != b {
			t.Errorf("target %d went to %s", i, r.AccountID)
		}
	}
	want := []string{"bluesky rejected", "linkedin published", "linkedin published"}
	if diff := cmp.Diff(want, statuses); diff != "" || got.Status != "partial_failed" {
		t.Errorf("%s (-want +got):\n%s", got.Status, diff)
	}
	if p := f.getPost(t, key, got.Results[2].PostID); p.Text != "own" {
		t.Errorf("a target's own text: %q", p.Text)
	}
	before := f.rows(t, "posts")
	f.refused(t, "one target that can't be is none at all", publication(key, targetOf(b, "")+","+targetOf("none", ""), `,"text":"x"`), http.StatusNotFound, "")
	if after := f.rows(t, "posts"); after != before {
		t.Errorf("%d posts were stored", after-before)
	}
}

// What can be done to a post depends on its state.
func TestStatesOfAPost(t *testing.T) { onBoth(t, statesOfAPost) }

func statesOfAPost(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	inState := map[string]func() string{
		"queued":    func() string { return f.schedule(t, key, account, "") },
		"published": func() string { return f.publish(t, key, account, "x").Results[0].PostID },
		"rejected":  func() string { return f.publish(t, key, account, "sandbox:rejected").Results[0].PostID },
		"failed":    func() string { return f.publish(t, key, account, "sandbox:unavailable").Results[0].PostID },
		"canceled": func() string {
			id := f.schedule(t, key, account, "")
			checkStatus(t, "cancel", f.do(http.MethodDelete, "/v1/posts/"+id, key), http.StatusOK)
			return id
		},
		"disconnected": func() string {
			gone := f.connect(t, key)
			id := f.schedule(t, key, gone, "")
			checkStatus(t, "disconnect", f.do(http.MethodDelete, "/v1/accounts/"+gone, key), http.StatusOK)
			return id
		},
	}
	for _, c := range []struct {
		method, more, body, rule string
		allowed                  []string
	}{
		{http.MethodPatch, "", `{"text":"other"}`, "post.status", []string{"queued"}},
		{http.MethodPatch, "", `{"scheduledAt":"` + later + `"}`, "post.status", []string{"queued"}},
		{http.MethodDelete, "", "", "post.status", []string{"queued"}},
		{http.MethodPost, "/retry", "", "post.retry.status", []string{"failed", "rejected", "canceled"}},
		{http.MethodPost, "/retry", `{"scheduledAt":"` + later + `"}`, "post.retry.status", []string{"failed", "rejected", "canceled"}},
	} {
		for state, made := range inState {
			id := made()
			before := f.get(t, "/v1/posts/"+id, key)
			s := sent{method: c.method, target: "/v1/posts/" + id + c.more, key: key, body: c.body}
			if slices.Contains(c.allowed, state) {
				checkStatus(t, c.method+c.more+" of one that is "+state, f.send(s), http.StatusOK)
				continue
			}
			f.refused(t, c.method+c.more+" of one that is "+state, s, http.StatusConflict, c.rule)
			if diff := cmp.Diff(before, f.get(t, "/v1/posts/"+id, key)); diff != "" {
				t.Errorf("%s of one that is %s changed it:\n%s", c.method, state, diff)
			}
		}
	}
	due := inState["queued"]()
	f.clock.SetTime(now.AddDate(0, 0, 1))
	defer f.clock.SetTime(now)
	f.refused(t, "one whose time has come", sent{method: http.MethodPatch, target: "/v1/posts/" + due, key: key, body: `{"text":"late"}`}, http.StatusConflict, "post.status")
}

func TestEditRetryAndCancel(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account, file := f.connect(t, key), f.upload(t, key)
	id := f.schedule(t, key, account, `,"media":[{"kind":"image","mediaId":"`+file+`"}]`)
	at := sent{method: http.MethodPatch, target: "/v1/posts/" + id, key: key}
	edit := func(body string) post { at.body = body; return ok[post](t, f, at) }

	if p := edit(`{"text":"other"}`); p.Text != "other" || len(p.MediaRefs) != 1 || p.Status != "queued" {
		t.Errorf("%+v", p)
	}
	sooner := now.Add(time.Hour).Format(time.RFC3339)
	if p := edit(`{"scheduledAt":"` + sooner + `"}`); !p.ScheduledAt.Equal(now.Add(time.Hour)) || p.Text != "other" {
		t.Errorf("%+v", p)
	}
	if p := edit(`{"media":[]}`); len(p.MediaRefs) != 0 {
		t.Errorf("%+v", p)
	}
	for body, rule := range map[string]string{
		`{}`: "body", ``: "body", `{"text":""}`: "bluesky.text.non_empty", `{"text":"sandbox:preflight_failed"}`: "sandbox.preflight_failed",
		`{"scheduledAt":"2020-01-01T00:00:00Z"}`: "scheduledAt.future", `{"status":"published"}`: "status", `{"text":"\u0000"}`: "text",
		`{"media":[{"kind":"image"}]}`: "media.0.mediaId",
	} {
		at.body = body
		f.refused(t, "edit "+body, at, http.StatusBadRequest, rule)
	}
	if got := ok[canceled](t, f, sent{method: http.MethodDelete, target: "/v1/posts/" + id, key: key}); got != (canceled{id, "canceled"}) {
		t.Errorf("%+v", got)
	}
	retry := sent{method: http.MethodPost, target: "/v1/posts/" + id + "/retry", key: key, body: `{"scheduledAt":"` + later + `"}`}
	if got := ok[queued](t, f, retry); got.ID != id || got.Status != "queued" || got.ScheduledAt == nil {
		t.Errorf("%+v", got)
	}
	retry.body = `{"scheduledAt":"2020-01-01T00:00:00Z"}`
	f.refused(t, "retry in the past", retry, http.StatusBadRequest, "scheduledAt.future")
}

// deadlined is a connection whose deadline for writing can be set.
type deadlined struct {
	*httptest.ResponseRecorder
	write []time.Time
}

func (d *deadlined) SetWriteDeadline(t time.Time) error {
	d.write = append(d.write, t)
	return nil
}

// To publish at once may take longer than the server gives an answer, from when the posts are stored; all else may not.
func TestPublishingMayTakeLonger(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	scheduled := publication(key, targetOf(account, ""), `,"text":"x","scheduledAt":"`+later+`"`)
	for reason, c := range map[string]struct {
		s      sent
		status int
		want   []time.Time
	}{
		"at once": {publication(key, targetOf(account, ""), `,"text":"x"`), http.StatusOK, []time.Time{now.Add(3 * time.Minute)}},
		"later":   {scheduled, http.StatusAccepted, nil},
		"refused": {publication(key, targetOf(account, ""), ""), http.StatusBadRequest, nil},
	} {
		w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
		f.ServeHTTP(w, c.s.request())
		checkStatus(t, reason, w.ResponseRecorder, c.status)
		if diff := cmp.Diff(c.want, w.write); diff != "" {
			t.Errorf("%s: deadlines (-want +got):\n%s", reason, diff)
		}
	}
}

// A post that is for later, or tried again, is published by the queue, and says so: here by the real time.
func TestTheQueuePublishes(t *testing.T) {
	f := newFixture(t, nil, byRealTime(t), func(c *parts) {
		publishing(t, c, "") // anew, by this clock
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); f.publisher.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	key := f.newKey(t)
	failed := f.publish(t, key, f.connect(t, key), "sandbox:unavailable").Results[0].PostID
	if got := ok[queued](t, f, sent{method: http.MethodPost, target: "/v1/posts/" + failed + "/retry", key: key}); got.ScheduledAt != nil {
		t.Errorf("%+v", got)
	}
	p := f.getPost(t, key, failed)
	// A post is read before its attempts, so it may still be queued where its second attempt is there already.
	for until := time.Now().Add(patience); len(p.Attempts) < 2 || p.Status != "failed"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it is not tried again: %+v", p)
		}
		p = f.getPost(t, key, failed)
	}
	if p.Status != "failed" || len(p.Attempts) != 2 || p.Attempts[1].AttemptNumber != 2 || *p.Attempts[1].ErrorCode != platform.CodeUnavailable {
		t.Errorf("%+v", p)
	}
}
