// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// bareNames finds, in a command of kubectl, one of our resources by a name that others may have as well. kubectl takes
// the first group of the alphabet that has it: on a cluster with apikeys.coralogix.com, `kubectl delete apikey` is
// about that one. Whoever revokes a leaked key must not be told that there is none.
type bareNames struct {
	name   *regexp.Regexp
	plural map[string]string // of each name
}

// newBareNames reads the names in the definitions, so that those of a new resource are known as well.
func newBareNames(t *testing.T) bareNames {
	t.Helper()
	paths, err := filepath.Glob(kube.Path("config/crd/*.yaml"))
	if err != nil || len(paths) < 3 {
		t.Fatalf("the definitions are %q, which can't be all: %v", paths, err)
	}
	b := bareNames{plural: map[string]string{}}
	for _, path := range paths {
		var crd struct {
			Spec struct {
				Names struct {
					Plural, Singular string
					ShortNames       []string
				}
			}
		}
		if text, err := os.ReadFile(path); err != nil || yaml.Unmarshal(text, &crd) != nil {
			t.Fatalf("%s can't be read: %v", path, err)
		}
		names := crd.Spec.Names
		for _, name := range append(names.ShortNames, names.Singular, names.Plural) {
			b.plural[name] = names.Plural
		}
	}
	names := strings.Join(slices.Sorted(maps.Keys(b.plural)), "|")
	b.name = regexp.MustCompile(`kubectl\b[^\n\x60]*?[\s,](` + names + `)([\s,/\x60"']|$)`)
	return b
}

// in returns the first such name in a line, and "" if there is none.
func (b bareNames) in(line string) string {
	if found := b.name.FindStringSubmatch(line); found != nil {
		return found[1]
	}
	return ""
}

// goesOn is where a command goes on in the next line: of a shell, and of a text in Go.
var goesOn = regexp.MustCompile(`[ \t]*\\\n[ \t]*|"[ \t]*\+\n[ \t]*"`)

// wholeLines are the lines of a text. Where what stands in one goes on in the next, they are one line, with a form feed
// between them: a command, or what stands between backticks in a page or in a comment.
func wholeLines(text string) []string {
	lines := strings.Split(goesOn.ReplaceAllString(text, "\f"), "\n")
	var whole []string
	fenced, spanned := false, false
	for _, line := range lines {
		bare := strings.TrimLeft(line, " \t")
		switch {
		case strings.HasPrefix(bare, "```"):
			fenced, spanned = !fenced, false
		case bare == "":
			spanned = false // no span is longer than its paragraph
		}
		if spanned {
			whole[len(whole)-1] += "\f" + strings.TrimLeft(bare, "#/ ")
		} else {
			whole = append(whole, line)
		}
		if !fenced && strings.Count(line, "`")%2 == 1 {
			spanned = !spanned
		}
	}
	return whole
}

// toldToPeople are the folders and files with commands for people; those of tests are about clusters of their own.
var toldToPeople = []string{
	"README.md", "SECURITY.md", "CONTRIBUTING.md", "docs", "charts", "config", "cmd", "internal", "api", "hack",
}

// TestCommandsNameTheGroup reads every command that a person may copy: of pages, conditions, notes, flags and alerts.
func TestCommandsNameTheGroup(t *testing.T) {
	bare, named := newBareNames(t), map[string]int{}
	full := regexp.MustCompile(`kubectl\b[^\n\x60]*?[\s,]([a-z]+)\.letmepost\.dev\b`)
	for _, place := range toldToPeople {
		err := filepath.WalkDir(kube.Path(place), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) == ".sum" {
				return err
			}
			text, err := os.ReadFile(path)
			if !bytes.Contains(text, []byte("kubectl")) {
				return err // most, and among them the large ones
			}
			at := 1
			for _, line := range wholeLines(string(text)) {
				if name := bare.in(line); name != "" {
					t.Errorf("%s:%d: %q is a name that others may have: write %s.letmepost.dev",
						path, at, name, bare.plural[name])
				}
				for _, found := range full.FindAllStringSubmatch(line, -1) {
					named[found[1]]++
				}
				at += 1 + strings.Count(line, "\f")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if named["apikeys"] < 30 || named["leakedkeys"] == 0 || named["profiles"] == 0 {
		t.Errorf("commands were found that name %v, which can't be all", named)
	}
}

func TestBareName(t *testing.T) {
	bare := newBareNames(t)
	for text, want := range map[string]string{
		"kubectl delete apikey NAME":                                               "apikey",
		"kubectl get ak":                                                           "ak",
		"    kubectl -n acme get apikeys,secrets":                                  "apikeys",
		"kubectl wait --for=delete apikey/x":                                       "apikey",
		"kubectl get secrets,profiles":                                             "profiles",
		"`kubectl describe apikey`: conditions":                                    "apikey",
		"`kubectl get leakedkeys -n letmepost-system`":                             "leakedkeys",
		"kubectl delete leakedkey NAME":                                            "leakedkey",
		"a tool that waits with kubectl delete sees why its ApiKey is still there": "",
		"kubectl delete -n acme \\\n    apikeys NAME":                              "apikeys",
		"kubectl delete \\\n  -n acme \\\n  leakedkeys NAME":                       "leakedkeys",
		"see `kubectl delete\napikey NAME` of it":                                  "apikey",
		"# see `kubectl delete\n# apikey NAME` of it":                              "apikey",
		"\"kubectl delete \" +\n\t\"apikey NAME\"":                                 "apikey",
		"kubectl delete apikeys.letmepost.dev NAME":                                "",
		"kubectl wait apikeys.letmepost.dev/my-first-key":                          "",
		"kubectl delete \\\n  apikeys.letmepost.dev NAME":                          "",
		"kubectl get secret my-apikey -n acme":                                     "",
		"kubectl apply -f docs/examples/apikey.yaml":                               "",
		"`kubectl get secret` shows what an apikey holds":                          "",
		"kubectl get secrets\napikey NAME":                                         "",
		"`kubectl get secret\nNAME` shows what an apikey has":                      "",
		"```sh\nkubectl get secrets\n```\nan apikey":                               "",
	} {
		got := ""
		for _, line := range wholeLines(text) {
			got += bare.in(line)
		}
		if got != want {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
}
