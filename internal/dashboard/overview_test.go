// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// Recent of keys whose use is counted in vain.
func (u used) Recent(context.Context, *caller.Caller) (map[string]use.Count, error) {
	return nil, errors.New("nobody counts here")
}

// minted makes a key, and returns it once the index serves it.
func (w *world) minted(t *testing.T, organization, name string, mods ...func(*v1alpha1.ApiKey)) string {
	t.Helper()
	k := &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: organization, Name: name},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: []v1alpha1.Scope{v1alpha1.ScopePostsRead}},
	}
	for _, mod := range mods {
		mod(k)
	}
	check(t, w.admin.Create(t.Context(), k))
	var plaintext string
	eventually(t, name+" is minted and served", func() bool {
		var secrets corev1.SecretList
		check(t, w.admin.List(t.Context(), &secrets, client.InNamespace(organization)))
		for _, s := range secrets.Items {
			for _, value := range s.Data {
				if metav1.IsControlledBy(&s, k) && strings.HasPrefix(string(value), "lmp_live_") {
					plaintext = string(value)
				}
			}
		}
		return plaintext != "" && w.comes(t, plaintext, admission.Need{}) == nil
	})
	return plaintext
}

// comes is a request with a key.
func (w *world) comes(t *testing.T, plaintext string, need admission.Need) error {
	t.Helper()
	var r admission.Admitted
	err := w.admits.Admit(t.Context(), time.Now(), admission.Credentials{Authorization: []string{"Bearer " + plaintext}}, need, &r)
	_ = r.End()
	return err
}

// TestOverview: what needs somebody comes first, each with where to do something about it, and what the person may not
// see is not told.
func TestOverview(t *testing.T) {
	w := newWorld(t, func(c *dashboard.Config) {
		k, err := use.New(use.Options{
			Index: c.Directory.(*authn.Index), Store: c.Store, Environment: key.Live, Replica: "this", Complete: func() bool { return true },
			Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
		})
		check(t, err)
		c.Use = k
	})
	acme := w.cluster.Namespace(t)
	owner := w.owner(t, acme)
	keyViewer := w.member(t, acme, "key-viewer", nil)
	poster := w.member(t, acme, "poster", read, "posts")

	owner.get("/").shows(t, http.StatusOK, []string{"All is well", "Mint the first one", "It accepts requests"}, []string{"Needs attention"})

	a := w.account(t, acme, "", "alice", func(a *store.Account) { a.TokenExpiresAt = time.Now().Add(48 * time.Hour) })
	b := w.account(t, acme, "", "b<b>ob", func(a *store.Account) { a.TokenExpiresAt = time.Now().Add(60 * 24 * time.Hour) })
	c, err := w.store.Work().Connection(t.Context(), b.ID)
	check(t, err)
	_, err = w.store.Work().RequireReconnect(t.Context(), b.ID, c.Version, platform.Failure{Code: platform.CodeAuthFailed, Message: "revoked"})
	check(t, err)
	w.post(t, acme, a, "late", func(p *store.Post) { p.ScheduledAt = time.Now().Add(-time.Hour) })
	w.post(t, acme, a, "in time")
	busy := w.minted(t, acme, "busy")
	w.minted(t, acme, "ending", func(k *v1alpha1.ApiKey) {
		k.Spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(5 * 24 * time.Hour).Truncate(time.Second)))
	})
	for range 3 {
		if w.comes(t, busy, admission.Need{Scope: v1alpha1.ScopePostsWrite}) == nil {
			t.Fatal("it has no such scope")
		}
	}
	needs := []string{"Needs attention", "One post should have gone out", "alice (Bluesky) ends", "b&lt;b&gt;ob (Bluesky) has to be connected again"}
	keys := []string{"One key expires within 14 days:", ">ending<", ">busy<", "2 Active", "3 of them refused"}
	owner.get("/").shows(t, http.StatusOK, append(needs, keys...), []string{"All is well", "b<b>ob"})
	keyViewer.get("/").shows(t, http.StatusOK, append(keys, "Needs attention"), append(needs[1:], "All is well"))
	poster.get("/").shows(t, http.StatusOK, append(keys, needs[:2]...), needs[2:])

	t.Run("nobody's business", func(t *testing.T) {
		other := w.cluster.Namespace(t)
		token := w.credential(t, other, "stranger", "letmepost-apikey-viewer")
		w.signedIn(t, token, other).get("/").shows(t, http.StatusOK, []string{"All is well"}, append(needs, keys...))
	})
}

// TestFencedReplicas: whoever may see the Leases of the release is told of a replica that has stopped to renew its own,
// and nobody else is; the right is that of the person.
func TestFencedReplicas(t *testing.T) {
	w := newWorld(t)
	acme := w.cluster.Namespace(t)
	operator, member := w.member(t, acme, "operator", nil), w.member(t, acme, "member", nil)
	role := metav1.ObjectMeta{Namespace: system, Name: "see-replicas-" + acme}
	check(t, w.admin.Create(t.Context(), &rbacv1.Role{ObjectMeta: role, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"list"}},
	}}))
	check(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: role, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: acme, Name: "operator"}},
	}))
	eventually(t, "the apiserver knows of the right", func() bool {
		return strings.Contains(operator.get("/").body, "Each renews its Lease while it accepts requests")
	})
	last := time.Now().Add(-time.Hour)
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: system, Name: "letmepost-api-test-" + acme, Labels: map[string]string{v1alpha1.LabelReplica: "test"},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("api-test-<b>1"), LeaseDurationSeconds: new(int32(15)), RenewTime: new(metav1.NewMicroTime(last)),
		},
	}
	check(t, w.admin.Create(t.Context(), lease))
	t.Cleanup(func() { check(t, client.IgnoreNotFound(w.admin.Delete(context.WithoutCancel(t.Context()), lease))) })
	told := []string{
		"Needs attention", "its Lease", "test <code class=\"breakable\">" + lease.Name + " (api-test-&lt;b&gt;1)</code>",
		last.UTC().Format(time.RFC3339), "don&#39;t wait for it", "kubectl get pods -n " + system,
	}
	operator.get("/").shows(t, http.StatusOK, told, []string{"All is well"})
	member.get("/").shows(t, http.StatusOK, []string{"All is well", "takes the right to list leases in the namespace " + system},
		[]string{"Needs attention", lease.Name})

	// It is back.
	lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Now().Add(time.Minute)))
	check(t, w.admin.Update(t.Context(), lease))
	operator.get("/").shows(t, http.StatusOK, nil, []string{lease.Name})
}
