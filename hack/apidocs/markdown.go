// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/internal/platform/sandbox"
)

// document is what the page takes of an OpenAPI document. encoding/json matches names without regard to case, so most
// fields need no tag.
type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	OperationID, Summary, Description string
	Security                          []map[string][]string
	Parameters                        []struct {
		Name, In, Description string
		Required              bool
		Schema                schema
	}
	RequestBody *struct {
		Content map[string]struct{ Schema schema }
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema schema }
	}
	Samples []struct{ Source string } `json:"x-codeSamples"`
}

type schema struct {
	Ref         string `json:"$ref"`
	Type        any    // a string, or several
	Format      string
	Description string
	Enum        []any
	Minimum     *float64
	Maximum     *float64
	Default     any
	Items       *schema
	AnyOf       []schema
	Properties  map[string]schema
	Required    []string
}

// sections are the groups of endpoints, by how their paths begin. Each endpoint is put into the first that fits it, so
// the last one takes whatever is left.
var sections = []struct{ title, prefix string }{
	{"The key", "/v1/whoami"},
	{"Profiles", "/v1/profiles"},
	{"API keys", "/v1/api-keys"},
	{"Accounts", "/v1/accounts"},
	{"Media", "/v1/media"},
	{"Posts", "/v1/posts"},
	{"The server", "/"},
}

type endpoint struct {
	method, path string
	operation
}

// order is that of the examples. The tests run them one after another (test/integration), and each stands on what those
// before it have made.
var order = []string{
	"whoami", "listProfiles", "getProfile", "listApiKeys", "createApiKey", "revokeApiKey",
	"connectAccount", "completeConnection", "connectionReturned", "clientMetadata",
	"listAccounts", "getAccount", "disconnectAccount",
	"uploadMedia", "listMedia", "getMedia", "getMediaContent", "deleteMedia",
	"createPosts", "listPosts", "getPost", "editPost", "cancelPost", "retryPost",
	"openapi", "healthz", "readyz", "reportLeakedKey",
}

// endpoints lists all there are, in order; those that it does not name come last.
func (d *document) endpoints() []endpoint {
	var all []endpoint
	for path, methods := range d.Paths {
		for method, op := range methods {
			all = append(all, endpoint{strings.ToUpper(method), path, op})
		}
	}
	place := func(e endpoint) int {
		if i := slices.Index(order, e.OperationID); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(all, func(a, b endpoint) int {
		if c := place(a) - place(b); c != 0 {
			return c
		}
		return strings.Compare(a.OperationID, b.OperationID)
	})
	return all
}

// markdown returns the page's part: a table of all endpoints, a chapter for each group, the objects, and the magic
// texts that make the sandbox fail as a platform might.
func (d *document) markdown(magic []sandbox.MagicText) string {
	var b strings.Builder
	all := d.endpoints()
	b.WriteString("| | | scope | session | |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range all {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", e.method, e.path, e.scope(), e.orSession(), e.Summary)
	}
	for _, s := range sections {
		fmt.Fprintf(&b, "\n### %s\n", s.title)
		all = slices.DeleteFunc(all, func(e endpoint) bool {
			if !strings.HasPrefix(e.path, s.prefix) {
				return false
			}
			d.endpoint(&b, e)
			return true
		})
	}
	b.WriteString("\n### Objects\n\nA `?` marks what may be left out or absent.\n")
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		d.object(&b, name)
	}
	b.WriteString("\n### Magic texts of the sandbox\n\n" +
		"A post of the test environment whose text contains one of these goes as follows:\n\n" +
		"| text | code | |\n| --- | --- | --- |\n")
	for _, m := range magic {
		code := ""
		if m.Code != "" {
			code = "`" + m.Code + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Text, code, m.Means)
	}
	return b.String()
}

// orSession tells whether a session is as good as a key.
func (e *endpoint) orSession() string {
	if len(e.Security) > 1 {
		return "yes"
	}
	return "no"
}

