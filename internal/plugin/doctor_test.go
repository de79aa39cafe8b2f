// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// doctor runs as an administrator: who may list the Leases of the release's namespace is one.
func (w *world) doctor(args ...string) result {
	w.t.Helper()
	return runWith(w.t.Context(), nil,
		append([]string{"--kubeconfig", w.cluster.KubeconfigPath(), "-n", w.namespace, "doctor"}, args...)...)
}

// TestDoctor: what is in order is said to be, and each thing that is wrong is found.
func TestDoctor(t *testing.T) {
	w := newWorld(t)
	w.installOther("others")
	dead := w.deadReplica()
	w.doctor().expect(t, 5, "no controller leads", "-> kubectl get pods -n letmepost-system", "test: no API replica answers",
		"test replica "+dead+" (nobody) does not renew its Lease")
	leases := w.core.CoordinationV1().Leases("letmepost-system")
	w.must(nil, leases.Delete(t.Context(), dead, metav1.DeleteOptions{}))

	w.startController()
	api, _ := w.startAPI()
	w.mintFor("fine")
	w.doctor().expect(t, 0, "apikeys.letmepost.dev are served", "there are also apikeys.coralogix.com", "the controller leads",
		"test: API replicas that answer: 1", "you may see, mint and revoke keys", "keys: 1, none of which waits")

	w.run("editor", "mint", "stuck", "-e", "test", "--secret", "fine").expect(t, 4)
	w.mintFor("held")
	w.patch("held", `{"metadata":{"finalizers":["letmepost.dev/revocation","example.com/others"]}}`)
	w.run("editor", "revoke", "held").expect(t, 0)
	w.eventually("the controller's finalizer is off", func() bool { return len(w.get("held").Finalizers) == 1 })
	w.pause(api)
	p := w.launch("editor", nil, nil, "revoke", "fine")
	p.await("refused by 0 of 1 replicas")
	p.interrupt()
	p.end().expect(t, 130)
	p = w.launch("admin", nil, nil, "doctor")
	w.eventually("keys were looked at", func() bool { return strings.Contains(p.out.String(), "/stuck") })
	w.goOn(api) // or it would wait for as long as the Lease lasts
	p.end().expect(t, 5, w.namespace+"/stuck is not served: SecretConflict", "kubectl describe apikeys.letmepost.dev/stuck",
		w.namespace+"/held is revoked, and held by finalizers of others: example.com/others",
		w.namespace+"/fine is being deleted: refused by 0 of 1 replicas", "test: API replicas that answer: 1")
	w.patch("held", `{"metadata":{"finalizers":[]}}`)

	r := w.run("nobody", "doctor")
	r.expect(t, 0, "can't look", "you may not revoke keys", "--clusterrole=letmepost-apikey-revoker")
	if strings.Contains(r.out, "WRONG") {
		t.Errorf("what it may not look at is said to be wrong:\n%s", r.out)
	}
}

// deadReplica is a Lease that nobody renews.
func (w *world) deadReplica() string {
	w.t.Helper()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "letmepost-api-test-dead", Labels: map[string]string{v1alpha1.LabelReplica: "test"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To("nobody"), LeaseDurationSeconds: ptr.To[int32](1)},
	}
	w.must(w.core.CoordinationV1().Leases("letmepost-system").Create(w.t.Context(), lease, metav1.CreateOptions{}))
	return lease.Name
}

// TestWithoutDefinitions: a cluster without the resources is told from one without keys.
func TestWithoutDefinitions(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	bare, err := kube.Start(ctx, kube.Options{UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bare.Stop() }()
	for _, verb := range [][]string{{"list"}, {"mint", "x", "-e", "test"}, {"revoke", "x"}, {"rotate", "x"}, {"who-uses", "x"}} {
		runWith(ctx, nil, append([]string{"--kubeconfig", bare.KubeconfigPath()}, verb...)...).
			expect(t, 1, "does not serve apikeys.letmepost.dev")
	}
	runWith(ctx, nil, "--kubeconfig", bare.KubeconfigPath(), "doctor").
		expect(t, 5, "letmepost.dev/v1alpha1 is not served", "helm upgrade --install")
	runWith(ctx, nil, "--kubeconfig", filepath.Join(t.TempDir(), "none"), "list").expect(t, 1, "none")

	withOldDefinitions(t, bare)
	w := &world{t: t, cluster: bare, namespace: bare.Namespace(t), keys: keysOf(t, bare.AdminConfig())}
	w.eventually("the apiserver publishes their schemas", func() bool {
		r := runWith(ctx, nil, "--kubeconfig", bare.KubeconfigPath(), "doctor")
		return strings.Contains(r.out, "profiles.letmepost.dev are served") && !strings.Contains(r.out, "publishes no schema") &&
			!strings.Contains(r.out, "profiles.letmepost.dev are of another version")
	})
	runWith(ctx, nil, "--kubeconfig", bare.KubeconfigPath(), "doctor").expect(t, 5,
		"WRONG       apikeys.letmepost.dev are of another version than this program: they have no spec.claims, and drop",
		"WRONG       leakedkeys.letmepost.dev are not served: no key is served", "helm upgrade --install")

	// This program asks to be told of a field that is not known.
	runWith(ctx, nil, "--kubeconfig", bare.KubeconfigPath(), "-n", w.namespace, "mint", "gold", "-e", "test", "--claims", "plan=gold").
		expect(t, 1, `unknown field "spec.claims"`)

	// What an upgrade brings, keys that are there have not asked for: they are as they were, and not written again.
	raw := func() string {
		text, err := w.keys.Get().Namespace(w.namespace).Resource("apikeys").Name("before").DoRaw(ctx)
		w.must(nil, err)
		return string(text)
	}
	before := w.keyOf("before")
	before.Spec.Scopes = nil // those that the old definition gives
	w.create(before)
	was := raw()
	w.must(nil, kube.InstallManifests(ctx, bare.AdminConfig(), filepath.Join("..", "..", "config", "crd")))
	w.eventually("the new definitions are served", func() bool {
		after := w.keyOf("after")
		after.GenerateName, after.Name = "after-", ""
		after.Spec.Claims = map[string]v1alpha1.ClaimValue{"plan": "gold"}
		return w.create(after).Spec.Claims["plan"] == "gold"
	})
	if now := raw(); now != was {
		t.Errorf("a key that was there is now\n%s, and was\n%s", now, was)
	}
}

// TestDashboardAndCompletion: what they print can be pasted.
func TestDashboardAndCompletion(t *testing.T) {
	w := newWorld(t)
	w.create(w.keyOf("backend"))
	w.run("editor", "dashboard").expect(t, 0, "kubectl port-forward -n letmepost-system", "http://localhost:8080/dashboard",
		"kubectl create token NAME -n "+w.namespace)
	w.run("editor", "completion").expect(t, 0, "exec kubectl letmepost __complete")
	for _, verb := range []string{"revoke", "rotate", "who-uses"} {
		r := runWith(t.Context(), nil, "__complete", "--kubeconfig", w.as("viewer"), "-n", w.namespace, verb, "")
		r.expect(t, 0, "backend")
	}
	runWith(t.Context(), nil, "__complete", "rev").expect(t, 0, "revoke")
}
