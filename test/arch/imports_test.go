// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package arch holds the rules of docs/architecture.md as tests. Each rule says why it is there.
package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/letmepost/letmepost-operator"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	Deps       []string // of Imports, and of theirs
	GoFiles    []string
}

// inModule returns the path within the module, such as "internal/key".
func (p pkg) inModule() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// list returns the module's packages, and all packages that they are made of.
func list(t *testing.T) (ours []pkg, all map[string]pkg) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Imports,Deps,GoFiles", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	all = map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(ours) == 0 {
				t.Fatal("go list found no package of this module")
			}
			return ours, all
		case err != nil:
			t.Fatal(err)
		}
		all[p.ImportPath] = p
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			ours = append(ours, p)
		}
	}
}

// A rule forbids the packages below a room to import others.
type rule struct {
	room   string
	reason string

	never   []string // not in their own files; a path stands for all below it
	nowhere []string // nor in what they link
	onlyStd bool     // nothing but the standard library in their own files
}

const (
	clientGo   = "k8s.io/client-go"
	controller = "sigs.k8s.io/controller-runtime"
	coreTypes  = "k8s.io/api/core"
	tink       = "github.com/tink-crypto"
)

// TestImports holds each room to its rules, test support (internal/authn/authntest and its like) included.
func TestImports(t *testing.T) {
	ours, all := list(t)
	for _, r := range rules {
		t.Run(r.room, func(t *testing.T) {
			var found bool
			for _, p := range ours {
				if !within(p.inModule(), r.room) {
					continue
				}
				found = true
				for _, violation := range r.violations(p, all) {
					t.Errorf("%s %s: %s", p.inModule(), violation, r.reason)
				}
			}
			if !found {
				t.Errorf("there is no package in %s: a rule without a room guards nothing", r.room)
			}
		})
	}
}

// importers are packages that only the named ones may import themselves: whoever opens an account is one of few.
var importers = []struct {
	of, reason string
	allowed    []string
}{
	{
		of: tink, reason: "how texts are sealed is the vault's to know; everybody else has Seal and Open",
		allowed: []string{"internal/vault", "cmd/api"},
	},
	{
		of: module + "/internal/vault", reason: "who may open what is sealed, of accounts or of people, is counted on one hand",
		allowed: []string{"internal/vault", "internal/connection", "internal/session", "cmd/api", "hack/up", "test"},
	},
}

// TestImporters looks at the product; tests use what they need to break it.
func TestImporters(t *testing.T) {
	ours, _ := list(t)
	for _, r := range importers {
		var found bool
		for _, p := range ours {
			for _, i := range p.Imports {
				if !within(i, r.of) {
					continue
				}
				found = true
				if !slices.ContainsFunc(r.allowed, func(a string) bool { return strings.HasPrefix(p.inModule()+"/", a+"/") }) {
					t.Errorf("%s imports %s: %s", p.inModule(), i, r.reason)
				}
			}
		}
		if !found && r.of == tink {
			t.Errorf("nobody imports %s: a rule without a case guards nothing", r.of)
		}
	}
}

func (r rule) violations(p pkg, all map[string]pkg) (found []string) {
	for _, i := range p.Imports {
		if r.onlyStd && !all[i].Standard {
			found = append(found, "imports "+i+", which is not of the standard library")
		}
		for _, no := range r.never {
			if within(i, no) {
				found = append(found, "imports "+i)
			}
		}
	}
	for _, d := range p.Deps {
		for _, no := range r.nowhere {
			if within(d, no) {
				found = append(found, "links "+d+" by way of "+strings.Join(way(p, d, all), " → "))
			}
		}
	}
	return found
}

// within tells whether a package is the named one or below it. "net" does not stand for net/url: of the standard
// library a name is meant exactly.
func within(importPath, named string) bool {
	if importPath == named {
		return true
	}
	first, _, _ := strings.Cut(named, "/")
	ours := first == "internal" || first == "cmd" || first == "api"
	return (ours || strings.Contains(first, ".")) && strings.HasPrefix(importPath, named+"/")
}

