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
//	{lock …}          FOR …, where rows are locked one by one; nothing in SQLite, where a transaction that writes has
//	                  the database to itself
//	{turn}            waits until no other transaction has this number, and has it until its end; nothing in SQLite,
//	                  for the same reason
//	{quick}           makes PostgreSQL commit this statement without waiting for the disk
//	{uses}, {texts}   the rows, and the texts, of one parameter, which is JSON
//
// and, in those of a View, exactly one of
//
//	{scope}           the condition that a row is the view's: organization, environment, profile
//	{organization}    the same without the profile
//	{actor}           organization, environment and actor, whose column is called key_id: keys were all that there was
//	{owner}           organization and environment as values to insert
//
// each but the last also with an alias: {scope x}.
//
// One text means that what one engine is tested with is what the other runs. A statement can't be made without its
// scope, so that a query across organizations is not a mistake that anybody can make.
var marker = regexp.MustCompile(`\{(\w+)(?: ([^}]*))?\}`)

// scoped is a statement of a View. It cannot be made without the marker of its scope. Its texts are rendered when it is
// made, so that a request pays for no regular expression.
type scoped struct {
	// A caller of the whole organization gets a text without a condition on the profile, rather than one that is always
	// true: each has an index of its own (posts_listed, posts_listed_by_profile), and a condition with OR would keep
	// planners from both.
	texts  [2][2]string // for SQLite and PostgreSQL; without and with a profile
	kind   string       // the marker
	before int          // how many parameters come before the marker's
}

// global is a statement of Work, which is nobody's. It has a type of its own so that the compiler keeps the two apart:
// View takes nothing but scoped, and has no way to run what has no scope.
type global struct {
	texts [2]string // for SQLite and PostgreSQL
}

// text returns the statement for an engine.
func (g *global) text(e Engine) string { return g.texts[e.index()] }

// allScoped and allGlobal hold the statements that do not depend on the arguments.
var (
	allScoped []*scoped
	allGlobal []*global
)

// fixed is the texts of those statements, once all of them have been declared. Statements that are made for one request
// are not among them: there are as many as there are filters, and prepared ones would fill the memory of every
// connection.
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

// newScoped makes a statement of a View out of its text. Without a marker of its scope, or with two, it panics: at the
// start of the process, as statements are package variables.
func newScoped(text string) *scoped {
	s := &scoped{}
	for _, m := range marker.FindAllStringSubmatchIndex(text, -1) {
		switch kind := text[m[2]:m[3]]; kind {
		case "scope", "organization", "actor", "owner":
			if s.kind != "" {
				panic("two scopes in " + text)
			}
			// Where the scope's values go among the arguments, since parameters are told by their position alone.
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

// newGlobal makes a statement of Work. A scope in it is everything, so that View and Work can share a text. Of the
// scopes only that one is left out. Another one in a global text would still be a parameter that nobody gives a value
// to, and fail at its first use.
func newGlobal(text string) *global {
	text = marker.ReplaceAllStringFunc(text, func(m string) string {
		if strings.HasPrefix(m, "{scope") {
			return "1 = 1"
		}
		return m
	})
	return &global{texts: [2]string{render(text, false, false), render(text, true, false)}}
}

// declareScoped is newScoped for a statement whose text is fixed: it is prepared, and tests walk all of them.
func declareScoped(text string) *scoped {
	s := newScoped(text)
	allScoped = append(allScoped, s)
	return s
}

// declareGlobal is newGlobal for a statement whose text is fixed.
func declareGlobal(text string) *global {
	g := newGlobal(text)
	allGlobal = append(allGlobal, g)
	return g
}

// render fills in the markers, and the names of parameters: PostgreSQL numbers them. Every ? in a text is a
// parameter. The numbers come last, as markers bring parameters of their own.
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
	// SQLite has no FOR UPDATE, and needs none: transactions that write begin as IMMEDIATE (pool.go), so no other one runs
	// beside them.
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

// dialects is what SQLite and PostgreSQL say differently. The time is that of the statement, not of the transaction:
// one that has waited for a lock must not measure by when it began to wait.
var dialects = map[string][2]string{
	// Microseconds on both, as every other time in the database. SQLite's clock ticks in milliseconds, which is fine
	// enough for silences of seconds.
	"now": {
		"CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)",
		"CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
	},
	"turn": {"CAST(? AS INTEGER)", "pg_advisory_xact_lock(CAST(? AS BIGINT))"},
	// true: for this transaction only. Anything that comes next on the connection waits for the disk again. With
	// SQLite no commit waits for it: DB.sync does, where somebody is to.
	"quick": {"''", "set_config('synchronous_commit', 'off', true)"},
	// The rows of one parameter, which encodeUses has written, as a table u. So one text takes any number of them.
	"uses": {
		"(SELECT value ->> 'o' AS o, value ->> 'e' AS e, value ->> 'k' AS k, value ->> 'b' AS b, value ->> 'at' AS at, " +
			"value ->> 'n' AS n, value ->> 'r' AS r FROM json_each(?)) AS u",
		"json_to_recordset(CAST(? AS json)) AS u (o TEXT, e TEXT, k TEXT, b BIGINT, at BIGINT, n BIGINT, r BIGINT)",
	},
	// The texts of one parameter, which is a list in JSON.
	"texts": {"(SELECT value FROM json_each(?))", "(SELECT json_array_elements_text(CAST(? AS json)))"},
}

// bind returns a statement's text for an engine and a scope, with its arguments: those given, and those of the scope
// where its marker stands. This is the only way to a statement's text, so that nobody gets it without them.
func (s *scoped) bind(e Engine, of scope, args []any) (string, []any) {
	own := [3]any{of.organization, of.environment}
	n, pinned := 2, 0
	switch { // an organization alone, and an owner, are the two values
	case s.kind == "actor":
		own[2], n = of.actor, 3
	case s.kind == "scope" && of.profile != "":
		own[2], n, pinned = of.profile, 3, 1
	}
	// A new slice: callers run one list of arguments with several statements, and append to it could write into theirs.
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
