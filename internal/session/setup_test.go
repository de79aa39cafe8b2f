// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package session_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/vault"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/postgres"
)

func TestMain(m *testing.M) {
	kube.Main(m, kube.Options{Issuer: startIssuer, Manifests: []string{"config/crd", "config/rbac"}})
}

// world is an apiserver, a database, and the time for all replicas.
type world struct {
	*testing.T
	cluster *kube.Cluster
	admin   kubernetes.Interface
	clock   *clocktesting.FakePassiveClock
	url     string // of the database
	vault   *vault.Vault
	known   []caller.Organization
}

// onBoth runs a test with either database.
func onBoth(t *testing.T, test func(*world)) {
	t.Run("sqlite", func(t *testing.T) { test(newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "live.db"))) })
	t.Run("postgresql", func(t *testing.T) { test(newWorld(t, postgres.Start(t))) })
}

func newWorld(t *testing.T, url string) *world {
	t.Helper()
	w := &world{
		T: t, cluster: kube.Shared(t), url: url, clock: clocktesting.NewFakePassiveClock(time.Now()), vault: newVault(t),
	}
	var err error
	w.admin, err = kubernetes.NewForConfig(w.cluster.AdminConfig())
	w.check(err)
	return w
}

func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	k, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return vault.Fixed(k)
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// database is a process' own connections to the database.
func (w *world) database(e key.Environment) *store.DB {
	w.Helper()
	db, err := store.Open(store.Options{
		URL: w.url, Clock: clock.RealClock{}, NewID: uuid.NewString, Logger: slog.New(slog.DiscardHandler), Environment: e,
	})
	w.check(err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); db.Run(ctx) }()
	w.Cleanup(func() { stop(); <-done; _ = db.Close() })
	select {
	case <-db.Migrated():
	case <-time.After(time.Minute):
		w.Fatal("the database is not migrated in a minute")
	}
	return db
}

// replica is one process' sessions.
func (w *world) replica(mods ...func(*session.Options)) *session.Manager {
	w.Helper()
	apiserver, err := session.NewApiserver(w.cluster.AdminConfig()) // of which it takes the address alone
	w.check(err)
	o := session.Options{
		Apiserver: apiserver, Environment: key.Live, Vault: w.vault, NewToken: rand.Text, Clock: w.clock,
		Listed: func() []caller.Organization { return w.known }, Logger: slog.New(slog.NewTextHandler(w.Output(), nil)),
	}
	for _, mod := range mods {
		mod(&o)
	}
	if o.Store == nil {
		o.Store = w.database(o.Environment)
	}
	m, err := session.New(o)
	w.check(err)
	return m
}

// credential makes a ServiceAccount with a ClusterRole in its namespace, and returns a token of it for an hour.
func (w *world) credential(namespace, name, role string) string {
	w.Helper()
	return w.credentialFor(namespace, name, role, time.Hour)
}

func (w *world) credentialFor(namespace, name, role string, lasts time.Duration) string {
	w.Helper()
	ctx := w.Context()
	_, err := w.admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}, metav1.CreateOptions{})
	w.check(err)
	if role != "" {
		w.bind(namespace, name, role)
	}
	token, err := w.admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(lasts.Seconds()))},
	}, metav1.CreateOptions{})
	w.check(err)
	return token.Status.Token
}

// bind gives a ServiceAccount a role in its namespace.
func (w *world) bind(namespace, name, role string) {
	w.Helper()
	w.bindTo(namespace, name, role, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name},
		authorizationv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + namespace + ":" + name})
}

// bindTo returns when the apiserver goes by the binding: it follows bindings by a watch, and refuses what it has not
// heard of. as is who is bound, as the apiserver sees them.
func (w *world) bindTo(namespace, name, role string, who rbacv1.Subject, as authorizationv1.SubjectAccessReviewSpec) {
	w.Helper()
	_, err := w.admin.RbacV1().RoleBindings(namespace).Create(w.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{who},
	}, metav1.CreateOptions{})
	w.check(err)
	bound, err := w.admin.RbacV1().ClusterRoles().Get(w.Context(), role, metav1.GetOptions{})
	w.check(err)
	rule := bound.Rules[0]
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	as.ResourceAttributes = &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource,
	}
	if len(rule.ResourceNames) > 0 {
		as.ResourceAttributes.Name = rule.ResourceNames[0]
	}
	eventually(w.T, func() bool {
		review, err := w.admin.AuthorizationV1().SubjectAccessReviews().Create(w.Context(),
			&authorizationv1.SubjectAccessReview{Spec: as}, metav1.CreateOptions{})
		w.check(err)
		return review.Status.Allowed
	})
}

func (w *world) unbind(namespace, name string) {
	w.Helper()
	w.check(w.admin.RbacV1().RoleBindings(namespace).Delete(w.Context(), name, metav1.DeleteOptions{}))
}

// organization is that of a namespace.
func (w *world) organization(name string) caller.Organization {
	w.Helper()
	n, err := w.admin.CoreV1().Namespaces().Get(w.Context(), name, metav1.GetOptions{})
	w.check(err)
	return caller.Organization{ID: string(n.UID), Name: name}
}

// signIn signs somebody in who must be able to.
func (w *world) signIn(m *session.Manager, credential string) (string, *session.Person) {
	w.Helper()
	token, p, err := m.SignIn(w.Context(), credential)
	w.check(err)
	return token, p
}

func clusterAdmin(namespace string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "admin-of-" + namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "admin"}},
	}
}
