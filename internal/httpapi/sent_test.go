// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/store"
)

// What is not to be published now is not, and needs a time.
func TestModes(t *testing.T) { onBoth(t, modes) }

func modes(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	for _, c := range []struct {
		reason, more string
		status       int    // of a success; 0: it is refused
		rule         string // of the refusal
	}{
		{"neither", ``, http.StatusOK, ""},
		{"now", `,"publishNow":true`, http.StatusOK, ""},
		{"later", `,"scheduledAt":"` + later + `"`, http.StatusAccepted, ""},
		{"not now, but later", `,"publishNow":false,"scheduledAt":"` + later + `"`, http.StatusAccepted, ""},
		{"now, and no time", `,"publishNow":true,"scheduledAt":null`, http.StatusOK, ""},
		{"not now", `,"publishNow":false`, 0, "mode_conflict"},
		{"not now, and no time", `,"publishNow":false,"scheduledAt":null`, 0, "mode_conflict"},
		{"no time, and not now", `,"scheduledAt":null,"publishNow":false`, 0, "mode_conflict"},
		{"now and later", `,"publishNow":true,"scheduledAt":"` + later + `"`, 0, "mode_conflict"},
		{"null for both", `,"publishNow":null,"scheduledAt":null`, 0, "publishNow"},
		{"null for now", `,"publishNow":null`, 0, "publishNow"},
		{"null for now, and later", `,"publishNow":null,"scheduledAt":"` + later + `"`, 0, "publishNow"},
		{"a time that got lost", `,"scheduledAt":null`, 0, "scheduledAt"},
	} {
		before := f.rows(t, "posts", "attempts")
		s := publication(key, targetOf(account, ""), `,"text":"x"`+c.more)
		if c.status > 0 {
			checkStatus(t, c.reason, f.send(s), c.status)
			continue
		}
		f.refused(t, c.reason, s, http.StatusBadRequest, c.rule)
		if after := f.rows(t, "posts", "attempts"); after != before {
			t.Errorf("%s: %d rows before, %d after", c.reason, before, after)
		}
	}
}

// The same thing is not published twice to one account by one request, in whatever way the account is named.
func TestTheSameTargetTwice(t *testing.T) { onBoth(t, theSameTargetTwice) }

func theSameTargetTwice(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account, other := f.connect(t, key), f.connectTo(t, key, "linkedin", "bob")
	file, platform := f.upload(t, key), `{"platform":"bluesky"}`
	media := `,"media":[{"kind":"image","mediaId":"` + file + `","altText":"a"}]`
	for _, c := range []struct {
		reason, targets string
		twice           bool
	}{
		{"by its id", targetOf(account, "") + "," + targetOf(account, ""), true},
		{"by its platform", platform + "," + platform, true},
		{"by both", targetOf(account, "") + "," + platform, true},
		{"with another between", targetOf(account, "") + "," + targetOf(other, "") + "," + targetOf(account, ""), true},
		{"with what it would have anyway", targetOf(account, "") + "," + targetOf(account, `,"text":"x","media":[],"options":{"platform":"bluesky"}`), true},
		{"with the same media", targetOf(account, media) + "," + targetOf(account, media), true},
		{"two accounts", targetOf(account, "") + "," + targetOf(other, ""), false},
		{"another text", targetOf(account, "") + "," + targetOf(account, `,"text":"y"`), false},
		{"with media, and without", targetOf(account, media) + "," + targetOf(account, ""), false},
		{"another comment", targetOf(account, "") + "," + targetOf(account, `,"firstComment":{"text":"first"}`), false},
		{"other options", targetOf(account, "") + "," + targetOf(account, `,"options":{"platform":"bluesky","replyToUri":"u","replyToCid":"c"}`), false},
	} {
		for _, more := range []string{`,"text":"x"`, `,"text":"x","scheduledAt":"` + later + `"`} {
			before := f.rows(t, "posts")
			s := publication(key, c.targets, more)
			if !c.twice {
				ok[batch](t, f, s)
				continue
			}
			f.refused(t, c.reason, s, http.StatusBadRequest, "targets.duplicate")
			if after := f.rows(t, "posts"); after != before {
				t.Errorf("%s: %d posts before, %d after", c.reason, before, after)
			}
		}
	}
}

