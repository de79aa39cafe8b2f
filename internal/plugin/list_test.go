// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// otherCRD is a resource of another group that has all of our names, and comes first in the alphabet.
const otherCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: apikeys.coralogix.com}
spec:
  group: coralogix.com
  names: {plural: apikeys, singular: apikey, kind: ApiKey, listKind: ApiKeyList, shortNames: [ak]}
  scope: Namespaced
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// installOther installs it, and makes one of that name.
func (w *world) installOther(name string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "other.yaml")
	object := fmt.Sprintf("---\n{apiVersion: coralogix.com/v1alpha1, kind: ApiKey, metadata: {name: %s, namespace: %s}}\n", name, w.namespace)
	w.must(nil, os.WriteFile(path, []byte(otherCRD+object), 0o600))
	w.must(nil, kube.InstallManifests(w.t.Context(), w.cluster.AdminConfig(), path))
}

// podWith is a Pod that is given Secrets in all ways that there are.
func (w *world) podWith(name, account, secret string) *corev1.Pod {
	w.t.Helper()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: corev1.PodSpec{
			ServiceAccountName: account,
			Containers: []corev1.Container{{Name: "app", Image: "example.com/app", EnvFrom: []corev1.EnvFromSource{{
				SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
			}}}},
		},
	}
}

func (w *world) createPod(pod *corev1.Pod) {
	w.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.ServiceAccountName}}
	_, _ = w.core.CoreV1().ServiceAccounts(w.namespace).Create(w.t.Context(), account, metav1.CreateOptions{})
	w.must(w.core.CoreV1().Pods(w.namespace).Create(w.t.Context(), pod, metav1.CreateOptions{}))
}

func TestList(t *testing.T) {
	w := newWorld(t)
	w.installOther("others-key")
	w.run("viewer", "list").expect(t, 0, "No keys found in "+w.namespace)

	pinned := w.keyOf("pinned")
	pinned.Labels = map[string]string{"team": "web"}
	pinned.Spec.ProfileRef = &v1alpha1.ProfileReference{Name: "rockets"}
	pinned.Spec.Scopes = []v1alpha1.Scope{v1alpha1.ScopePostsRead}
	pinned.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(72*time.Hour + time.Minute)}
	pinned.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "acme 42"}
	w.create(pinned)
	backend := w.keyOf("backend")
	backend.Spec.Scopes = append(slices.Clone(backend.Spec.Scopes), "billing.example.com:read")
	w.create(backend)
	w.createPod(w.podWith("web-1", "web", "backend"))
	w.createPod(w.podWith("web-2", "web", "backend"))

	t.Run("for people", func(t *testing.T) {
		w := w.of(t)
		r := w.run("editor", "list")
		r.expect(t, 0, "NAME", "backend", "2 Pods", "no Pod", "never", "in 3d", "Pending")
		if strings.Contains(r.out, "others-key") || strings.Contains(r.out, "SCOPES") {
			t.Errorf("it shows too much:\n%s", r.out)
		}
		w.run("editor", "list", "-o", "wide").expect(t, 0, "SCOPES", "posts:read", "rockets",
			"all,billing.example.com:read", "customer=acme 42,plan=gold")
		if r := w.run("editor", "list", "-l", "team=web"); strings.Contains(r.out, "backend") || !strings.Contains(r.out, "pinned") {
			t.Errorf("-l team=web shows:\n%s", r.out)
		}
	})
	t.Run("for programs", func(t *testing.T) {
		w := w.of(t)
		if r := w.run("viewer", "list", "-o", "name"); r.out != "apikey.letmepost.dev/backend\napikey.letmepost.dev/pinned\n" {
			t.Errorf("-o name: %q", r.out)
		}
		var fromJSON, fromYAML v1alpha1.ApiKeyList
		w.must(nil, json.Unmarshal([]byte(w.run("viewer", "list", "-o", "json").out), &fromJSON))
		w.must(nil, yaml.Unmarshal([]byte(w.run("viewer", "list", "-o", "yaml").out), &fromYAML))
		for _, l := range []v1alpha1.ApiKeyList{fromJSON, fromYAML} {
			if l.Kind != "ApiKeyList" || len(l.Items) != 2 || l.Items[0].APIVersion != "letmepost.dev/v1alpha1" || l.Items[0].Kind != "ApiKey" {
				t.Errorf("the list is %+v", l)
			}
		}
		w.run("viewer", "list", "-o", "csv").expect(t, 2, "csv")
	})
	t.Run("who may not see Pods is told so", func(t *testing.T) {
		w.of(t).run("viewer", "list").expect(t, 0, "<unknown>", "Which Pods have keys is not known", "forbidden")
	})
	t.Run("who may not see keys is told so", func(t *testing.T) {
		w := w.of(t)
		w.run("nobody", "list").expect(t, 3, "apikeys.letmepost.dev is forbidden", "kubectl letmepost whoami")
		w.run("viewer", "list", "-A").expect(t, 3, "at the cluster scope")
	})
	t.Run("when they were last used, the API says", func(t *testing.T) {
		w := w.of(t)
		args := []string{"--kubeconfig", w.as("viewer"), "-n", w.namespace, "list", "--api-url", w.apiThatSaw("backend")}
		runWith(t.Context(), map[string]string{"LMP_API_KEY": "lmp_test_x"}, args...).expect(t, 0, "LAST USED", "15m ago")
		runWith(t.Context(), map[string]string{"LMP_API_KEY": "lmp_test_wrong"}, args...).expect(t, 1, "401 Unauthorized")
		runWith(t.Context(), nil, args...).expect(t, 2, "LMP_API_KEY")
	})
	t.Run("no key goes anywhere in clear text", func(t *testing.T) {
		w := w.of(t)
		for address, said := range map[string]string{
			"http://api.example.com":            "your key would be readable on its way to api.example.com",
			"http://localhost.example.com":      "your key would be readable on its way",
			"api.example.com":                   "want where the API is",
			"https://me:secret@api.example.com": "want where the API is",
			"https://api.example.com/v1?x=":     "want where the API is",
			"http://127.0.0.1:1/dashboard/":     "ask http://127.0.0.1:1 when keys were last used",
		} {
			for _, verb := range [][]string{{"list"}, {"who-uses", "backend"}} {
				status := 2
				if strings.HasPrefix(said, "ask ") { // nobody listens there
					status = 1
				}
				args := append([]string{"--kubeconfig", w.as("viewer"), "-n", w.namespace, "--api-url", address}, verb...)
				r := runWith(t.Context(), map[string]string{"LMP_API_KEY": "lmp_test_x"}, args...)
				if r.status != status || !strings.Contains(r.err, said) {
					t.Errorf("%s, %s: %d, %s", verb[0], address, r.status, r.err)
				}
			}
		}
	})
}

