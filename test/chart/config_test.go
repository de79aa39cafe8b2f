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
	want := helm(t, settings{})
	for name, object := range want {
		if dig(object, "metadata annotations helm.sh/hook") != nil {
			delete(want, name)
			continue
		}
		withoutHelm(object)
	}
	// Helm makes the namespace only if it is told to (--create-namespace), and then without labels.
	want["Namespace/letmepost-system"] = map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": "letmepost-system", "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"}},
	}
	got := objects{}
	for _, file := range kustomized(t) {
		loaded, err := kube.LoadManifests(kube.Path("config/" + file))
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range loaded {
			decoded := plain(object.Object).(map[string]any)
			if name := nameOf(decoded); got[name] != nil {
				t.Errorf("%s is in config/ twice", name)
			}
			got[nameOf(decoded)] = decoded
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config/ differs from the chart (-chart +config): run make generate.\n%s", diff)
	}
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
// installation.
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
		if folder = filepath.Base(folder); folder != "samples" {
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
