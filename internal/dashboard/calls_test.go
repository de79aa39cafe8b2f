// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
)

// maxCalls is how many requests to the apiserver a page costs at most, also if nothing is known from before.
const maxCalls = 3

// forget has sessions and pages know no more what they keep for some seconds.
func (s *shifted) forget() { s.by.Add(int64(31 * time.Second)) }

// budgetOf is what a page costs at most. Where several keys are looked at before they are revoked, each is one.
func budgetOf(path string) int64 {
	return max(maxCalls, 1+int64(strings.Count(path, "key=")))
}

// TestCallsOfAPage: each screen that is a page is within its budget of requests to the apiserver, for whoever may do
// everything and whoever may only look.
func TestCallsOfAPage(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.furnish(t, acme)
	viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer", podViewer), acme)
	w.right(t, acme, "viewer", read, "posts", "accounts", "media")
	for who, v := range map[string]*visitor{"owner": w.owner(t, acme), "viewer": viewer} {
		p, err := w.sessions.Find(t.Context(), v.cookie(dashboard.CookieName(key.Live)))
		check(t, err)
		for _, s := range dashboard.Screens(w.dashboard) {
			// Of those who may not list namespaces, each organization is tried: at most fifty.
			if s.Method != http.MethodGet || s.Anyone || s.Path == "/organizations" {
				continue
			}
			path, ok := examples[s.Path]
			if !ok {
				path = strings.ReplaceAll(s.Path, "{$}", "")
			}
			w.clock.forget()
			before := p.Cluster.Calls()
			answer := v.get(path)
			if n := p.Cluster.Calls() - before; n > budgetOf(path) || n == 0 {
				t.Errorf("%s, %s: %d requests to the apiserver (%d at %s)", who, s.Path, n, answer.status, answer.path)
			}
		}
	}
}
