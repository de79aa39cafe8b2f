// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// TestConfigIsTheChart says that who installs config/ with Kustomize gets what Helm makes of the default values: every
// object, but for hooks, which nobody would run, and for what Helm writes on objects to know its own.
func TestConfigIsTheChart(t *testing.T) {
	t.Parallel()
	want := unhelmed(t, settings{})
	// Helm makes the namespace only if it is told to (--create-namespace), and then without labels.
	want["Namespace/letmepost-system"] = map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": "letmepost-system", "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"}},
	}
	var files []string
	for _, file := range kustomized(t) {
		files = append(files, "config/"+file)
	}
	if diff := cmp.Diff(want, loaded(t, files)); diff != "" {
		t.Errorf("config/ differs from the chart (-chart +config): run make generate.\n%s", diff)
	}
}

// TestConfigOfTheGate says that config/gate is what gate.enabled adds, and nothing else.
func TestConfigOfTheGate(t *testing.T) {
	t.Parallel()
	want := unhelmed(t, gateOn)
	for name := range unhelmed(t, settings{}) {
		delete(want, name)
	}
	files, err := filepath.Glob(kube.Path("config/gate/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		files[i] = "config/gate/" + filepath.Base(file)
	}
	if diff := cmp.Diff(want, loaded(t, files)); diff != "" || len(want) < 8 {
		t.Errorf("config/gate differs from what the chart adds (-chart +config): run make generate.\n%s", diff)
	}
}

// unhelmed is what Helm makes of settings, without what is Helm's alone.
func unhelmed(t *testing.T, s settings) objects {
	t.Helper()
	want := helm(t, s)
	for name, object := range want {
		if dig(object, "metadata annotations helm.sh/hook") != nil {
			delete(want, name)
			continue
		}
		withoutHelm(object)
	}
	return want
}

// loaded are the objects of files.
func loaded(t *testing.T, files []string) objects {
	t.Helper()
	got := objects{}
	for _, file := range files {
		read, err := kube.LoadManifests(kube.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range read {
			decoded := plain(object.Object).(map[string]any)
			if name := nameOf(decoded); got[name] != nil {
				t.Errorf("%s is in config/ twice", name)
			}
			got[nameOf(decoded)] = decoded
		}
	}
	return got
}

// withoutHelm takes off what Helm alone needs.
func withoutHelm(object map[string]any) {
	metadata := object["metadata"].(map[string]any)
	for _, kind := range []string{"labels", "annotations"} {
		texts, _ := metadata[kind].(map[string]any)
		maps.DeleteFunc(texts, func(key string, _ any) bool {
			return strings.HasPrefix(key, "helm.sh/") || key == "app.kubernetes.io/managed-by"
		})
		if len(texts) == 0 {
			delete(metadata, kind)
		}
	}
}

// kustomized are the files that kustomization.yaml names: each file of config/ but the samples, which are no part of an
// installation, and the gate, which has one of its own.
func kustomized(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(kube.Path("config/kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		t.Fatal(err)
	}
	there, err := filepath.Glob(kube.Path("config/*/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files := []string{}
	for _, path := range there {
		folder, file := filepath.Split(path)
		if folder = filepath.Base(folder); folder != "samples" && folder != "gate" {
			files = append(files, folder+"/"+file)
		}
	}
	slices.Sort(files)
	if diff := cmp.Diff(files, kustomization.Resources); diff != "" {
		t.Errorf("kustomization.yaml does not name what is there (-there +named):\n%s", diff)
	}
	return kustomization.Resources
}

// TestKustomize builds config/ as kubectl does.
func TestKustomize(t *testing.T) {
	t.Parallel()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		kubectl = kube.Path("bin/k8s/kubectl") // make controlplane builds it where there is none
	}
	built, err := exec.CommandContext(t.Context(), kubectl, "kustomize", kube.Path("config")).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize config: %v: %s", err, built)
	}
	if !strings.Contains(string(built), "name: letmepost-api-live") {
		t.Errorf("there is no live API in it:\n%s", built)
	}
}

// TestDefinitions says that the chart installs the resource definitions as controller-gen wrote them.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	there, err := os.ReadDir(kube.Path("config/crd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		want, _ := os.ReadFile(kube.Path("config/crd/" + file.Name()))
		got, _ := os.ReadFile(kube.Path(chartPath + "/files/crds/" + file.Name()))
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-config +chart): run make generate.\n%s", file.Name(), diff)
		}
	}
}

// TestLint has Helm look at the chart as strictly as it can.
func TestLint(t *testing.T) {
	t.Parallel()
	for _, s := range []settings{{}, everything} {
		values := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(values, s.file(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), kube.Path("bin/tools/helm"), "lint", "--strict", "--values", values, kube.Path(chartPath)).CombinedOutput()
		if err != nil {
			t.Errorf("helm lint --strict with %v: %v\n%s", s, err, out)
		}
	}
}
