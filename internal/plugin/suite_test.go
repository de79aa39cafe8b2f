// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/plugin"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// patience is how long anything that should happen may take. On a loaded machine with two cores, things take long.
const patience = time.Minute

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard()) // as main does
	kube.Main(m, kube.Options{Manifests: []string{"config/crd", "config/rbac", "config/policies"}})
}

// world is an organization of one test, and the people in it.
type world struct {
	t         *testing.T
	cluster   *kube.Cluster
	namespace string
	core      kubernetes.Interface // as an administrator
	keys      rest.Interface
	dir       string
}

func newWorld(t *testing.T) *world {
	cluster := kube.Shared(t)
	w := &world{t: t, cluster: cluster, namespace: cluster.Namespace(t), dir: t.TempDir()}
	var err error
	if w.core, err = kubernetes.NewForConfig(cluster.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	w.keys = keysOf(t, cluster.AdminConfig())
	return w
}

// roles of the people in a world: ClusterRoles of the installation, bound in their namespace.
var roles = map[string][]string{
	"viewer":  {"letmepost-apikey-viewer"},
	"minter":  {"letmepost-apikey-minter", "letmepost-apikey-viewer"},
	"revoker": {"letmepost-apikey-revoker"},
	"editor":  {"letmepost-apikey-minter", "letmepost-apikey-revoker", "rest-of-edit"},
	"rotator": {"letmepost-apikey-minter", "letmepost-apikey-revoker"},
	"nobody":  {},
}

// as returns the kubeconfig of somebody with a role here.
func (w *world) as(role string) string {
	w.t.Helper()
	if role == "admin" {
		return w.cluster.KubeconfigPath()
	}
	path := filepath.Join(w.dir, role)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: role}}
	if _, err := w.core.CoreV1().ServiceAccounts(w.namespace).Create(w.t.Context(), account, metav1.CreateOptions{}); err != nil {
		return path // it is there already
	}
	for _, name := range roles[role] {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
		if name == "rest-of-edit" {
			ref.Kind = "Role"
			w.must(w.core.RbacV1().Roles(w.namespace).Create(w.t.Context(), &rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Rules: []rbacv1.PolicyRule{
					{APIGroups: []string{""}, Resources: []string{"pods", "serviceaccounts"}, Verbs: []string{"get", "list", "watch"}},
					{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
					{APIGroups: []string{"apps", "batch"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}},
				},
			}, metav1.CreateOptions{}))
		}
		w.must(w.core.RbacV1().RoleBindings(w.namespace).Create(w.t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"}, RoleRef: ref,
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: role}},
		}, metav1.CreateOptions{}))
	}
	if err := w.cluster.ServiceAccountKubeconfig(w.t.Context(), w.namespace, role, path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) must(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// result is what became of a command line.
type result struct {
	status   int
	out, err string
}

// run runs a command line of this process, as somebody, in the world's namespace.
func (w *world) run(role string, args ...string) result {
	w.t.Helper()
	return runWith(w.t.Context(), nil, append([]string{"--kubeconfig", w.as(role), "-n", w.namespace}, args...)...)
}

func runWith(ctx context.Context, env map[string]string, args ...string) result {
	return runAt(ctx, env, func(context.Context, string) error { return errors.New("this machine has none") }, args...)
}

// runAt is runWith on a machine with a browser.
func runAt(
	ctx context.Context, env map[string]string, browser func(context.Context, string) error, args ...string,
) result {
	var out, errs testlog.Buffer
	status := plugin.Run(ctx, args, plugin.Options{
		In: strings.NewReader(""), Out: &out, Err: &errs,
		Terminal: func() (in, out bool) { return false, false },
		Random:   rand.Reader, Clock: clock.RealClock{},
		Getenv: func(name string) string { return env[name] }, Open: browser,
	})
	return result{status, out.String(), errs.String()}
}

// expect fails the test unless the command line ended so, with these texts in what it has said.
func (r result) expect(t *testing.T, status int, texts ...string) {
	t.Helper()
	if r.status != status {
		t.Errorf("exit status %d, want %d", r.status, status)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			t.Errorf("%q is not in what it has said", text)
		}
	}
	if t.Failed() {
		t.Fatalf("out:\n%s\nerr:\n%s", r.out, r.err)
	}
}

// keyOf is an ApiKey that is wanted.
func (w *world) keyOf(name string) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ApiKey"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentTest, Scopes: v1alpha1.Scopes[:]},
	}
}

func (w *world) create(k *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	w.t.Helper()
	made := new(v1alpha1.ApiKey)
	if err := w.keys.Post().Namespace(k.Namespace).Resource("apikeys").Body(k).Do(w.t.Context()).Into(made); err != nil {
		w.t.Fatal(err)
	}
	return made
}

// get returns an ApiKey; nil: it is not there.
func (w *world) get(name string) *v1alpha1.ApiKey {
	w.t.Helper()
	k := new(v1alpha1.ApiKey)
	if err := w.keys.Get().Namespace(w.namespace).Resource("apikeys").Name(name).Do(w.t.Context()).Into(k); err != nil {
		return nil
	}
	return k
}

// eventually waits until something is so.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("it does not come to this: %s", what)
		}
	}
}
