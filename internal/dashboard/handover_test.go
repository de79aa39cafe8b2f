// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// handOver sends a token as a program does, and returns the path for the browser, below dashboard.Base.
func (w *world) handOver(t *testing.T, token string, change ...func(*http.Request)) (status int, path, said string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": token})
	check(t, err)
	status, header, text := w.asked(t, http.MethodPost, "/handover", string(body), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		for _, c := range change {
			c(r)
		}
	})
	if len(header["Set-Cookie"]) != 0 {
		t.Errorf("a program is given a cookie: %q", header["Set-Cookie"])
	}
	var answer struct{ Path, Error string }
	if header.Get("Content-Type") == "application/json" {
		check(t, json.Unmarshal([]byte(text), &answer))
	}
	return status, strings.TrimPrefix(answer.Path, dashboard.Base), answer.Error
}

// TestHandover: the browser is asked first, as whom; by the button it is signed in, once. The page may be loaded by
// whatever looks ahead, and tells whoever was somebody else here that this ends.
func TestHandover(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "ada", "letmepost-apikey-viewer")
	ada := "system:serviceaccount:" + acme + ":ada"
	status, path, said := w.handOver(t, token)
	if status != http.StatusCreated || !strings.HasPrefix(path, "/handover?code=") || said != "" {
		t.Fatalf("%d, %q, %q", status, path, said)
	}
	code := url.Values{"code": {strings.TrimPrefix(path, "/handover?code=")}}
	for range 2 {
		w.visitor(t).get(path)
	}
	v := w.signedIn(t, w.credential(t, acme, "bob", "letmepost-apikey-viewer"), acme)
	p := v.get(path)
	for _, want := range []string{"Sign in as " + ada, "You are signed in as system:serviceaccount:" + acme + ":bob"} {
		if p.status != http.StatusOK || !strings.Contains(p.body, want) || strings.Contains(p.body, token) {
			t.Errorf("%d, without %q:\n%s", p.status, want, p.body)
		}
	}
	if p := v.get("/keys"); p.status != http.StatusOK || strings.Contains(p.body, ada) {
		t.Errorf("to look at the page has changed who it is: %d\n%s", p.status, p.body)
	}
	forms := formsOf(t, p.body)
	if len(forms) != 1 || forms[0].values.Encode() != code.Encode() {
		t.Fatalf("%+v", forms)
	}
	if p := v.send(http.MethodPost, forms[0].action, code.Encode(), "cross-site"); p.status != http.StatusForbidden {
		t.Errorf("another site signs somebody in: %d at %s", p.status, p.path)
	}
	if p := v.post(forms[0].action, code); !strings.HasPrefix(p.path, "/dashboard/organizations") || !strings.Contains(p.body, ada) {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
	other := w.visitor(t)
	for _, again := range []page{other.get(path), other.post(forms[0].action, code)} {
		if again.status != http.StatusNotFound || !strings.Contains(again.body, "This link is used up") {
			t.Errorf("once more: %d at %s", again.status, again.path)
		}
	}
}

// TestNoHandover: what programs send that is not right, and how they are told.
func TestNoHandover(t *testing.T) {
	w := newWorld(t)
	token := w.credential(t, w.cluster.Namespace(t), "ada", "letmepost-apikey-viewer")
	set := func(header, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(header, value) }
	}
	plain := func(r *http.Request) { r.TLS, r.Host = nil, "api.example.com" }
	for _, c := range []struct {
		reason, token string
		change        func(*http.Request)
		status        int
		said          string
	}{
		{"somebody's", token, set("Accept", "*/*"), http.StatusCreated, ""},
		{"nobody's", "guessed", set("Accept", "*/*"), http.StatusUnauthorized, "does not know this token"},
		{"more than a token", strings.Repeat("x", 20<<10), set("Accept", "*/*"), http.StatusUnauthorized, "does not know"},
		{"more than is read", strings.Repeat("x", 70<<10), set("Accept", "*/*"), http.StatusBadRequest, "is JSON"},
		{"a form of some page", token, set("Content-Type", "text/plain"), http.StatusUnsupportedMediaType, "is JSON"},
		{"plain HTTP", token, plain, http.StatusForbidden, "without HTTPS"},
		{"by another site", token, set("Sec-Fetch-Site", "cross-site"), http.StatusForbidden, ""}, // whose page can't read it
	} {
		status, path, said := w.handOver(t, c.token, c.change)
		if status != c.status || !strings.Contains(said, c.said) || (path != "") != (c.status == http.StatusCreated) {
			t.Errorf("%s: %d, %q, %q", c.reason, status, path, said)
		}
	}
	// Codes are guessed no more often than tokens.
	guesser := w.visitor(t)
	for i := range maxFailures - 2 { // two of those above count
		code := fmt.Sprint(i)
		p := page{}
		if i%2 == 0 {
			p = guesser.post("/handover/sign-in", url.Values{"code": {code}})
		} else {
			p = guesser.get("/handover?code=" + code)
		}
		if p.status != http.StatusNotFound {
			t.Fatalf("guess %s: %d", code, p.status)
		}
	}
	for _, p := range []page{
		guesser.get("/handover?code=x"), guesser.post("/handover/sign-in", url.Values{"code": {"x"}}),
	} {
		if p.status != http.StatusTooManyRequests {
			t.Errorf("one guess more: %d", p.status)
		}
	}
	if status, _, said := w.handOver(t, "guessed"); status != http.StatusTooManyRequests || !strings.Contains(said, "Too many") {
		t.Errorf("one token more: %d, %q", status, said)
	}
}