// scope is what a key needs for it. There is at most one: no endpoint of the API asks for two.
func (e *endpoint) scope() string {
	if len(e.Security) == 0 {
		return "no key"
	}
	for _, scopes := range e.Security[0] {
		if len(scopes) > 0 {
			return "`" + scopes[0] + "`"
		}
	}
	return "any"
}

func (d *document) endpoint(b *strings.Builder, e endpoint) {
	about := strings.TrimSpace(strings.TrimRight(e.Summary, "?") + ". " + e.Description)
	fmt.Fprintf(b, "\n#### `%s %s`\n\n%s\n", e.method, e.path, about)
	heading := "\n| parameter | | |\n| --- | --- | --- |\n"
	for _, p := range e.Parameters {
		if p.Name == "id" {
			continue // the path says it all
		}
		fmt.Fprintf(b, "%s| `%s` | %s, %s | %s |\n", heading, p.Name, p.In, p.Schema.kind(), p.Description)
		heading = ""
	}
	var lines []string
	if e.RequestBody != nil {
		for contentType, body := range e.RequestBody.Content {
			lines = append(lines, fmt.Sprintf("takes %s (`%s`)", body.Schema.kind(), contentType))
		}
	}
	for _, status := range slices.Sorted(maps.Keys(e.Responses)) {
		if status >= "300" {
			continue // errors are alike everywhere, and have a chapter of their own
		}
		for contentType, body := range e.Responses[status].Content {
			what := body.Schema.kind()
			if contentType != "application/json" {
				what = "the bytes"
			}
			lines = append(lines, fmt.Sprintf("`%s`: %s", status, what))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n%s.\n", strings.ToUpper(lines[0][:1])+lines[0][1:]+join(lines[1:]))
	}
	for _, sample := range e.Samples {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", sample.Source)
	}
}

func join(rest []string) string {
	var b strings.Builder
	for _, line := range rest {
		b.WriteString("; " + line)
	}
	return b.String()
}

func (d *document) object(b *strings.Builder, name string) {
	s := d.Components.Schemas[name]
	if len(s.Properties) == 0 {
		return
	}
	fmt.Fprintf(b, "\n#### %s\n\n| | | |\n| --- | --- | --- |\n", name)
	for _, property := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[property]
		optional := "?"
		if slices.Contains(s.Required, property) {
			optional = ""
		}
		fmt.Fprintf(b, "| `%s`%s | %s | %s |\n", property, optional, p.kind(), strings.ReplaceAll(p.Description, "|", "\\|"))
	}
}

// types are those that a schema admits: one, or several in a list (JSON Schema 2020-12, as of OpenAPI 3.1).
func (s *schema) types() string {
	switch t := s.Type.(type) {
	case string:
		return t
	case []any:
		var types []string
		for _, one := range t {
			types = append(types, fmt.Sprint(one))
		}
		return strings.Join(types, " or ")
	default:
		return "any"
	}
}

const schemaRefs = "#/components/schemas/"

// kind says what a schema admits, in a few words. A schema with a name is a link to its object.
func (s *schema) kind() string {
	switch {
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, schemaRefs)
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	case len(s.AnyOf) > 0:
		var kinds []string
		for _, one := range s.AnyOf {
			kinds = append(kinds, one.kind())
		}
		return strings.Join(kinds, " or ")
	case s.Items != nil:
		return "list of " + s.Items.kind()
	}
	kind := s.types()
	if len(s.Properties) > 0 { // of an object that has no name
		kind += " of `" + strings.Join(slices.Sorted(maps.Keys(s.Properties)), "`, `") + "`"
	}
	if s.Format != "" {
		kind += " (" + s.Format + ")"
	}
	if len(s.Enum) > 0 {
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", v))
		}
		kind += ": " + strings.Join(values, ", ")
	}
	if s.Minimum != nil && s.Maximum != nil {
		kind += fmt.Sprintf(", %g to %g", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		kind += fmt.Sprintf(", %v without it", s.Default)
	}
	return kind
}
