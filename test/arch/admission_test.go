// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// verifierUsers are the rooms that may import package authn, and what each of them may name of it.
//
// Whoever is let in passes package admission: it asks the fence, the scope and the rate in one order. A room that
// recognised keys by itself would skip the fence, and a replica that is cut off would go on accepting a revoked key
// there: that breaks the third promise of docs/revocation.md.
var verifierUsers = map[string]struct {
	reason string
	names  []string // nil: all of them
}{
	"internal/admission": {"it is the one that admits", nil},
	"internal/write":     {"a write passes its commit point with the request's flight", []string{"Commit"}},
	"internal/session":   {"it says why somebody is not signed in", []string{"Session", "Refusal", "Expired", "Revoked", "Unknown", "NotRenewed"}},
	"internal/httpapi":   {"it shows which keys there are", []string{"Key", "Index"}},
	"internal/dashboard": {"it lists keys, and how each stands", []string{"Key"}},
	"cmd/api":            {"it has the publisher withdraw what a key has queued", []string{"Key"}},
	"internal/keyring":   {"it has the index fed, and makes what admission recognises keys by", []string{"NewFeed", "Feed", "NewIndex", "Index", "Key", "NewAuthenticator", "Authenticator", "Options", "ErrUnavailable"}},
	"internal/leak":      {"it has keys refused that are reported, and lets nobody in", []string{"Index"}},
	"internal/use":       {"it takes the counts of keys, which are theirs", []string{"Index", "Key", "Use"}},
}

// TestNobodyButAdmissionAdmits looks at what the rooms above package authn name of it. A method needs no import, so the
// names of those that let somebody in are looked for too.
func TestNobodyButAdmissionAdmits(t *testing.T) {
	ours, _ := list(t)
	users := 0
	for _, p := range ours {
		room := p.inModule()
		if within(room, "internal/authn") || !within(room, "internal") && !within(room, "cmd") {
			continue
		}
		user, allowed := verifierUsers[room]
		for _, i := range p.Imports {
			if i == module+"/internal/authn" && !allowed {
				t.Errorf("%s imports package authn: whoever asks who calls asks package admission", room)
			}
		}
		if allowed {
			users++
		}
		for _, file := range p.GoFiles {
			for _, name := range verifierNames(t, filepath.Join(p.Dir, file)) {
				if !allowed || user.names != nil && !slices.Contains(user.names, name) {
					t.Errorf("%s, %s: names %s of package authn, and may name %q only: %s", room, file, name, user.names, user.reason)
				}
			}
		}
	}
	if users != len(verifierUsers) {
		t.Errorf("%d of the %d rooms that may use package authn do: the others' rows guard nothing", users, len(verifierUsers))
	}
}

// verifierNames are what a file names of package authn, and the methods by which that one admits, whatever they are
// called on. Package admission's own Admit is called on a field of that name.
func verifierNames(t *testing.T, file string) []string {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(syntax, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == "authn" {
			names = append(names, selector.Sel.Name)
		}
		switch selector.Sel.Name {
		case "AdmitSession", "AdmitKey", "Known":
			names = append(names, selector.Sel.Name)
		case "Admit":
			if x, ok := selector.X.(*ast.SelectorExpr); !ok || x.Sel.Name != "Admission" {
				names = append(names, selector.Sel.Name)
			}
		}
		return true
	})
	return names
}
