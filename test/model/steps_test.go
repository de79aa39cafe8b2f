// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// place is a function that implements a step, such as {"Lift", "internal/controller (*revocations).lift"}.
type place struct{ step, function string }

// TestStepsAreInTheCode: the model names the functions that implement each step, and they name it.
func TestStepsAreInTheCode(t *testing.T) {
	t.Parallel()
	model, functions := stepsOfModel(t, sources(t)), map[string]bool{}
	code := map[place]bool{}
	for _, file := range goFiles(t) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for function, steps := range stepsOfFile(f) {
			name := filepath.ToSlash(filepath.Dir(file)) + " " + function
			functions[name] = true
			for _, s := range steps {
				code[place{s, name}] = true
			}
		}
	}
	for p := range model {
		switch {
		case !functions[p.function]:
			t.Errorf("the model says that step %s is %s, which is not there", p.step, p.function)
		case !code[p]:
			t.Errorf("%s does not say in its doc comment: Model: step %s.", p.function, p.step)
		}
	}
	for p := range code {
		if !model[p] {
			t.Errorf("%s says that it is step %s of the model, and the model does not", p.function, p.step)
		}
	}
}

var (
	stepComment = regexp.MustCompile(`/\* step (\w+): (.+?) \*/`)
	anyStep     = regexp.MustCompile(`/\* step`)
	goFunction  = regexp.MustCompile(`^internal/[a-z]+ (\(\*\w+\)\.)?\w+$`)
	docComment  = regexp.MustCompile(`(?m)^Model: step (\w+)\.$`)
)

func stepsOfModel(t *testing.T, source string) map[place]bool {
	t.Helper()
	steps := map[place]bool{}
	found := stepComment.FindAllStringSubmatch(source, -1)
	if all := len(anyStep.FindAllString(source, -1)); len(found) != all || all < 10 {
		t.Fatalf("%d of %d step comments can be read", len(found), all)
	}
	for _, m := range found {
		for function := range strings.SplitSeq(m[2], ", ") {
			if !goFunction.MatchString(function) {
				t.Errorf("step %s names %q, which is no function", m[1], function)
			}
			steps[place{m[1], function}] = true
		}
	}
	return steps
}

func goFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			path, err = filepath.Rel(root, path)
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stepsOfFile returns the functions of a file, such as "(*feed).Update", and the steps that their doc comments name.
func stepsOfFile(f *ast.File) map[string][]string {
	steps := map[string][]string{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			name = receiver(fn.Recv.List[0].Type) + "." + name
		}
		steps[name] = nil
		for _, m := range docComment.FindAllStringSubmatch(fn.Doc.Text(), -1) {
			steps[name] = append(steps[name], m[1])
		}
	}
	return steps
}

// receiver spells a receiver's type without its type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return "(*" + receiver(e.X) + ")"
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// TestStepsOfFile: what reads nothing finds nothing wrong.
func TestStepsOfFile(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x

// a does.
//
// Model: step One.
func (r *T) a() {}

// Model: step Two.
// Model: step Three.
func (f *feed[T]) B() {}

// C mentions Model: step Four. in passing.
func C() {}
`, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"(*T).a": {"One"}, "(*feed).B": {"Two", "Three"}, "C": nil}
	if got := stepsOfFile(f); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("read %v, want %v", got, want)
	}
}

// TestNothingIsChosenInAStep: of the options of an if or a do in a d_step, the search follows the first one that is
// possible, and no other. So there is one beside "else", or the model has less in it than it says.
func TestNothingIsChosenInAStep(t *testing.T) {
	t.Parallel()
	checks := []check{safety(), liveness(), turns(4), leaks(), cancels()}
	for _, tc := range turned {
		c := tc.check
		c.defines = append(slices.Clone(c.defines), "-D"+tc.define)
		checks = append(checks, c)
	}
	for _, c := range checks {
		all := append([]string{"-E", "-P", "-x", "c"}, c.defines...)
		expanded, err := exec.CommandContext(t.Context(), "gcc", append(all, c.model)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, choice := range choicesInSteps(string(expanded)) {
			t.Errorf("%s %v: a d_step, or an inline that may be in one, chooses: %s", c.model, c.defines, choice)
		}
	}
	planted := "d_step { x -> if :: a = 1 :: a = 2 fi }; inline f() { do :: x -> y :: z -> break od }"
	if found := choicesInSteps(planted); len(found) != 2 {
		t.Errorf("of two choices that were planted, it finds %q", found)
	}
}

var (
	promelaToken = regexp.MustCompile(`"[^"]*"|\b(?:d_step|atomic|inline|if|fi|do|od|else)\b|::|[{}]`)
	choiceBegins = map[string]bool{"if": true, "do": true}
	choiceEnds   = map[string]bool{"fi": true, "od": true}
)

// choicesInSteps returns the ends of choices between several options, each with the text that begins it.
func choicesInSteps(source string) (found []string) {
	type block struct {
		atOnce  bool // in a d_step, or in an inline
		options int
		begins  int
	}
	blocks, kind := []block{{}}, ""
	for _, at := range promelaToken.FindAllStringIndex(source, -1) {
		token, top := source[at[0]:at[1]], &blocks[len(blocks)-1]
		switch {
		case token == "d_step" || token == "atomic" || token == "inline":
			kind = token
		case token == "{":
			blocks = append(blocks, block{atOnce: kind == "d_step" || kind == "inline"})
			kind = ""
		case choiceBegins[token]:
			blocks = append(blocks, block{atOnce: top.atOnce, begins: at[0]})
		case token == "::":
			top.options++
		case token == "else":
			top.options--
		case token == "}" || choiceEnds[token]:
			if top.atOnce && top.options > 1 {
				found = append(found, source[top.begins:at[1]])
			}
			blocks = blocks[:len(blocks)-1]
		}
	}
	return found
}
