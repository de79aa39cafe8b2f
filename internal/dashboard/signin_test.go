// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

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
