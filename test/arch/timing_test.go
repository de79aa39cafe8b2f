// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// secretName is what texts are called that open something: a name or a part of one, at its end.
var secretName = regexp.MustCompile(`(?i)(token|code|secret|cookie|credential|refresh|plaintext)$`)

// comparers are functions that compare, and take the longer the more of it is alike.
var comparers = []string{
	"bytes.Equal", "bytes.Compare", "strings.Compare", "strings.EqualFold", "strings.HasPrefix", "strings.HasSuffix",
	"strings.Contains", "slices.Equal", "slices.Contains", "slices.Index", "cmp.Compare", "reflect.DeepEqual",
}

// noSecrets are files in which what is called so is something else.
var noSecrets = map[string]string{
	"podsof.go":   "names of Secrets, which everybody knows",
	"problems.go": "codes of refusals",
}

// TestSecretsOfSessionsAreNotCompared: how long a sign-in takes, or a session is looked up, tells nothing of what would
// have been right, because nothing is compared with what was sent: a row is found by its SHA-256. It holds by how the
// code is written, and not by a clock. A secret may be compared with a constant: whether there is one at all.
func TestSecretsOfSessionsAreNotCompared(t *testing.T) {
	for _, room := range []string{"internal/session", "internal/dashboard"} {
		files, err := filepath.Glob(kube.Path(room + "/*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", room, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || noSecrets[filepath.Base(file)] != "" {
				continue
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range comparisons(set, f) {
				t.Errorf("%s: a secret is compared", at)
			}
		}
	}
}

// comparisons are where a file compares what is called like a secret with what is no constant.
func comparisons(set *token.FileSet, f *ast.File) (found []string) {
	secretsIn := func(all ...ast.Expr) bool {
		return slices.ContainsFunc(all, isSecret) && !slices.ContainsFunc(all, func(e ast.Expr) bool { return isConstant(f, e) })
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && secretsIn(n.X, n.Y) {
				found = append(found, set.Position(n.Pos()).String())
			}
		case *ast.CallExpr:
			if name := nameOf(n.Fun); slices.Contains(comparers, name) && secretsIn(n.Args...) {
				found = append(found, set.Position(n.Pos()).String())
			}
		}
		return true
	})
	return found
}

func isSecret(e ast.Expr) bool { return secretName.MatchString(nameOf(e)) }

// isConstant tells whether something is a literal, nil, or what another package has exported: a constant, as it is
// named in what it is compared with.
func isConstant(f *ast.File, e ast.Expr) bool {
	if of, ok := e.(*ast.SelectorExpr); ok {
		return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool {
			return path.Base(strings.Trim(i.Path.Value, `"`)) == nameOf(of.X)
		})
	}
	_, literal := e.(*ast.BasicLit)
	return literal || nameOf(e) == "nil"
}

// nameOf is what an expression is called, with what it is of.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return fmt.Sprint(nameOf(e.X), ".", e.Sel.Name)
	}
	return ""
}

// TestComparisons: the test above sees what it is there for.
func TestComparisons(t *testing.T) {
	for source, want := range map[string]int{
		`row.Token == token`:                   1,
		`sent != c.Code`:                       1,
		`bytes.Equal(secret, sent)`:            1,
		`strings.EqualFold(a, refreshToken)`:   1,
		`token == ""`:                          0,
		`cookie != nil`:                        0,
		`response.StatusCode == http.StatusOK`: 0,
		`row.ID == id`:                         0,
		`strings.HasPrefix(token, "x")`:        0,
	} {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, "x.go", "package x\nimport \"net/http\"\nvar _ = "+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(comparisons(set, f)); got != want {
			t.Errorf("%s: %d comparisons of secrets, want %d", source, got, want)
		}
	}
}