// What nobody would see is no text, in a post, a change and a comment.
func TestTextsThatNobodySees(t *testing.T) {
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	id := f.schedule(t, key, account, "")
	for _, text := range []string{" ", `\u200b`, `\u2060`, `\u200b\u2060\n`, `\ufeff`, `\u3164`} {
		f.refused(t, text, publication(key, targetOf(account, ""), `,"text":"`+text+`"`), http.StatusBadRequest, "bluesky.text.non_empty")
		f.refused(t, text+" as a change", sent{method: http.MethodPatch, target: "/v1/posts/" + id, key: key, body: `{"text":"` + text + `"}`},
			http.StatusBadRequest, "bluesky.text.non_empty")
		f.refused(t, text+" as a comment", publication(key, targetOf(account, ""), `,"text":"x","firstComment":{"text":"`+text+`"}`),
			http.StatusBadRequest, "targets.0.firstComment.text")
	}
}

// Whoever wants to publish again a post whose file is gone is told that it is gone.
func TestRetryWithoutItsFile(t *testing.T) { onBoth(t, retryWithoutItsFile) }

func retryWithoutItsFile(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account, file := f.connect(t, key), f.upload(t, key)
	media := `,"media":[{"kind":"image","mediaId":"` + file + `"}]`
	canceled := f.schedule(t, key, account, media)
	checkStatus(t, "cancel", f.do(http.MethodDelete, "/v1/posts/"+canceled, key), http.StatusOK)
	failed := ok[batch](t, f, publication(key, targetOf(account, media), `,"text":"sandbox:unavailable"`)).Results[0].PostID
	retry := func(id string) sent {
		return sent{method: http.MethodPost, target: "/v1/posts/" + id + "/retry", key: key, body: `{"scheduledAt":"` + later + `"}`}
	}
	checkStatus(t, "delete the file", f.do(http.MethodDelete, "/v1/media/"+file, key), http.StatusOK)
	for _, id := range []string{canceled, failed} {
		f.refused(t, "its file is gone", retry(id), http.StatusConflict, "post.retry.media")
		if e := errorOf(t, f.send(retry(id))); !strings.Contains(e.Remediation, "POST /v1/media") {
			t.Errorf("%+v", e)
		}
	}
	published := f.publish(t, key, account, "hello").Results[0]
	if published.Status != store.Published {
		t.Fatalf("%+v", published)
	}
	f.refused(t, "it was published", retry(published.PostID), http.StatusConflict, "post.retry.status")
}

// The profile of an upload may be a field of its form, before the file or after it; and in the query.
func TestTheProfileOfAnUpload(t *testing.T) { onBoth(t, theProfileOfAnUpload) }

func theProfileOfAnUpload(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	profile := string(w.brand.UID)
	field, file := part{`form-data; name="profileId"`, profile}, part{fileNamed, picture(t, 3)}
	inQuery := multiparts(w.orgKey, "b", file)
	inQuery.target += "?profileId=" + profile
	for reason, s := range map[string]sent{
		"in the query": inQuery, "before the file": multiparts(w.orgKey, "b", field, file), "after it": multiparts(w.orgKey, "b", file, field),
	} {
		first := w.send(s.with("Idempotency-Key", reason))
		m := decode[medium](t, first.Body.String())
		if first.Code != http.StatusCreated || m.ProfileID == nil || *m.ProfileID != profile {
			t.Errorf("%s: %d %s", reason, first.Code, first.Body)
		}
		again := w.send(s.with("Idempotency-Key", reason))
		if again.Header().Get(replayed) != "true" || again.Body.String() != first.Body.String() {
			t.Errorf("%s, again: %d %s", reason, again.Code, again.Body)
		}
		other := multiparts(w.orgKey, "b", file, part{field.disposition, string(w.other.UID)})
		w.refused(t, reason+", for another profile", other.with("Idempotency-Key", reason), http.StatusConflict, "idempotency_key.body_mismatch")
	}
	both := multiparts(w.orgKey, "b", file, field)
	both.target = inQuery.target
	before := w.rows(t, "media")
	w.refused(t, "in both", both, http.StatusBadRequest, "profileId")
	w.refused(t, "that of others", multiparts(w.brandKey, "b", file, part{field.disposition, string(w.other.UID)}), http.StatusNotFound, "")
	if after := w.rows(t, "media"); after != before {
		t.Errorf("%d files before, %d after", before, after)
	}
}
