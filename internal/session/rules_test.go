// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/session"
)

// TestOffers: what is offered is what the person may do, for each role, verb and resource; all of it is one request.
func TestOffers(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	acme := w.cluster.Namespace(t)
	group := []string{"letmepost.dev"}
	for name, rule := range map[string]rbacv1.PolicyRule{
		"all-verbs":     {APIGroups: group, Resources: []string{"posts"}, Verbs: []string{"*"}},
		"all-resources": {APIGroups: group, Resources: []string{"*"}, Verbs: []string{"list"}},
		"all-groups":    {APIGroups: []string{"*"}, Resources: []string{"media", "apikeys"}, Verbs: []string{"get", "delete"}},
		"other-group":   {APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		"one-by-name": {
			APIGroups: group, Resources: []string{"apikeys"}, Verbs: []string{"delete"}, ResourceNames: []string{"backend"},
		},
		"subresource": {APIGroups: group, Resources: []string{"apikeys/live"}, Verbs: []string{"create"}},
		"nothing":     {APIGroups: group, Resources: []string{"posts"}, Verbs: []string{"watch"}},
	} {
		_, err := w.admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: acme + "-" + name}, Rules: []rbacv1.PolicyRule{rule},
		}, metav1.CreateOptions{})
		w.check(err)
		_, p := w.signIn(m, w.credential(acme, name, acme+"-"+name))
		compareOffers(t, w, p, acme, name)
	}
	for _, role := range []string{viewer, "letmepost-apikey-revoker", "letmepost-content-editor", "cluster-admin"} {
		_, p := w.signIn(m, w.credential(acme, "with-"+role, role))
		compareOffers(t, w, p, acme, role)
	}
}

func compareOffers(t *testing.T, w *world, p *session.Person, namespace, who string) {
	t.Helper()
	right := session.Right{Verb: "list", Resource: "posts", Namespace: namespace}
	if allowed, known := p.Cluster.Offered(right); allowed || known {
		t.Errorf("%s: known before it is asked", who)
	}
	before := p.Cluster.Calls()
	offers := map[session.Right]bool{}
	for _, right.Verb = range []string{"get", "list", "create", "delete"} {
		for _, right.Resource = range []string{"apikeys", "profiles", "posts", "media", "accounts"} {
			may, err := p.Cluster.Offers(t.Context(), w.clock.Now(), right)
			w.check(err)
			offers[right] = may
		}
	}
	if n := p.Cluster.Calls() - before; n != 1 {
		t.Errorf("%s: %d requests", who, n)
	}
	for right, offered := range offers {
		may, err := p.Cluster.May(t.Context(), w.clock.Now(), right)
		w.check(err)
		if allowed, known := p.Cluster.Offered(right); may != offered || allowed != offered || !known {
			t.Errorf("%s: %+v is offered: %v, and they may: %v", who, right, offered, may)
		}
	}
}
