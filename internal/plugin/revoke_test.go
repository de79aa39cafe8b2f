// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// mintFor mints a key and returns its plaintext.
func (w *world) mintFor(name string, args ...string) string {
	w.t.Helper()
	w.run("editor", append([]string{"mint", name, "-e", "test"}, args...)...).expect(w.t, 0)
	return w.secretOf(name)
}

// TestRevoke: with three real replicas, one of which is stopped.
func TestRevoke(t *testing.T) {
	w := newWorld(t)
	w.installOther("backend")
	w.startController()
	api, url := w.startAPI()
	w.startAPI()
	w.startAPI()
	backend := w.mintFor("backend")
	web := w.mintFor("web", "--labels", "team=web")
	w.mintFor("web-2", "--labels", "team=web")

	t.Run("who may not is told so, and nothing has changed", func(t *testing.T) {
		w := w.of(t)
		for _, role := range []string{"viewer", "minter", "nobody"} {
			w.run(role, "revoke", "backend").expect(t, 3, "forbidden")
			w.run(role, "revoke", "-l", "team=web", "--dry-run").expect(t, 3, "forbidden")
		}
		w.isServed(url, backend)
	})
	t.Run("what can't be meant is told before anything is done", func(t *testing.T) {
		w := w.of(t)
		w.run("revoker", "revoke").expect(t, 2, "say which keys")
		w.run("revoker", "revoke", "backend", "-l", "team=web").expect(t, 2, "say which keys")
		w.run("revoker", "revoke", "-l", "").expect(t, 2, "would revoke all keys")
		w.run("revoker", "revoke", "-l", "team=nobodys").expect(t, 0, "No key of")
		w.run("revoker", "revoke", "missing").expect(t, 1, `apikeys.letmepost.dev "missing" not found`)
	})
	t.Run("dry run", func(t *testing.T) {
		w := w.of(t)
		r := w.run("revoker", "revoke", "-l", "team=web", "--dry-run")
		r.expect(t, 0, "apikeys.letmepost.dev/web would be revoked (Active, lmp_test_…", "apikeys.letmepost.dev/web-2 would")
		w.isServed(url, web)
	})
	t.Run("it shows who is awaited", func(t *testing.T) {
		w := w.of(t)
		w.pause(api)
		p := w.launch("revoker", nil, nil, "revoke", "-l", "team=web")
		p.await("refused by 2 of 3 replicas; waiting for letmepost-api-test-")
		w.goOn(api)
		p.end().expect(t, 0, "apikeys.letmepost.dev/web revoked", "apikeys.letmepost.dev/web-2 revoked")
		if got := statusOf(t, url, web); got != 401 || w.get("web") != nil {
			t.Errorf("the API answers %d to a key whose revocation is confirmed", got)
		}
	})
	t.Run("one that is not confirmed in time is not confirmed", func(t *testing.T) {
		w := w.of(t)
		w.mintFor("late")
		w.pause(api)
		w.run("revoker", "revoke", "late", "--timeout", "1500ms").
			expect(t, 4, "late: it is being deleted, and that is not confirmed", "the time of --timeout is up")
		p := w.launch("revoker", nil, nil, "revoke", "late")
		p.await("refused by 2 of 3 replicas")
		p.interrupt()
		p.end().expect(t, 130, "the deletion goes on")
		w.goOn(api)
		w.run("revoker", "revoke", "late", "--timeout", "1m")
		if w.get("late") != nil {
			t.Error("it is still there")
		}
	})
	t.Run("what is missing keeps no other key", func(t *testing.T) {
		w := w.of(t)
		w.mintFor("leaked")
		w.run("revoker", "revoke", "missing", "leaked", "--cancel-scheduled").
			expect(t, 1, "apikeys.letmepost.dev/leaked revoked", `"missing" not found`)
	})
	t.Run("one that others hold is confirmed all the same", func(t *testing.T) {
		w := w.of(t)
		w.mintFor("held")
		w.patch("held", `{"metadata":{"finalizers":["letmepost.dev/revocation","example.com/others"]}}`)
		w.run("revoker", "revoke", "held").expect(t, 0, "apikeys.letmepost.dev/held revoked")
		w.eventually("the controller's finalizer is off", func() bool { return len(w.get("held").Finalizers) == 1 })
		w.patch("held", `{"metadata":{"finalizers":[]}}`)
	})
	t.Run("the other ApiKey of that name is still there", func(t *testing.T) {
		w := w.of(t)
		w.run("revoker", "revoke", "backend").expect(t, 0, "apikeys.letmepost.dev/backend revoked")
		err := w.core.CoreV1().RESTClient().Get().
			AbsPath("/apis/coralogix.com/v1alpha1/namespaces/" + w.namespace + "/apikeys/backend").Do(t.Context()).Error()
		if err != nil {
			t.Errorf("somebody else's ApiKey: %v", err)
		}
	})
}

// TestRevokeUnconfirmed: a key that nothing holds goes at once, and it is not said that anybody had confirmed that.
func TestRevokeUnconfirmed(t *testing.T) {
	w := newWorld(t)
	controller := w.startController()
	w.mintFor("released")
	w.must(nil, controller.Stop(t.Context()))
	w.patch("released", `{"metadata":{"annotations":{"letmepost.dev/unconfirmed":"true"},"finalizers":[]}}`)
	r := w.run("revoker", "revoke", "released")
	r.expect(t, 4, "without the word of the API replicas")
	if strings.Contains(r.out, "revoked") {
		t.Errorf("it says so:\n%s", r.out)
	}
}

func (w *world) patch(name, patch string) {
	w.t.Helper()
	w.must(nil, w.keys.Patch(types.MergePatchType).Namespace(w.namespace).Resource("apikeys").Name(name).
		Body([]byte(patch)).Do(w.t.Context()).Error())
}
