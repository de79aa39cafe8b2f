// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ambient is what a function must be given rather than reach for. Else it can be tested at one time only: now.
var ambient = []struct {
	importPath string
	name       *regexp.Regexp
	reason     string
}{
	{"time", regexp.MustCompile(`^(Now|Since|Until)$`), "time is an argument: a clock.PassiveClock, or now itself"},
	{"k8s.io/utils/clock", regexp.MustCompile(`^RealClock$`), "main chooses the clock"},
	{"crypto/rand", regexp.MustCompile(``), "randomness is an argument: an io.Reader"},
	{"math/rand", regexp.MustCompile(``), "randomness is an argument"},
	{"math/rand/v2", regexp.MustCompile(``), "randomness is an argument"},
	{"os", regexp.MustCompile(`^(Getenv|LookupEnv|Environ|ExpandEnv|Args)$`), "the environment is an argument"},
}

// TestAmbientIsRead by the edges alone: cmd/, and what is no part of the product.
func TestAmbientIsRead(t *testing.T) {
	ours, _ := list(t)
	checked := 0
	for _, p := range ours {
		dir := p.inModule()
		if within(dir, "cmd") || strings.HasPrefix(dir, "test/") || strings.HasPrefix(dir, "hack/") || isTestSupport(p) {
			continue
		}
		for _, name := range p.GoFiles {
			checked++
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range ambientIn(file) {
				at := fset.Position(found.pos)
				t.Errorf("%s/%s:%d: %s: %s", dir, name, at.Line, found.what, found.reason)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d files were read", checked)
	}
}

// isTestSupport tells whether a package is made for tests, as net/http/httptest is: only tests may import it
// (TestNothingShippedUsesTests).
func isTestSupport(p pkg) bool {
	return strings.HasSuffix(p.ImportPath, "test") && slices.Contains(p.Imports, "testing")
}

type finding struct {
	pos          token.Pos
	what, reason string
}

// ambientIn finds the uses in a file, under whatever name a package is imported.
func ambientIn(file *ast.File) (found []finding) {
	names := map[string]int{} // local name → index into ambient
	for _, spec := range file.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		for i, a := range ambient {
			if a.importPath != importPath {
				continue
			}
			local := filepath.Base(importPath)
			if local == "v2" {
				local = "rand"
			}
			if spec.Name != nil {
				local = spec.Name.Name
			}
			if local == "." {
				found = append(found, finding{spec.Pos(), "dot import of " + importPath, a.reason})
			}
			names[local] = i
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		if i, ok := names[x.Name]; ok && ambient[i].name.MatchString(sel.Sel.Name) {
			found = append(found, finding{sel.Pos(), x.Name + "." + sel.Sel.Name, ambient[i].reason})
		}
		return true
	})
	return found
}

// TestAmbientInSeesThem: the walk above would pass everything if it saw nothing.
func TestAmbientInSeesThem(t *testing.T) {
	for _, tc := range []struct {
		reason, source string
		want           []string
	}{
		{"a call", `import "time"; var x = time.Now()`, []string{"time.Now"}},
		{"a function as a value", `import "time"; var x = time.Now`, []string{"time.Now"}},
		{"Since reads the clock as well", `import "time"; func f(t time.Time) { _ = time.Since(t) }`, []string{"time.Since"}},
		{"under another name", `import clock "time"; var x = clock.Now()`, []string{"clock.Now"}},
		{"the reader of crypto/rand", `import "crypto/rand"; var x = rand.Reader`, []string{"rand.Reader"}},
		{"the second version", `import "math/rand/v2"; var x = rand.N(6)`, []string{"rand.N"}},
		{"the real clock", `import "k8s.io/utils/clock"; var x = clock.RealClock{}`, []string{"clock.RealClock"}},
		{"the environment", `import "os"; var x = os.Getenv("X")`, []string{"os.Getenv"}},
		{"a dot import hides them all", `import . "time"; var x = Now()`, []string{"dot import of time"}},
		{"types and constants are no clock", `import "time"; var x time.Time; const y = time.Second`, nil},
		{"a clock that is given", `import "k8s.io/utils/clock"; func f(c clock.PassiveClock) { _ = c.Now() }`, nil},
		{"a method of that name", `type T struct{}; func (T) Now() {}; var time T; func f() { time.Now() }`, nil},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+tc.source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range ambientIn(file) {
				got = append(got, f.what)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
		})
	}
}
