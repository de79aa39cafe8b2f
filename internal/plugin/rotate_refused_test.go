// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/plugin"
	"github.com/letmepost/letmepost-operator/test/testlog"
)

// successorOf makes a key that takes the place of another one, and that is served, as far as anybody is told: there is
// no controller.
func (w *world) successorOf(old *v1alpha1.ApiKey) *v1alpha1.ApiKey {
	w.t.Helper()
	k := w.keyOf(old.Name + "-2")
	k.Labels = map[string]string{v1alpha1.LabelRotates: string(old.UID)}
	k = w.create(k)
	controller := w.cluster.AdminConfig()
	controller.Impersonate.UserName = "system:serviceaccount:letmepost-system:letmepost-controller"
	w.must(nil, keysOf(w.t, controller).Patch(types.MergePatchType).Namespace(w.namespace).Resource("apikeys").Name(k.Name).
		SubResource("status").Body([]byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Active",`+
		`"message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)).Do(w.t.Context()).Error())
	return k
}

// typing runs a command line at a terminal, at which somebody types.
func (w *world) typing(text, role string, args ...string) result {
	w.t.Helper()
	var out, errs testlog.Buffer
	args = append([]string{"--kubeconfig", w.as(role), "-n", w.namespace}, args...)
	status := plugin.Run(w.t.Context(), args, plugin.Options{
		In: strings.NewReader(text), Out: &out, Err: &errs,
		Terminal: func() (in, out bool) { return true, true },
		Random:   rand.Reader, Clock: clock.RealClock{}, Getenv: func(string) string { return "" },
		Open: func(context.Context, string) error { return errors.New("this machine has none") },
	})
	return result{status, out.String(), errs.String()}
}

// TestRotateWrongCommandLine: what is wrong about a command line is told before a successor is revoked.
func TestRotateWrongCommandLine(t *testing.T) {
	w := newWorld(t)
	brought := w.keyOf("laptop")
	brought.Spec.SecretHash = "bound:" + strings.Repeat("0", 32) + ":" + strings.Repeat("1", 32)
	file, taken := filepath.Join(w.dir, "key"), filepath.Join(w.dir, "taken")
	if err := os.WriteFile(taken, []byte("another key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, old := range []*v1alpha1.ApiKey{w.create(brought), w.create(w.keyOf("backend"))} {
		successor := w.successorOf(old)
		rotate := []string{"rotate", old.Name, "--start-over", "--timeout", "5s"}
		for _, c := range []struct {
			said string
			args []string
		}{
			{"two ways", []string{"--show-once", "--to-file", file}},
			{"--stdout goes with --show-once", []string{"--stdout"}},
			{"standard output is no terminal", []string{"--show-once"}},
			{"key prefix", []string{"--to-file", file, "--key-prefix", "a_b"}},
			{"--secret is for", []string{"--to-file", file, "--secret", "x"}},
			{"in the past", []string{"--to-file", file, "--expires-in", "-1h"}},
			{"is there already", []string{"--to-file", taken}},
			{"there is no folder", []string{"--to-file", filepath.Join(w.dir, "none", "key")}},
			{"unknown flag", []string{"--to-file", file, "--key", "lmp_test_x"}},
		} {
			w.run("editor", append(slices.Clone(rotate), c.args...)...).expect(t, 2, c.said)
		}
		if old.Spec.SecretHash != "" {
			w.run("editor", rotate...).expect(t, 2, "say --to-file or --show-once")
		}
		if now := w.get(successor.Name); now == nil || now.UID != successor.UID || now.DeletionTimestamp != nil {
			t.Errorf("the successor of %s is now %v", old.Name, now)
		}
	}
}

// TestRotateUnseen: whoever may not look at what is given the old key does not revoke it by a word about the rest, and
// is not told that nothing has it.
func TestRotateUnseen(t *testing.T) {
	const nothing, elsewhere = "Nothing here is given", "Has everybody the new key, here as elsewhere?"
	w := newWorld(t)
	old := w.create(w.keyOf("backend"))
	w.successorOf(old)
	rotate := []string{"rotate", "backend", "--timeout", "5s"}
	isThere := func() {
		t.Helper()
		if now := w.get("backend"); now == nil || now.DeletionTimestamp != nil {
			t.Fatalf("the old key is now %v", now)
		}
	}
	w.run("rotator", append(rotate, "--switched")...).expect(t, 4, "backend is not revoked",
		"pods is forbidden", "deployments.apps is forbidden", "--force revokes it anyway")
	isThere()
	w.typing("yes\n", "rotator", append(rotate, "--switched")...).expect(t, 4, "backend is not revoked")
	isThere()

	for _, c := range []struct {
		reason, role  string
		args          []string
		said, notSaid string
	}{
		{"all was looked at", "editor", nil, nothing + " backend any more. Has everybody else the new key?", elsewhere},
		{"not all could be", "rotator", nil, elsewhere, nothing},
		{"nobody has looked", "editor", []string{"--force"}, elsewhere, nothing},
	} {
		r := w.typing("no\n", c.role, append(rotate, c.args...)...)
		r.expect(t, 1, c.said, "is not revoked, and goes on working")
		if strings.Contains(r.err, c.notSaid) {
			t.Errorf("%s: it says\n%s", c.reason, r.err)
		}
		isThere()
	}
	r := w.run("viewer", "who-uses", "backend")
	r.expect(t, 0, "nothing that you may look at is given it", "Not all could be looked at")
	w.run("rotator", append(rotate, "--switched", "--force")...)
	if now := w.get("backend"); now != nil {
		t.Errorf("with --force, the old key is still there: %v", now)
	}
}
