// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// TestOneVersionOfEachModule holds the modules of this repository to one version of what they share. A package is
// compiled once for each version of itself and of all that it imports: with two versions of protobuf, say, client-go
// and half of Kubernetes were compiled twice before a first `make up`, which took a third longer.
func TestOneVersionOfEachModule(t *testing.T) {
	files, err := filepath.Glob(kube.Path("hack/*/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]map[string][]string{} // by path and version: who requires it
	for _, file := range append(files, kube.Path("go.mod")) {
		name, err := filepath.Rel(kube.Path("."), filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		for path, version := range required(t, file) {
			if versions[path] == nil {
				versions[path] = map[string][]string{}
			}
			versions[path][version] = append(versions[path][version], name)
		}
	}
	if len(versions) < 100 || len(versions["k8s.io/client-go"]) == 0 {
		t.Fatalf("found %d modules, which can't be all", len(versions))
	}
	for _, path := range slices.Sorted(maps.Keys(versions)) {
		if len(versions[path]) > 1 {
			t.Errorf("%s has several versions: %v. Raise the older ones with `go get %s@VERSION` there", path, versions[path], path)
		}
	}
}

// required is what a go.mod requires, by path. What it replaces has the version that takes its place.
func required(t *testing.T, file string) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", file).Output()
	if err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	type module struct{ Path, Version string }
	var parsed struct {
		Require []module
		Replace []struct{ Old, New module }
	}
	if err := json.Unmarshal(out, &parsed); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	found := map[string]string{}
	for _, m := range parsed.Require {
		found[m.Path] = m.Version
	}
	for _, r := range parsed.Replace {
		if _, ok := found[r.Old.Path]; ok {
			found[r.Old.Path] = r.New.Version
		}
	}
	return found
}
