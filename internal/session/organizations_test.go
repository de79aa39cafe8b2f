// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/caller"
)

// TestOrganizations: who may list namespaces sees them, who may not sees those whose keys they may list, by name or id;
// what is not there and what is not theirs are told alike.
func TestOrganizations(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	acme, globex, bare := w.cluster.Namespace(t), w.cluster.Namespace(t), w.cluster.Namespace(t)
	w.known = []caller.Organization{w.organization(acme), w.organization(globex)} // bare has no keys
	_, ann := w.signIn(m, w.credential(acme, "ann", "letmepost-apikey-revoker"))  // who may not read the namespace
	list, err := m.Organizations(t.Context(), ann)
	if err != nil || !slices.Equal(list, []caller.Organization{w.organization(acme)}) {
		t.Errorf("%v, %v", list, err)
	}
	for _, c := range []struct {
		reason, nameOrID string
		want             caller.Organization
	}{
		{"by name", acme, w.organization(acme)},
		{"by id", w.organization(acme).ID, w.organization(acme)},
		{"one without keys, whose namespace the person may not read", bare, caller.Organization{}},
		{"one that never was", "nowhere", caller.Organization{}},
		{"nothing", "", caller.Organization{}},
		{"another path of the apiserver's", acme + "/../../../" + acme, caller.Organization{}},
		{"what asks more", acme + "?x=y", caller.Organization{}},
	} {
		got, err := m.Organization(t.Context(), ann, c.nameOrID)
		none := c.want == caller.Organization{}
		if got != c.want || none != errors.Is(err, admission.ErrNoOrganization) || !none && err != nil {
			t.Errorf("%s: %v, %v", c.reason, got, err)
		}
	}
	_, admin := w.signIn(m, w.admins())
	list, err = m.Organizations(t.Context(), admin)
	for _, name := range []string{acme, globex, bare} {
		if !slices.Contains(list, w.organization(name)) || err != nil {
			t.Errorf("an admin does not see %s: %v", name, err)
		}
	}
	if got, err := m.Organization(t.Context(), admin, bare); got != w.organization(bare) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	// Two of a name: the namespace was made again, and who may not read it can't be told which one it is.
	w.known = append(w.known, caller.Organization{ID: "610be000-0000-4000-8000-000000000000", Name: acme})
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	if got, err := m.Organization(t.Context(), ann, acme); !errors.Is(err, admission.ErrNoOrganization) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestOrganizationMadeAgain: of a namespace that was deleted and made again, nobody sees what was there before, though
// they may see what is there now.
func TestOrganizationMadeAgain(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	token, _ := w.signIn(m, w.admins())
	acme := w.cluster.Namespace(t)
	before := w.organization(acme)
	w.check(m.Choose(t.Context(), token, before))
	p := w.find(m, token, "")
	if p.Organization != before {
		t.Fatalf("%+v", p.Organization)
	}
	w.remake(acme)
	w.clock.SetTime(w.clock.Now().Add(31 * time.Second))
	if p = w.find(m, token, ""); p.Organization != (caller.Organization{}) {
		t.Errorf("%+v, and was %+v", p.Organization, before)
	}
	if _, err := m.Organization(t.Context(), p, acme); err != nil {
		t.Error(err)
	}
}

// TestRights: a right is needed in the organization that is meant, and who loses it loses it within half a minute.
func TestRights(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/live.db")
	m := w.replica()
	sessions := m.Admitting()
	acme, globex := w.cluster.Namespace(t), w.cluster.Namespace(t)
	w.known = []caller.Organization{w.organization(acme), w.organization(globex)}
	token, _ := w.signIn(m, w.credential(acme, "ann", viewer))
	list := admission.Need{Verb: "list", Resource: "apikeys"}
	for _, c := range []struct {
		reason, in string
		need       admission.Need
		want       error
	}{
		{"none is chosen", "", list, admission.ErrNoneChosen},
		{"nothing is needed", "", admission.Need{}, nil},
		{"the one named", acme, list, nil},
		{"somebody else's", globex, list, admission.ErrNoOrganization},
		{"nobody's", "nowhere", list, admission.ErrNoOrganization},
		{"another verb", acme, admission.Need{Verb: "delete", Resource: "apikeys"}, admission.ErrNoOrganization},
	} {
		found, err := sessions.Find(t.Context(), admission.Credentials{Session: token, Organization: c.in}, c.need)
		if !errors.Is(err, c.want) || (err == nil) != (found != nil) {
			t.Errorf("%s: %v, %v", c.reason, found, err)
		}
	}
	w.check(m.Choose(t.Context(), token, w.organization(acme)))
	shown := admission.Credentials{Session: token}
	found, err := sessions.Find(t.Context(), shown, list)
	if w.check(err); found.Caller().Organization != w.organization(acme) {
		t.Errorf("in %+v", found.Caller().Organization)
	}
	w.unbind(acme, "ann")
	w.clock.SetTime(w.clock.Now().Add(30 * time.Second))
	eventually(t, func() bool { // the apiserver's own RBAC goes by a watch
		_, err := sessions.Find(t.Context(), shown, list)
		w.clock.SetTime(w.clock.Now().Add(30 * time.Second))
		return errors.Is(err, admission.ErrNoOrganization)
	})
	shown.Session = "nobody's"
	if found, err := sessions.Find(t.Context(), shown, list); !errors.Is(err, authn.Unknown) || found != nil {
		t.Errorf("%v, %v", found, err)
	}
}

// admins is a token of somebody who may do anything.
func (w *world) admins() string {
	w.Helper()
	namespace := w.cluster.Namespace(w.T)
	token := w.credential(namespace, "admin", "")
	_, err := w.admin.RbacV1().ClusterRoleBindings().Create(w.Context(), clusterAdmin(namespace), metav1.CreateOptions{})
	w.check(err)
	eventually(w.T, func() bool {
		_, p, err := w.replica().SignIn(w.Context(), token)
		w.check(err)
		_, err = p.Cluster.Namespaces(w.Context(), 1)
		return err == nil
	})
	return token
}

// remake deletes a namespace and makes another one of its name. No controller runs here that would do it.
func (w *world) remake(name string) {
	w.Helper()
	ctx, namespaces := w.Context(), w.admin.CoreV1().Namespaces()
	w.check(namespaces.Delete(ctx, name, metav1.DeleteOptions{}))
	n, err := namespaces.Get(ctx, name, metav1.GetOptions{})
	w.check(err)
	n.Spec.Finalizers = nil
	_, err = namespaces.Finalize(ctx, n, metav1.UpdateOptions{})
	w.check(err)
	_, err = namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	w.check(err)
}
