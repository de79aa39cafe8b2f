// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// forget has sessions and pages know no more what they keep for some seconds.
func (s *shifted) forget() { s.by.Add(int64(31 * time.Second)) }

// budgetOf is what a page costs at most. Where several keys are looked at before they are revoked, each is one.
func budgetOf(path string) int64 {
	return max(dashboard.MaxCalls, 1+int64(strings.Count(path, "key=")))
}

// TestCallsOfAPage: each screen that is a page is within its budget of requests to the apiserver, for whoever may do
// everything, may only look, or may see keys alone; also in an organization without keys and profiles, of which this
// process knows nothing, whether or not it has accounts that need somebody.
func TestCallsOfAPage(t *testing.T) {
	// The furnished one comes first: it says which keys the others are asked about, where they are not.
	const furnished, empty, needy = "", " of an empty organization", " of one with accounts alone"
	for _, of := range []string{furnished, empty, needy} {
		w := newWorld(t)
		acme := w.cluster.Namespace(t)
		if of == furnished {
			w.furnish(t, acme)
		} else {
			if of == needy {
				w.account(t, acme, "", "alice", func(a *store.Account) { a.TokenExpiresAt = time.Now().Add(48 * time.Hour) })
			}
			w.unlisted.Store(acme)
			w.mayGetNamespace(t, acme, "owner", "viewer", "reader")
		}
		// Each signs in when it is their turn: meanwhile the clock has gone on for longer than a session lies idle.
		w.checkCalls(t, "owner"+of, w.owner(t, acme))
		viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer", podViewer), acme)
		w.right(t, acme, "viewer", read, "posts", "accounts", "media")
		w.checkCalls(t, "viewer"+of, viewer)
		reader := w.signedIn(t, w.credential(t, acme, "reader", "letmepost-apikey-viewer"), acme)
		w.checkCalls(t, "reader"+of, reader)
	}
}

// TestReplicasLater: what stands beside the rest of a page is left for the next time where it would be one request too
// many, and the page says so.
func TestReplicasLater(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	w.account(t, acme, "", "alice", func(a *store.Account) { a.TokenExpiresAt = time.Now().Add(48 * time.Hour) })
	w.unlisted.Store(acme)
	w.mayGetNamespace(t, acme, "owner")
	owner := w.owner(t, acme)
	w.clock.forget()
	const later, told = "They were not asked for yet.", "takes the right to list leases"
	owner.get("/").shows(t, http.StatusOK, []string{"alice (Bluesky) ends", later}, []string{told})
	owner.get("/").shows(t, http.StatusOK, []string{"alice (Bluesky) ends", told}, []string{later})
}

// mayGetNamespace lets ServiceAccounts of a namespace see that it is there: nobody else can choose an organization of
// which nothing is known.
func (w *world) mayGetNamespace(t *testing.T, namespace string, accounts ...string) {
	t.Helper()
	role := metav1.ObjectMeta{Namespace: namespace, Name: "namespace"}
	check(t, w.admin.Create(t.Context(), &rbacv1.Role{
		ObjectMeta: role, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}}},
	}))
	binding := &rbacv1.RoleBinding{
		ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
	}
	for _, name := range accounts {
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name})
	}
	check(t, w.admin.Create(t.Context(), binding))
}

// checkCalls goes through all screens that are pages.
func (w *world) checkCalls(t *testing.T, who string, v *visitor) {
	t.Helper()
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
		if w.unlisted.Load() != nil && strings.Contains(path, "?key=") {
			continue // where there are no keys, no link leads to some of them
		}
		if strings.HasSuffix(path, "/rotate") { // as it is linked to: else it leads to that, and is two pages
			path += "?" + v.ofPage(nil).Encode()
		}
		w.clock.forget()
		before := p.Cluster.Calls()
		answer := v.get(path)
		if n := p.Cluster.Calls() - before; n > budgetOf(path) || n == 0 {
			t.Errorf("%s, %s: %d requests to the apiserver (%d at %s)", who, s.Path, n, answer.status, answer.path)
		}
	}
}