// way returns the shortest chain of imports from p to a package that it links.
func way(p pkg, to string, all map[string]pkg) []string {
	from := map[string]string{p.ImportPath: ""}
	for queue := []string{p.ImportPath}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			var chain []string
			for at := to; at != ""; at = from[at] {
				chain = append(chain, strings.TrimPrefix(at, module+"/"))
			}
			slices.Reverse(chain)
			return chain
		}
		for _, i := range all[queue[0]].Imports {
			if _, seen := from[i]; !seen {
				from[i] = queue[0]
				queue = append(queue, i)
			}
		}
	}
	return nil
}

// TestNothingShippedUsesTests: what stands in test/ or hack/ is not in any binary, and test support is in none either.
func TestNothingShippedUsesTests(t *testing.T) {
	ours, all := list(t)
	for _, p := range ours {
		if !within(p.inModule(), "cmd") {
			continue
		}
		for _, d := range append(p.Deps, p.ImportPath) {
			if within(d, module+"/test") || within(d, module+"/hack") || d == "testing" || strings.HasPrefix(d, module) && strings.HasSuffix(d, "test") {
				t.Errorf("%s links %s by way of %s", p.inModule(), d, strings.Join(way(p, d, all), " → "))
			}
		}
	}
}

// homeless are names that say nothing of what is in a package. What ends up there has a better home.
var homeless = map[string]string{
	"util":    "helpers belong to the one room that they help",
	"utils":   "helpers belong to the one room that they help",
	"helpers": "helpers belong to the one room that they help",
	"common":  "what two rooms share is a noun of the domain: name it",
	"shared":  "what two rooms share is a noun of the domain: name it",
	"types":   "a type lives with what is done to it",
	"errors":  "an error lives with the function that returns it",
	"config":  "settings live with what they set; cmd/ reads them",
	"metrics": "a metric lives with what it counts",
}

func TestNames(t *testing.T) {
	ours, _ := list(t)
	for _, p := range ours {
		dir := p.inModule()
		if first, _, _ := strings.Cut(dir, "/"); first == "pkg" {
			t.Errorf("%s: there is no pkg/: this module is a product, not a library", dir)
		}
		if reason, ok := homeless[path.Base(dir)]; ok && within(dir, "internal") {
			t.Errorf("%s: %s", dir, reason)
		}
	}
}

// TestRulesSeeThem: a rule that sees nothing would pass everything.
func TestRulesSeeThem(t *testing.T) {
	r := rule{never: []string{"net", clientGo}, nowhere: []string{module + "/internal/controller"}, onlyStd: true}
	inner := pkg{ImportPath: module + "/internal/x", Imports: []string{module + "/internal/controller/sub"}}
	all := map[string]pkg{
		"net": {Standard: true}, "net/url": {Standard: true}, "fmt": {Standard: true}, inner.ImportPath: inner,
		clientGo + "/rest": {}, module + "/internal/controller/sub": {},
	}
	for _, tc := range []struct {
		reason  string
		imports []string
		want    int
	}{
		{"nothing", nil, 0},
		{"the standard library, and a package below a forbidden one of it", []string{"fmt", "net/url"}, 0},
		{"a forbidden one of the standard library", []string{"net"}, 1},
		{"below a forbidden one, and not of the standard library", []string{clientGo + "/rest"}, 2},
		{"linked through another", []string{inner.ImportPath}, 2},
	} {
		p := pkg{ImportPath: module + "/internal/y", Imports: tc.imports, Deps: append([]string(nil), tc.imports...)}
		for _, i := range tc.imports {
			p.Deps = append(p.Deps, all[i].Imports...)
		}
		all[p.ImportPath] = p
		if got := r.violations(p, all); len(got) != tc.want {
			t.Errorf("%s: found %q, want %d", tc.reason, got, tc.want)
		}
	}
}
