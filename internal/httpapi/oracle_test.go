// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/authn/authntest"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// A pinned key that deletes its own file is told the same, to the byte, whether another profile needs it or nobody
// does. The post of the other profile keeps it, and tells nobody who does not reach the file which one it is.
func TestAFileThatAnotherProfileNeeds(t *testing.T) { onBoth(t, aFileThatAnotherProfileNeeds) }

func aFileThatAnotherProfileNeeds(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	otherKey := w.newKey(t, authntest.PinnedTo(w.other))
	media := func(id string) string {
		return `,"media":[{"kind":"image","mediaId":"` + id + `","altText":"a line"}]`
	}
	remove := func(id string) sent {
		return sent{method: http.MethodDelete, target: "/v1/media/" + id, key: w.brandKey}
	}
	own := w.connect(t, w.brandKey)
	for place, account := range map[string]string{
		"another profile's post": w.connect(t, otherKey), "the organization's post": w.connect(t, w.orgKey),
	} {
		free, needed := w.upload(t, w.brandKey), w.upload(t, w.brandKey)
		id := w.schedule(t, w.orgKey, account, media(needed))
		over := map[string]string{} // posts of its own, by the file
		for _, file := range []string{free, needed} {
			over[file] = w.schedule(t, w.brandKey, own, media(file))
			ok[post](t, w.fixture, sent{method: http.MethodDelete, target: "/v1/posts/" + over[file], key: w.brandKey})
		}

		shownTo := func(key string) []mediaRef {
			return ok[post](t, w.fixture, sent{method: http.MethodGet, target: "/v1/posts/" + id, key: key}).MediaRefs
		}
		if refs := shownTo(w.orgKey); len(refs) != 1 || refs[0].MediaID == nil || *refs[0].MediaID != needed {
			t.Errorf("%s, to a key that reaches the file: %+v", place, refs)
		}
		if place == "another profile's post" {
			concealed(t, w, otherKey, id, needed)
		}

		plain, used := w.send(remove(free)), w.send(remove(needed))
		same := strings.ReplaceAll(used.Body.String(), needed, free)
		if diff := cmp.Diff(plain.Body.String(), same); plain.Code != http.StatusOK || used.Code != plain.Code || diff != "" {
			t.Errorf("%s: %d, and %d for a file that nobody needs:\n%s", place, used.Code, plain.Code, diff)
		}
		for _, target := range []string{"/v1/media/", "/v1/media/%/content"} {
			path := func(id string) string {
				if strings.Contains(target, "%") {
					return strings.Replace(target, "%", id, 1)
				}
				return target + id
			}
			if diff := cmp.Diff(seen(t, w.do(http.MethodGet, path(free), w.brandKey)), seen(t, w.do(http.MethodGet, path(needed), w.brandKey))); diff != "" {
				t.Errorf("%s: afterwards, %s (-nobody's +needed):\n%s", place, target, diff)
			}
		}
		if diff := cmp.Diff(seen(t, w.send(remove(free))), seen(t, w.send(remove(needed)))); diff != "" {
			t.Errorf("%s: deleted again (-nobody's +needed):\n%s", place, diff)
		}
		again := func(file string) response {
			answer := seen(t, w.send(sent{method: http.MethodPost, target: "/v1/posts/" + over[file] + "/retry", key: w.brandKey}))
			answer.Body = anyRequestID.ReplaceAllString(strings.ReplaceAll(answer.Body, over[file], "POST"), "ID")
			return answer
		}
		if diff := cmp.Diff(again(free), again(needed)); diff != "" {
			t.Errorf("%s: its own post is sent again (-nobody's +needed):\n%s", place, diff)
		}
		if body := w.get(t, "/v1/media", w.brandKey); strings.Contains(body, needed) {
			t.Errorf("%s: it is still listed: %s", place, body)
		}
		// The post has what it needs, and the organization sees the file.
		if got := w.get(t, "/v1/media/"+needed+"/content", w.orgKey); got != picture(t, 3) {
			t.Errorf("%s: the file has %d bytes", place, len(got))
		}
		w.refused(t, place+": the organization's key", sent{method: http.MethodDelete, target: "/v1/media/" + needed, key: w.orgKey}, http.StatusConflict, "media.in_use")
	}
	needed := w.upload(t, w.brandKey)
	w.schedule(t, w.brandKey, own, media(needed))
	w.refused(t, "what a post of its own needs", remove(needed), http.StatusConflict, "media.in_use")
}

// concealed checks that no answer about a post names a file that the key does not reach.
func concealed(t *testing.T, w *world, key, id, file string) {
	t.Helper()
	edit := sent{method: http.MethodPatch, target: "/v1/posts/" + id, key: key, body: `{"text":"changed"}`}
	for what, body := range map[string]string{
		"the post": w.get(t, "/v1/posts/"+id, key), "the list": w.get(t, "/v1/posts", key), "a change": w.send(edit).Body.String(),
	} {
		if strings.Contains(body, file) || !strings.Contains(body, `"mediaId":null`) || !strings.Contains(body, `"altText":"a line"`) {
			t.Errorf("%s: %s", what, body)
		}
	}
	if refs := decode[endpoint.Page[post]](t, w.get(t, "/v1/posts", w.orgKey)).Data[0].MediaRefs; len(refs) != 1 || *refs[0].MediaID != file {
		t.Errorf("to a key of the organization: %+v", refs)
	}
}
