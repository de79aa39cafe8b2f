// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

// reading is a route that does nothing but read a body, for anyone.
type reading struct {
	route endpoint.Route
	last  any               // what was read
	plain func() (into any) // a pointer to another body of the type
}

func readingOf[T any](path string) *reading {
	r := &reading{plain: func() any { return new(T) }}
	r.route = endpoint.Route{
		Method: http.MethodPost, Path: path, ID: path, Access: admission.Anyone,
		Endpoint: endpoint.Writes(func(_ *endpoint.Request, in T) (health, error) {
			r.last = &in
			return health{"ok"}, nil
		}),
	}
	return r
}

// FuzzBodies: what a body of the contract is read as is what encoding/json takes it to mean, or it is refused by a
// rule. Package endpoint has more to say of what is accepted, in FuzzPayload.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `{"text":"a","text":"b"}`, `{"Text":"a"}`, `{"text":"\ud800"}`, "{\"text\":\"\xff\"}", `{"text":1}`,
		`{"targets":[{"accountId":"a","platform":"bluesky","text":null,"media":[{"kind":"image","mediaId":"m"}],"options":{"platform":"bluesky"}}],"text":"x","publishNow":true}`,
		`{"targets":[{"accountID":"a"}],"scheduledAt":"2026-05-08T12:00:00.5+01:00"}`, `{"scheduledAt":"2026-05-08 12:00"}`,
		`{"targets":[{"text":"a","text":"b"}]}`, `{} {}`, `{"text":"a"}x`, `{"` + strings.Repeat("x", 200) + `":1}`,
		`{"firstComment":{"text":"a"},"media":[],"profileId":""}`, `{"firstComment":{"text":"a","more":1}}`, `{"identifier":"a","identifier":"b"}`,
		`{"returnTo":"x","profileId":"p"}`, `{"..targets"`, `{"targets.0.text":1}`,
	} {
		f.Add([]byte(s))
	}
	all := []*reading{
		readingOf[createPosts]("/create"), readingOf[editPost]("/edit"), readingOf[retryPost]("/retry"),
		readingOf[connectAccount]("/connect"), readingOf[completeConnection]("/complete"),
	}
	for i := range routes {
		// A report is a form as well: package leak reads it by itself.
		if body := routes[i].Takes(); body != nil && routes[i].ID != "reportLeakedKey" && !slices.ContainsFunc(all, func(r *reading) bool { return r.route.Takes() == body }) {
			f.Errorf("%s %s takes a %v, which is not read here", routes[i].Method, routes[i].Path, body)
		}
	}
	api := newFixtureOf(f, func(*API) []endpoint.Route {
		var table []endpoint.Route
		for _, r := range all {
			table = append(table, r.route)
		}
		return table
	}, nil)
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, r := range all {
			r.check(t, api, payload)
		}
	})
}

// check reads a body in our way and in the standard library's.
func (r *reading) check(t *testing.T, api *fixture, payload []byte) {
	t.Helper()
	s := sent{method: http.MethodPost, target: r.route.Path, body: string(payload)}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, s.request())
	if w.Code != http.StatusOK {
		if e := errorOf(t, w); w.Code != http.StatusBadRequest || e.Code != "validation_failed" || e.Rule == "" {
			t.Errorf("%s %q: %d %+v", s.target, payload, w.Code, e)
		}
		return
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	d := json.NewDecoder(strings.NewReader(string(payload)))
	d.DisallowUnknownFields()
	want := r.plain()
	if err := d.Decode(want); err != nil {
		t.Fatalf("%s %q is accepted, and encoding/json says %v", s.target, payload, err)
	}
	if diff := cmp.Diff(want, r.last); diff != "" {
		t.Errorf("%s %q (-encoding/json +ours):\n%s", s.target, payload, diff)
	}
}
