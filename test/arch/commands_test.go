// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// bareName finds, in a command of kubectl, one of our resources by a name that others may have as well. kubectl takes
// the first group of the alphabet that has it: on a cluster with apikeys.coralogix.com, `kubectl delete apikey` is
// about that one. Whoever revokes a leaked key must not be told that there is none.
var bareName = regexp.MustCompile(`kubectl\b[^\n\x60]*?[\s,](apikeys?|ak|profiles?)([\s,/\x60"']|$)`)

// toldToPeople are the folders and files with commands for people; those of tests are about clusters of their own.
var toldToPeople = []string{
	"README.md", "SECURITY.md", "CONTRIBUTING.md", "docs", "charts", "config", "cmd", "internal", "api", "hack",
}

// TestCommandsNameTheGroup reads every command that a person may copy: of pages, conditions, notes, flags and alerts.
func TestCommandsNameTheGroup(t *testing.T) {
	named := 0
	for _, place := range toldToPeople {
		err := filepath.WalkDir(kube.Path(place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) == ".sum" {
				return err
			}
			text, err := os.ReadFile(path)
			for i, line := range strings.Split(string(text), "\n") {
				if found := bareName.FindStringSubmatch(line); found != nil {
					t.Errorf("%s:%d: %q is a name that others may have: write %s.letmepost.dev",
						path, i+1, found[1], map[bool]string{true: "profiles", false: "apikeys"}[found[1][0] == 'p'])
				}
				if strings.Contains(line, "kubectl") && strings.Contains(line, "apikeys.letmepost.dev") {
					named++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if named < 30 {
		t.Errorf("%d commands were found that name apikeys.letmepost.dev, which can't be all", named)
	}
}

func TestBareName(t *testing.T) {
	for line, want := range map[string]string{
		"kubectl delete apikey NAME":                      "apikey",
		"kubectl get ak":                                  "ak",
		"    kubectl -n acme get apikeys,secrets":         "apikeys",
		"kubectl wait --for=delete apikey/x":              "apikey",
		"kubectl get secrets,profiles":                    "profiles",
		"`kubectl describe apikey`: conditions":           "apikey",
		"kubectl delete apikeys.letmepost.dev NAME":       "",
		"kubectl wait apikeys.letmepost.dev/my-first-key": "",
		"kubectl get secret my-apikey -n acme":            "",
		"kubectl apply -f docs/examples/apikey.yaml":      "",
		"`kubectl get secret` shows what an apikey holds": "",
	} {
		got := ""
		if found := bareName.FindStringSubmatch(line); found != nil {
			got = found[1]
		}
		if got != want {
			t.Errorf("%s: found %q, want %q", line, got, want)
		}
	}
}