// apiThatSaw answers whoever has the key lmp_test_x that a key was used a quarter of an hour ago, and says nothing of
// others. After ten minutes, seconds are not told any more: those that pass until it is shown are no matter.
func (w *world) apiThatSaw(name string) string {
	w.t.Helper()
	used := w.get(name).UID
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/api-keys" || r.Header.Get("Authorization") != "Bearer lmp_test_x" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(rw, `{"data":[{"id":%q,"lastUsedAt":%q}],"nextCursor":null}`,
			used, time.Now().Add(-15*time.Minute).Format(time.RFC3339))
	}))
	w.t.Cleanup(api.Close)
	return api.URL
}

// of is the world as a part of a test sees it.
func (w *world) of(t *testing.T) *world {
	part := *w
	part.t = t
	return &part
}

// TestTwoClusters: a kubeconfig with two clusters, and never a key of the other one.
func TestTwoClusters(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	second, err := kube.Start(ctx, kube.Options{UnsafeNoFsync: true, Manifests: []string{"config/crd"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.must(nil, second.Stop()) }()
	other := &world{t: t, cluster: second, namespace: second.Namespace(t), keys: keysOf(t, second.AdminConfig())}
	w.create(w.keyOf("of-the-first"))
	other.create(other.keyOf("of-the-second"))

	both, err := clientcmd.LoadFromFile(w.cluster.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := clientcmd.LoadFromFile(second.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range theirs.Contexts {
		both.Clusters["second"], both.AuthInfos["second"] = theirs.Clusters[c.Cluster], theirs.AuthInfos[c.AuthInfo]
		c.Cluster, c.AuthInfo, c.Namespace = "second", "second", other.namespace
		both.Contexts["second"] = theirs.Contexts[name]
	}
	both.Contexts[both.CurrentContext].Namespace = w.namespace
	path := filepath.Join(w.dir, "both")
	w.must(nil, clientcmd.WriteToFile(*both, path))

	for context, want := range map[string]string{"": "of-the-first", both.CurrentContext: "of-the-first", "second": "of-the-second"} {
		for _, scope := range [][]string{nil, {"-A"}} {
			args := append([]string{"--kubeconfig", path, "--context", context, "list", "-o", "name"}, scope...)
			r := runWith(t.Context(), nil, args...)
			r.expect(t, 0, want)
			if strings.Count(r.out, "of-the-") != 1 {
				t.Errorf("context %q shows:\n%s", context, r.out)
			}
		}
	}
	// What is changed is changed there, whatever has the same name here.
	w.create(w.keyOf("same"))
	other.create(other.keyOf("same"))
	in := func(context string, args ...string) result {
		return runWith(t.Context(), nil, append([]string{"--kubeconfig", path, "--context", context}, args...)...)
	}
	in("second", "mint", "new", "-e", "test", "--to-file", filepath.Join(w.dir, "new"), "--timeout", "1ms").expect(t, 4)
	if w.get("new") != nil || other.get("new") == nil {
		t.Error("a key was minted in the other cluster")
	}
	in("second", "revoke", "same", "of-the-first").expect(t, 1, `"of-the-first" not found`)
	if w.get("same") == nil || w.get("of-the-first") == nil || other.get("same") != nil || other.get("of-the-second") == nil {
		t.Error("a key was revoked in the other cluster")
	}
	runWith(t.Context(), nil, "--kubeconfig", path, "--context", "third", "list").expect(t, 1, "third")
	runWith(t.Context(), nil, "--kubeconfig", path, "--context", "second", "whoami").expect(t, 0, "context second, namespace "+other.namespace)
}

// TestListOfMany: more keys than a page has are all there, each once, and in order.
func TestListOfMany(t *testing.T) {
	const many = 2200
	w := newWorld(t)
	creating, ctx := errgroup.WithContext(t.Context())
	creating.SetLimit(24)
	for i := range many {
		creating.Go(func() error {
			k := w.keyOf(fmt.Sprintf("key-%05d", i))
			return w.keys.Post().Namespace(w.namespace).Resource("apikeys").Body(k).Do(ctx).Error()
		})
	}
	w.must(nil, creating.Wait())
	r := w.run("viewer", "list", "--no-headers")
	r.expect(t, 0)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(lines) != many {
		t.Fatalf("%d lines, want %d", len(lines), many)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprintf("key-%05d ", i)) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}
