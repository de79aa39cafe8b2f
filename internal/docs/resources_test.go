// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// crd is as much of a definition as a page has to say something of.
type crd struct {
	Spec struct {
		Names    struct{ Kind string }
		Versions []struct {
			Schema struct {
				OpenAPIV3Schema struct {
					Properties map[string]struct{ Properties map[string]any }
				}
			}
		}
	}
}

// TestResources: each resource has a page of its own, and on it each field of its spec and its status.
func TestResources(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "config", "crd", "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d definitions: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var of crd
		if err := yaml.Unmarshal(text, &of); err != nil {
			t.Fatal(err)
		}
		name := "/docs/spec/v1alpha1/" + strings.ToLower(of.Spec.Names.Kind) + ".md"
		answer := ask(http.MethodGet, name)
		if answer.Code != http.StatusOK {
			t.Errorf("%s has no page %s", of.Spec.Names.Kind, name)
			continue
		}
		properties := of.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		for _, part := range []string{"spec", "status"} {
			for _, field := range slices.Sorted(maps.Keys(properties[part].Properties)) {
				row := regexp.MustCompile("(?m)^\\| [^|]*`" + field + "[`.]")
				if !row.MatchString(answer.Body.String()) {
					t.Errorf("%s has no row for %s.%s", name, part, field)
				}
			}
		}
	}
}

var aReason = regexp.MustCompile(`\bReason[A-Z]\w*\s*=\s*"(\w+)"`)

// TestReasons: each reason of a condition has a row that says what it means.
func TestReasons(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "api", "v1alpha1", "conditions.go"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := aReason.FindAllSubmatch(text, -1)
	if len(reasons) < 16 {
		t.Fatalf("only %d reasons are found", len(reasons))
	}
	page := ask(http.MethodGet, "/docs/spec/v1alpha1/apikey.md").Body.String()
	for _, r := range reasons {
		if row := regexp.MustCompile("(?m)^\\| (True|False|Unknown) \\| `" + string(r[1]) + "` \\| [^|]+\\|"); !row.MatchString(page) {
			t.Errorf("docs/spec/v1alpha1/apikey.md has no row for the reason %s", r[1])
		}
	}
}
