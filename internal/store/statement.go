// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Statements are written once for both engines: with ? for parameters, and with markers for what differs.
//
//	{now}             microseconds since 1970, by the clock of the database
//	{lock …}          FOR …, where rows are locked one by one; in SQLite a transaction that writes has the database to itself
//	{quick}           makes PostgreSQL commit this statement without waiting for the disk
//
// and, in those of a View, exactly one of
//
//	{scope}           the condition that a row is the view's: organization, environment, profile; {scope x} with the alias x
//	{organization}    the same without the profile; {organization x} with the alias x
//	{actor}             organization, environment and actor
//	{owner}           organization and environment as values to insert
var marker = regexp.MustCompile(`\{(\w+)(?: ([^}]*))?\}`)

// scoped is a statement of a View. It cannot be made without the marker of its scope.
type scoped struct {
	texts  [2][2]string // for SQLite and PostgreSQL; without and with a profile
	kind   string       // the marker
	before int          // how many parameters come before the marker's
}

// global is a statement of Work, which is nobody's.
type global struct {
	texts [2]string // for SQLite and PostgreSQL
}

// allScoped and allGlobal hold the statements that do not depend on the arguments.
var (
	allScoped []*scoped
	allGlobal []*global
)

// fixed is the texts of those statements.
var fixed = sync.OnceValue(func() map[string]bool {
	texts := map[string]bool{}
	for _, s := range allScoped {
		for _, of := range s.texts {
			texts[of[0]], texts[of[1]] = true, true
		}
	}
	for _, g := range allGlobal {
		texts[g.texts[0]], texts[g.texts[1]] = true, true
	}
	return texts
})

// newScoped makes a statement of a View out of its text. Without a marker of its scope it panics.
func newScoped(text string) *scoped {
	s := &scoped{}
	for _, m := range marker.FindAllStringSubmatchIndex(text, -1) {
		switch kind := text[m[2]:m[3]]; kind {
		case "scope", "organization", "actor", "owner":
			if s.kind != "" {
				panic("two scopes in " + text)
			}
			s.kind, s.before = kind, strings.Count(text[:m[0]], "?")
		}
	}
	if s.kind == "" {
		panic("no scope in " + text)
	}
	for e := range s.texts {
		for p := range s.texts[e] {
			s.texts[e][p] = render(text, e == 1, p == 1)
		}
	}
	return s
}

// newGlobal makes a statement of Work. A scope in it is everything.
func newGlobal(text string) *global {
	text = marker.ReplaceAllStringFunc(text, func(m string) string {
		if strings.HasPrefix(m, "{scope") {
			return "1 = 1"
		}
		return m
	})
	return &global{texts: [2]string{render(text, false, false), render(text, true, false)}}
}

func declareScoped(text string) *scoped {
	s := newScoped(text)
	allScoped = append(allScoped, s)
	return s
}

func declareGlobal(text string) *global {
	g := newGlobal(text)
	allGlobal = append(allGlobal, g)
	return g
}

// render fills in the markers, and the names of parameters.
func render(text string, postgres, pinned bool) string {
	text = marker.ReplaceAllStringFunc(text, func(m string) string {
		parts := marker.FindStringSubmatch(m)
		return fragment(parts[1], parts[2], postgres, pinned)
	})
	if !postgres {
		return text
	}
	var b strings.Builder
	for i, part := range strings.Split(text, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// fragment is what a marker stands for.
func fragment(name, argument string, postgres, pinned bool) string {
	if name == "lock" {
		if postgres {
			return "FOR " + argument
		}
		return ""
	}
	if texts, ok := dialects[name]; ok {
		if postgres {
			return texts[1]
		}
		return texts[0]
	}
	alias := ""
	if argument != "" {
		alias = argument + "."
	}
	both := fmt.Sprintf("%[1]sorganization_id = ? AND %[1]senvironment = ?", alias)
	switch name {
	case "organization":
		return both
	case "scope":
		if pinned {
			both += " AND " + alias + "profile_id = ?"
		}
		return both
	case "actor":
		return both + " AND " + alias + "key_id = ?"
	case "owner":
		return "?, ?"
	}
	panic("no such marker: " + name)
}

// dialects is what SQLite and PostgreSQL say differently.
var dialects = map[string][2]string{
	"now": {
		"CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)",
		"CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
	},
	"quick": {"''", "set_config('synchronous_commit', 'off', true)"},
}

// reach is which rows a caller reaches. All that it reaches carry a real organization, so the zero value reaches none.
type reach struct {
	organization, environment string
	profile                   string // "": all of them
	actor                     string // caller.Actor.Ref, which is what the columns named key_id hold
}

// nothing tells whether no row can be reached.
func (r reach) nothing() bool { return r.organization == "" }

// reaches tells whether a row of a profile would be reached.
func (r reach) reaches(profileID string) bool {
	return !r.nothing() && (r.profile == "" || r.profile == profileID)
}

// bind returns a statement's text for an engine and a reach, with its arguments: those given, and those of the scope.
func (s *scoped) bind(e Engine, r reach, args []any) (string, []any) {
	own := [3]any{r.organization, r.environment}
	n, pinned := 2, 0
	switch {
	case s.kind == "actor":
		own[2], n = r.actor, 3
	case s.kind == "scope" && r.profile != "":
		own[2], n, pinned = r.profile, 3, 1
	}
	all := make([]any, 0, len(args)+n)
	all = append(all, args[:s.before]...)
	all = append(all, own[:n]...)
	all = append(all, args[s.before:]...)
	return s.texts[e.index()][pinned], all
}

// index is where the engine's text stands in a statement.
func (e Engine) index() int {
	if e == PostgreSQL {
		return 1
	}
	return 0
}

// places returns n parameters for a list: "?, ?, ?".
func places(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
