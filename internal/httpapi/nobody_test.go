// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// HTTP libraries send no body, "{}" or "null" where there is nothing to say, and another version of one another of
// them: whoever sends a request again must not be told that it was a different one.
func TestNoBodyIsOneRequest(t *testing.T) { onBoth(t, noBodyIsOneRequest) }

func noBodyIsOneRequest(t *testing.T) {
	t.Helper()
	f := newFixture(t, nil)
	key := f.newKey(t)
	account := f.connect(t, key)
	none := []string{"", "{}", "null", " { }\n", "\tnull\n", "\ufeff", "\ufeff{}"}
	n := 0
	for reason, request := range map[string]func() sent{
		"a body that may be left out": func() sent {
			failed := ok[batch](t, f, publication(key, targetOf(account, ""), `,"text":"sandbox:unavailable"`)).Results[0].PostID
			return sent{method: http.MethodPost, target: "/v1/posts/" + failed + "/retry", key: key}
		},
		"a route that takes none": func() sent {
			return sent{method: http.MethodDelete, target: "/v1/posts/" + f.schedule(t, key, account, ""), key: key}
		},
		"a body that is missing": func() sent {
			return sent{method: http.MethodPost, target: "/v1/posts", key: key}
		},
	} {
		for _, first := range none {
			n++
			r := request().with("Idempotency-Key", "none-"+itoa(n))
			send := func(body string) *httptest.ResponseRecorder {
				r.body = body
				return f.send(r)
			}
			want := send(first)
			for _, body := range none {
				w := send(body)
				if w.Code != want.Code || w.Header().Get(replayed) != "true" || w.Body.String() != want.Body.String() {
					t.Errorf("%s: %q, then %q: %d %s", reason, first, body, w.Code, w.Body)
				}
			}
			for _, body := range []string{`{"more":1}`, "[]", "0", `""`, `[{}]`} {
				if w := send(body); w.Code != http.StatusConflict || errorOf(t, w).Rule != "idempotency_key.body_mismatch" {
					t.Errorf("%s: %q, then %q: %d %s", reason, first, body, w.Code, w.Body)
				}
			}
		}
	}
}
