// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/retry"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// TestLeaked: a key that was brought and that somebody reports is shown as leaked, with what to do; and a report that
// nobody takes is found.
func TestLeaked(t *testing.T) {
	w := newWorld(t)
	w.startController()
	_, api := w.startAPI()
	file := filepath.Join(w.dir, "laptop")
	w.run("editor", "mint", "laptop", "-e", "test", "--to-file", file).expect(t, 0)
	w.run("viewer", "list", "-o", "wide").expect(t, 0, "Active", "WHY", "<none>")
	w.doctor().expect(t, 0, "apikeys.letmepost.dev are served", "leakedkeys.letmepost.dev are served")
	laptop, err := os.ReadFile(file)
	w.must(nil, err)
	w.report(api, strings.TrimSpace(string(laptop)))
	w.eventually("it is confirmed that the key is refused", func() bool {
		k := w.get("laptop")
		return len(k.Status.Conditions) > 0 && strings.Contains(w.run("viewer", "list").out, " Leaked ") &&
			!strings.Contains(w.run("viewer", "list").err, "replicas")
	})
	next := "kubectl letmepost revoke laptop -n " + w.namespace
	w.run("viewer", "list").expect(t, 0, w.namespace+"/laptop has leaked", next)
	w.run("viewer", "list", "-o", "wide").expect(t, 0, "Somebody who has this key has reported it as leaked")
	w.doctor().expect(t, 5, "WRONG       "+w.namespace+"/laptop has leaked, and is refused for good", next, "keys that have leaked, and are refused whatever brings them: ")
	w.run("nobody", "doctor").expect(t, 0, "can't look  keys that have leaked")
	w.run("editor", "revoke", "laptop").expect(t, 0)
	w.run("viewer", "list").expect(t, 0, "No keys found")

	// On the Lease of a process that is gone: one report that was settled, and one that was not.
	dead := w.deadReplica()
	lease := w.core.CoordinationV1().Leases("letmepost-system")
	settled, waits := key.DigestOf(strings.TrimSpace(string(laptop))).Hex(), key.DigestOf("nobody has taken it").Hex()
	body := `{"metadata":{"annotations":{"letmepost.dev/leaked":"` + w.namespace + `/` + settled + `,` + w.namespace + `/` + waits + `"}}}`
	w.must(lease.Patch(t.Context(), dead, types.MergePatchType, []byte(body), metav1.PatchOptions{}))
	w.liveGate()
	r := w.doctor()
	r.expect(t, 5, "gates that answer: 1", "reports of leaked keys that wait on the Lease "+dead+": 1", "kubectl get pods -n letmepost-system")
	if strings.Contains(r.out+r.err, waits[len(waits)/2:]) || strings.Contains(r.out+r.err, settled[len(settled)/2:]) {
		t.Errorf("the digest of a key is shown:\n%s%s", r.out, r.err)
	}
	w.must(nil, lease.Delete(t.Context(), dead, metav1.DeleteOptions{}))
}

// liveGate is the Lease of a gate that is renewed, as long as the test lasts.
func (w *world) liveGate() {
	w.t.Helper()
	leases := w.core.CoordinationV1().Leases("letmepost-system")
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "letmepost-gate-alive", Labels: map[string]string{v1alpha1.LabelReplica: "gate"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To("gate-0"), LeaseDurationSeconds: ptr.To[int32](60)},
	}
	w.must(leases.Create(w.t.Context(), lease, metav1.CreateOptions{}))
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for retry.Pause(ctx, 100*time.Millisecond) {
			body := `{"spec":{"renewTime":"` + time.Now().UTC().Format(metav1.RFC3339Micro) + `"}}`
			_, _ = leases.Patch(ctx, lease.Name, types.MergePatchType, []byte(body), metav1.PatchOptions{}) // the next one does
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		<-ended
		w.must(nil, leases.Delete(context.Background(), lease.Name, metav1.DeleteOptions{}))
	})
}

// report reports a key at an API, as whoever holds it may.
func (w *world) report(api, key string) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, api+"/v1/leaked", strings.NewReader(`{"key":"`+key+`"}`))
	w.must(nil, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := asking.Do(request)
	w.must(nil, err)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		w.t.Fatalf("the report is answered %d", response.StatusCode)
	}
}

// withOldDefinitions installs those of a version that knew no claims and no leaks.
func withOldDefinitions(t *testing.T, cluster *kube.Cluster) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"letmepost.dev_apikeys.yaml", "letmepost.dev_profiles.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", name))
		if err != nil {
			t.Fatal(err)
		}
		var crd unstructured.Unstructured
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		unstructured.RemoveNestedField(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties", "claims")
		if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
			t.Fatal(err)
		}
		if text, err = yaml.Marshal(crd.Object); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := kube.InstallManifests(t.Context(), cluster.AdminConfig(), dir); err != nil {
		t.Fatal(err)
	}
}
