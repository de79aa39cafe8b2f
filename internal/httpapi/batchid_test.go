// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

// TestABatchIsNoPost: the id that an answer to POST /v1/posts begins with looks like a post's, and is none. Whoever
// asks for a post by it is told which one is; and whoever reads the description before needs not ask.
func TestABatchIsNoPost(t *testing.T) {
	const where = "results[].postId"
	f := newFixture(t, nil)
	key := f.newKey(t)
	made := ok[batch](t, f, publication(key, targetOf(f.connect(t, key), ""), `,"text":"later","scheduledAt":"`+later+`"`))
	asked := 0
	for i := range routes {
		r := &routes[i]
		if !strings.HasPrefix(r.Path, "/v1/posts/{") {
			continue
		}
		asked++
		s := sent{method: r.Method, target: pathOf(r, made.ID), key: key}
		if r.Method == http.MethodPatch {
			s.body = `{"text":"another"}`
		}
		w := f.send(s)
		checkStatus(t, r.Method+" "+r.Path, w, http.StatusNotFound)
		if e := errorOf(t, w); e.Code != "not_found" || !strings.Contains(e.Remediation, where+" is one, and id is not") {
			t.Errorf("%s %s: %+v does not say which id is a post's", r.Method, r.Path, e)
		}
	}
	if asked < 4 {
		t.Errorf("%d routes take a post's id, which can't be all", asked)
	}
	ok[post](t, f, sent{method: http.MethodGet, target: "/v1/posts/" + made.Results[0].PostID, key: key})

	d := decode[struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Description string }
			}
		}
	}](t, f.get(t, "/v1/openapi.json", ""))
	schemas := d.Components.Schemas
	for _, told := range []struct{ of, text, says string }{
		{"a batch's id", schemas["Batch"].Properties["id"].Description, "No endpoint takes it: a post's id is " + where},
		{"a result's postId", schemas["TargetResult"].Properties["postId"].Description, "GET /v1/posts/{id}"},
	} {
		if !strings.Contains(told.text, told.says) {
			t.Errorf("%s is described by %q, want %q in it", told.of, told.text, told.says)
		}
	}
}
