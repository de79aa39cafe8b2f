// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"fmt"
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
	vaultJob     = "Job/letmepost-vault"
	pod          = "spec template spec"
	container    = "spec template spec containers 0"
	args         = "spec template spec containers 0 args"
	env          = "spec template spec containers 0 env"
	mounts       = "spec template spec containers 0 volumeMounts"
	volumes      = "spec template spec volumes"
	podLabels    = "spec template metadata labels"
	podAnnotated = "spec template metadata annotations"
)

// appVersion is the tag of the images, unless values say otherwise.
var appVersion = func() string {
	text, err := os.ReadFile(kube.Path(chartPath + "/Chart.yaml"))
	if err != nil {
		panic(err) // there is no chart to test
	}
	var chart struct{ AppVersion string }
	if err := yaml.Unmarshal(text, &chart); err != nil || chart.AppVersion == "" {
		panic(fmt.Sprintf("Chart.yaml has no appVersion: %v", err))
	}
	return chart.AppVersion
}()

// valueCase says what settings do.
type valueCase struct {
	reason   string
	settings settings
	want     check
}

// postgres is what several replicas need.
var postgres = settings{"database.existingSecret": given("pg"), "media.url": given("s3://bucket?region=eu")}

// with adds settings to others.
func with(base, more settings) settings {
	joined := maps.Clone(base)
	maps.Copy(joined, more)
	return joined
}

// base leaves the definitions out, unless the case is about them: they are long.
func (tc valueCase) base() settings {
	if _, there := tc.settings["crds.install"]; there {
		return settings{}
	}
	return settings{"crds.install": false}
}

// valueCases are all that say what values do: files add theirs.
var valueCases = slices.Concat(generalCases, storageCases, controllerCases, apiCases, gateCases, edgeCases, textCases)

// TestValues renders each case: values do what values.yaml says.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, tc := range valueCases {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			tc.want(t, helm(t, with(tc.base(), tc.settings)))
		})
	}
}

// witness notes whether a check fails.
type witness struct{ failed bool }

func (*witness) Helper()                 {}
func (w *witness) Errorf(string, ...any) { w.failed = true }

// TestEverySettingMatters leaves out each setting of each case in turn: then Helm must refuse, or the check must fail.
// What passes without the setting does not test it.
func TestEverySettingMatters(t *testing.T) {
	t.Parallel()
	for _, tc := range valueCases {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			for name, value := range tc.settings {
				if _, ok := value.(precondition); ok {
					continue
				}
				without := maps.Clone(tc.settings)
				delete(without, name)
				found, err := tryHelm(t, with(tc.base(), without))
				watched := &witness{}
				if err == nil {
					tc.want(watched, found)
				}
				if err == nil && !watched.failed {
					t.Errorf("the case passes without %s", name)
				}
			}
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
		for name, value := range tc.settings {
			if _, ok := value.(precondition); !ok {
				named[name] = true
			}
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
