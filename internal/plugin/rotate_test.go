// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// TestRotate ends a rotation by Ctrl-C at each of its steps, and goes on.
func TestRotate(t *testing.T) {
	w := newWorld(t)
	controller := w.startController()
	api, url := w.startAPI()
	old := w.mintFor("backend", "--labels", "team=web,app.kubernetes.io/instance=argo", "--scopes", "posts:read,a.dev:x",
		"--claims", "plan=gold", "--expires-in", "48h")
	pod := w.podWith("web-1", "web", "backend")
	w.createPod(pod)

	t.Run("step 1", func(t *testing.T) {
		w := w.of(t)
		w.pause(controller) // so that the new key is not served
		p := w.launch("editor", nil, nil, "rotate", "backend", "--switched")
		p.await("step 1 of 3: minting")
		w.eventually("the new key is there", func() bool { return w.get("backend-2") != nil })
		p.interrupt()
		p.end().expect(t, 130, "to go on: kubectl letmepost rotate backend")
		w.goOn(controller)

		k := w.get("backend-2")
		if k.Labels[v1alpha1.LabelRotates] != string(w.get("backend").UID) || k.Labels["team"] != "web" || len(k.Labels) != 2 {
			t.Errorf("its labels are %v: those of tools are theirs", k.Labels)
		}
		if !slices.Equal(k.Spec.Scopes, []v1alpha1.Scope{v1alpha1.ScopePostsRead, "a.dev:x"}) ||
			k.Spec.Claims["plan"] != "gold" ||
			time.Until(k.Spec.ExpiresAt.Time).Round(time.Hour) != 48*time.Hour {
			t.Errorf("its spec is %+v", k.Spec)
		}
	})
	t.Run("step 2, while a Pod has the old one", func(t *testing.T) {
		w := w.of(t)
		p := w.launch("editor", nil, nil, "rotate", "backend", "--switched")
		p.await("step 1 of 3: backend-2 is there already")
		p.await("backend is still given to pod/web-1")
		p.interrupt()
		p.end().expect(t, 130, "backend-2 takes the place of", "to go on")
		w.isServed(url, old)
	})
	t.Run("without a terminal nobody is asked, and nothing is revoked", func(t *testing.T) {
		w := w.of(t)
		w.run("editor", "rotate", "backend").expect(t, 0, "backend-2 takes the place of", "--switched")
		w.run("editor", "rotate", "backend", "--switched", "--timeout", "3s").expect(t, 4, "backend is not revoked")
		w.isServed(url, old)
	})
	t.Run("step 2, at the question", func(t *testing.T) {
		w := w.of(t)
		w.must(nil, w.core.CoreV1().Pods(w.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
		_, theirs := terminal(t)
		p := w.launch("editor", theirs, nil, "rotate", "backend")
		p.await("Type yes to revoke")
		p.interrupt()
		p.end().expect(t, 130, "to go on")

		screen, theirs := terminal(t)
		p = w.launch("editor", theirs, nil, "rotate", "backend")
		p.await("Type yes to revoke")
		_, err := screen.WriteString("no\n")
		w.must(nil, err)
		p.end().expect(t, 1, "is not revoked, and goes on working")
		w.isServed(url, old)
	})
	t.Run("step 3", func(t *testing.T) {
		w := w.of(t)
		w.pause(api) // so that the revocation is not confirmed
		screen, theirs := terminal(t)
		p := w.launch("editor", theirs, nil, "rotate", "backend")
		p.await("Type yes to revoke")
		_, err := screen.WriteString("yes\n")
		w.must(nil, err)
		p.await("refused by 0 of 1 replicas")
		p.interrupt()
		p.end().expect(t, 130, "the deletion goes on")

		p = w.launch("editor", nil, nil, "rotate", "backend") // it needs no word any more
		p.await("refused by 0 of 1 replicas")
		w.goOn(api)
		p.end().expect(t, 0, "backend revoked: no replica accepts it any more")
	})
	t.Run("over", func(t *testing.T) {
		w := w.of(t)
		if got := statusOf(t, url, old); got != 401 || w.get("backend") != nil {
			t.Errorf("the API answers %d to the old key", got)
		}
		w.isServed(url, w.secretOf("backend-2"))
		w.run("editor", "rotate", "backend").expect(t, 0, "nothing is left to do")
		w.run("editor", "rotate", "never-was").expect(t, 1, "not found")
		w.run("editor", "rotate", "backend-2").expect(t, 0, "backend-3 takes the place of")
		if keys := w.run("editor", "list", "-o", "name").out; strings.Count(keys, "\n") != 2 {
			t.Errorf("there are more keys than the one that is rotated and its successor:\n%s", keys)
		}
		w.run("viewer", "rotate", "backend-2", "--start-over").expect(t, 3, "forbidden")
	})
}

// TestRotateOutside rotates a key that is in no Secret: its successor is made on this side as well.
func TestRotateOutside(t *testing.T) {
	w := newWorld(t)
	w.startController()
	_, url := w.startAPI()
	file := func(name string) string { return filepath.Join(w.dir, name) }
	w.run("editor", "mint", "laptop", "-e", "test", "--to-file", file("1")).expect(t, 0)
	w.run("editor", "rotate", "laptop").expect(t, 2, "say --to-file or --show-once")
	w.run("editor", "rotate", "laptop", "--to-file", file("2")).expect(t, 0, "is in "+file("2"))
	// The file is lost.
	w.must(nil, os.Remove(file("2")))
	w.run("editor", "rotate", "laptop", "--to-file", file("3")).expect(t, 0, "can't be again. If nobody has it: --start-over")
	w.run("editor", "rotate", "laptop", "--to-file", file("3"), "--start-over", "--switched").
		expect(t, 0, "laptop-2 revoked", "is in "+file("3"), "laptop revoked")
	plaintext, err := os.ReadFile(file("3"))
	w.must(nil, err)
	w.isServed(url, strings.TrimSpace(string(plaintext)))
	before, err := os.ReadFile(file("1"))
	w.must(nil, err)
	if got := statusOf(t, url, strings.TrimSpace(string(before))); got != 401 {
		t.Errorf("the API answers %d to the old key", got)
	}
}

func (w *world) secretOf(name string) string {
	w.t.Helper()
	secret, err := w.core.CoreV1().Secrets(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	w.must(nil, err)
	return string(secret.Data[v1alpha1.SecretKeyAPIKey])
}

// TestWhoUses: whoever is given a Secret is found, in whatever way that is.
func TestWhoUses(t *testing.T) {
	w := newWorld(t)
	w.create(w.keyOf("backend"))
	byHash := w.keyOf("laptop")
	byHash.Spec.SecretHash = "bound:" + strings.Repeat("0", 32) + ":" + strings.Repeat("1", 32)
	w.create(byHash)
	w.run("editor", "who-uses", "backend").expect(t, 0, "nothing in this namespace is given it")

	volumes := w.podWith("a-volumes", "db", "other")
	volumes.Spec.Volumes = []corev1.Volume{
		{Name: "plain", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "backend"}}},
		{Name: "mixed", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "backend"}}},
		}}}},
	}
	env := w.podWith("b-env", "web", "backend")
	env.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "example.com/app", Env: []corev1.EnvVar{{
		Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "backend"}, Key: "LMP_API_KEY",
		}},
	}}}}
	w.createPod(volumes)
	w.createPod(env)
	w.createPod(w.podWith("c-other", "web", "other"))
	night := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "night"}, Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *"}}
	night.Spec.JobTemplate.Spec.Template.Spec = w.podWith("", "", "backend").Spec
	night.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.must(w.core.BatchV1().CronJobs(w.namespace).Create(t.Context(), night, metav1.CreateOptions{}))
	named := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "named"}, Secrets: []corev1.ObjectReference{{Name: "backend"}}}
	w.must(w.core.CoreV1().ServiceAccounts(w.namespace).Create(t.Context(), named, metav1.CreateOptions{}))

	r := w.run("editor", "who-uses", "backend")
	r.expect(t, 0, "is in the Secret backend")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(r.out), "\n")[2:] {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"cronjob/night default envFrom of app",
		"pod/a-volumes db volume plain, volume mixed",
		"pod/b-env web env of init, envFrom of app",
		"serviceaccount/named named secrets",
	}
	if !slices.Equal(got, want) {
		t.Errorf("it finds %q, want %q", got, want)
	}
	w.run("editor", "who-uses", "laptop").expect(t, 0, "the cluster does not know where the key is")
	asking := []string{"--kubeconfig", w.as("editor"), "-n", w.namespace, "who-uses", "--api-url", w.apiThatSaw("backend")}
	withKey := map[string]string{"LMP_API_KEY": "lmp_test_x"}
	runWith(t.Context(), withKey, append(asking, "backend")...).expect(t, 0, "pod/b-env", "last used: 15m ago")
	runWith(t.Context(), withKey, append(asking, "laptop")...).expect(t, 0, "last used: <unknown>")
	w.run("viewer", "who-uses", "backend").expect(t, 0, "Not all could be looked at", "forbidden")
	w.run("nobody", "who-uses", "backend").expect(t, 3, "forbidden")
}
