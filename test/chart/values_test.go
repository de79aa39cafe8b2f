// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// Objects and places that many cases look at.
const (
	controller   = "Deployment/letmepost-controller"
	liveAPI      = "Deployment/letmepost-api-live"
	testAPI      = "Deployment/letmepost-api-test"
	releaseJob   = "Job/letmepost-release"
	pod          = "spec template spec"
	container    = "spec template spec containers 0"
	args         = "spec template spec containers 0 args"
	env          = "spec template spec containers 0 env"
	mounts       = "spec template spec containers 0 volumeMounts"
	volumes      = "spec template spec volumes"
	podLabels    = "spec template metadata labels"
	podAnnotated = "spec template metadata annotations"
)

// valueCase says what settings do.
type valueCase struct {
	reason   string
	settings settings
	want     check
}

// postgres is what several replicas need.
var postgres = settings{"database.existingSecret": "pg", "media.url": "s3://bucket?region=eu"}

// with adds settings to others.
func with(base, more settings) settings {
	joined := maps.Clone(base)
	maps.Copy(joined, more)
	return joined
}

// valueCases are all that say what values do: files add theirs.
var valueCases = slices.Concat(generalCases, storageCases, controllerCases, apiCases, edgeCases)

// TestValues renders each case: values do what values.yaml says.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, tc := range valueCases {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			s := with(settings{"crds.install": false}, tc.settings) // they are long, and no case but their own is about them
			tc.want(t, helm(t, s))
		})
	}
}

// TestEveryValueHasACase walks values.yaml: a value that no case sets could do anything.
func TestEveryValueHasACase(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(kube.Path(chartPath + "/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, tc := range valueCases {
		for name := range tc.settings {
			named[name] = true
		}
	}
	var walk func(section map[string]any, path string)
	walk = func(section map[string]any, path string) {
		for name, value := range section {
			whole := strings.TrimPrefix(path+"."+name, ".")
			inner, _ := value.(map[string]any)
			if named[whole] {
				continue // a value, or a section that is set as one
			}
			if len(inner) == 0 {
				t.Errorf("no case sets %s", whole)
			}
			walk(inner, whole)
		}
	}
	walk(values, "")
	known := settings(values)
	for name := range named {
		if !known.knows(name) {
			t.Errorf("a case sets %s, which values.yaml does not have", name)
		}
	}
}

// knows tells whether values.yaml, read as it stands, has a value of that whole name.
func (s settings) knows(name string) bool {
	section := map[string]any(s)
	parts := strings.Split(name, ".")
	for _, part := range parts[:len(parts)-1] {
		section, _ = section[part].(map[string]any)
	}
	_, there := section[parts[len(parts)-1]]
	return there
}
