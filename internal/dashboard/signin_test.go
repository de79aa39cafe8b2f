// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
)

// TestAudit: who has sent which form, and what came of it; of those whom the cluster knows alone, and nothing of what
// they typed.
func TestAudit(t *testing.T) {
	said := &writings{}
	w := newWorld(t, func(c *dashboard.Config) { c.Audit = slog.New(slog.NewJSONHandler(said, nil)) })
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "viewer", "letmepost-apikey-viewer")
	w.visitor(t).post("/sign-in", url.Values{"token": {"guessed-by-nobody"}})
	v := w.signedIn(t, token, acme)
	v.post("/profiles/-/new", url.Values{"name": {"typed-by-somebody"}})
	v.get("/keys")
	v.post("/sign-out", nil)
	v.post("/sign-out", nil) // by nobody any more
	_, link, _ := w.handOver(t, token)
	_, code, _ := strings.Cut(link, "=")
	v.get(link)
	v.post("/handover/sign-in", url.Values{"code": {code}})
	said.mu.Lock()
	text := said.text.String()
	said.mu.Unlock()
	var got []string
	for line := range strings.Lines(text) {
		var entry struct{ Event, Person, Organization, Screen, Client, RequestID string }
		var status struct{ Status int }
		check(t, json.Unmarshal([]byte(line), &entry))
		check(t, json.Unmarshal([]byte(line), &status))
		if entry.Client != "127.0.0.1" || entry.RequestID == "" ||
			entry.Person != "system:serviceaccount:"+acme+":viewer" {
			t.Errorf("%s", line)
		}
		got = append(got, fmt.Sprint(entry.Event, " ", entry.Screen, " ", entry.Organization == acme, " ", status.Status))
	}
	want := []string{
		"session.began /sign-in false 303", "form.sent /organizations false 303", "form.sent /profiles/-/new true 403",
		"session.ended /sign-out false 303", "session.began /handover/sign-in false 303",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, typed := range []string{token, code, "guessed-by-nobody", "typed-by-somebody"} {
		if strings.Contains(text, typed) {
			t.Errorf("%s is in the audit log", typed)
		}
	}
}

// TestGuessing: whoever tries tokens one after another is only told to wait; a neighbour at the same address is let in.
func TestGuessing(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "viewer", "letmepost-apikey-viewer")
	guesser := w.visitor(t)
	for i := range maxFailures {
		if p := guesser.post("/sign-in", url.Values{"token": {fmt.Sprint("guess-", i)}}); p.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, p.status)
		}
	}
	if p := guesser.post("/sign-in", url.Values{"token": {"one-more"}}); p.status != http.StatusTooManyRequests {
		t.Errorf("one more: %d\n%s", p.status, p.body)
	}
	if p := w.signedIn(t, token, acme).get("/keys"); p.status != http.StatusOK {
		t.Errorf("a neighbour: %d at %s", p.status, p.path)
	}
}

// TestSignIn: with a token of the cluster, to where somebody was going, and out again.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	token := w.credential(t, acme, "viewer", "letmepost-apikey-viewer")
	v := w.visitor(t)
	if p := v.get("/"); p.status != http.StatusOK || p.path != "/dashboard/sign-in?next=%2Fdashboard%2F" {
		t.Fatalf("%d at %s", p.status, p.path)
	}
	if p := v.post("/sign-in", url.Values{"token": {"wrong"}}); p.status != http.StatusUnauthorized ||
		!strings.Contains(p.body, "does not know this token") || strings.Contains(p.body, ">wrong<") {
		t.Errorf("%d\n%s", p.status, p.body)
	}
	p := v.post("/sign-in", url.Values{"token": {" " + token + "\n"}, "next": {"/dashboard/"}})
	if p.status != http.StatusOK || !strings.HasPrefix(p.path, "/dashboard/organizations") {
		t.Fatalf("%d at %s\n%s", p.status, p.path, p.body)
	}
	if p := v.post("/organizations", url.Values{"name": {"nowhere"}}); p.status != http.StatusNotFound {
		t.Errorf("an organization that is none: %d at %s", p.status, p.path)
	}
	if p := v.post("/organizations", url.Values{"name": {acme}}); p.status != http.StatusOK || p.path != "/dashboard/" ||
		!strings.Contains(p.body, acme) || strings.Contains(p.body, "⟦") {
		t.Errorf("%d at %s\n%s", p.status, p.path, p.body)
	}
	if p := v.post("/sign-out", nil); p.path != "/dashboard/sign-in" {
		t.Errorf("signed out to %s", p.path)
	}
	if p := v.get("/"); !strings.HasPrefix(p.path, "/dashboard/sign-in") {
		t.Errorf("signed out, and shown %s", p.path)
	}
}
