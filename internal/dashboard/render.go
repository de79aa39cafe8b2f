// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/utils/clock"

	"github.com/letmepost/letmepost-operator/internal/platform"
	"github.com/letmepost/letmepost-operator/internal/platform/catalog"
	"github.com/letmepost/letmepost-operator/internal/session"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// pages are all templates, each with the layout around it.
type pages struct {
	byName map[string]*template.Template // by the names of their files, without .html
	texts  map[string]string             // of texts.yaml
}

// frame is what the layout shows around a page. Path is below Base, and says which part of the dashboard is marked as
// open. Person is nil where nobody is signed in, or it was not asked who is.
type frame struct {
	Title       string
	Environment string
	OtherURL    string
	Path        string
	Person      *session.Person
	Notice      string // what was done before; ""
	Data        any
}

// fieldShown is a field of a form, with what is wrong with all of them.
type fieldShown struct {
	Wrong map[string]string
	Field string
}

// inOrder are the fields of our forms that somebody types into, as they stand below each other. A field that is missing
// here never has the focus, whatever is wrong with it.
var inOrder = []string{
	"name", "displayName", "description", "maxKeyLifetime", "profile", "own", "claims", "date", "requests", "window",
	"secret",
}

// firstWrong is the field that has the focus when a form is shown again: the first one to be mended. "" if what is
// wrong is none of theirs; then what says so has it.
func firstWrong(wrong map[string]string) string {
	for _, field := range inOrder {
		if wrong[field] != "" {
			return field
		}
	}
	return ""
}

// newPages reads texts.yaml and the templates. A text that is missing is an error of the program, which tests find.
func newPages(c clock.PassiveClock) (*pages, error) {
	text, err := files.ReadFile("texts.yaml")
	if err != nil {
		return nil, err
	}
	p := &pages{byName: map[string]*template.Template{}, texts: map[string]string{}}
	if err := yaml.Unmarshal(text, &p.texts); err != nil {
		return nil, fmt.Errorf("texts.yaml: %w", err)
	}
	functions := template.FuncMap{
		"t":     p.text,
		"time":  func(t time.Time) timeShown { return p.showTime(t, c.Now()) },
		"under": func(prefix, path string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") },
		"base":  func() string { return Base },
		// status is the word for what has become of a post.
		"status":   func(s store.Status) string { return p.text(statusTexts[s]) },
		"platform": titleOf,
		"join":     func(values []string) string { return strings.Join(values, ", ") },
		"field":    func(wrong map[string]string, field string) fieldShown { return fieldShown{wrong, field} },
		"first":    firstWrong,
		"lasts":    lasts,
		"again":    againAt,
		"revoke":   reviewPath,
		"rotation": rotationPath,
	}
	shared := template.New("").Funcs(functions)
	if err := p.parse(shared, "templates/shared/*.html"); err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		// Each page has its own copy: all of them define main, and would replace each other's.
		one := template.Must(shared.Clone())
		if err := p.parse(one, name); err != nil {
			return nil, err
		}
		p.byName[strings.TrimSuffix(path.Base(name), ".html")] = one
	}
	return p, nil
}

// titleOf is how people write a platform, by its name; that name, for one that there is no more.
func titleOf(name any) string {
	id := fmt.Sprint(name)
	of, _ := catalog.All.Get(platform.Name(id))
	return cmp.Or(of.Title, id)
}

// constants are what templates ask for that is always the same: a text without values, and where the pages are, at the
// beginning of an attribute. Elsewhere that depends on what stands around it: in a query it is escaped.
var constants = regexp.MustCompile(`\{\{t\s"([^"]+)"\}\}|"\{\{base\}\}`)

// parse adds the templates of these files. Constants are put in here, once: a page has a hundred of them, and calling
// a function for each was half of what executing a template took. They are escaped for HTML and for quoted
// attributes: templates have them nowhere else.
func (p *pages) parse(into *template.Template, pattern string) error {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		text := constants.ReplaceAllStringFunc(string(content), func(found string) string {
			if key := constants.FindStringSubmatch(found)[1]; key != "" {
				return template.HTMLEscapeString(p.text(key))
			}
			return `"` + Base
		})
		if _, err := into.New(path.Base(name)).Parse(text); err != nil {
			return err
		}
	}
	return nil
}

// text returns a text by its key, with values put in where it has {} for them, in their order: not where a value has
// them, which may be what somebody else has written. A key that is not there is returned in ⟦⟧, for tests to find.
// It is text, and not HTML: templates escape it, and parse does for constants.
func (p *pages) text(key string, values ...any) string {
	text, ok := p.texts[key]
	if !ok {
		return "⟦" + key + "⟧"
	}
	var b strings.Builder
	for _, v := range values {
		before, after, ok := strings.Cut(text, "{}")
		if !ok {
			break
		}
		_, _ = fmt.Fprint(&b, before, v)
		text = after
	}
	b.WriteString(text)
	return b.String()
}

// answer sends what a screen came to. A redirect is always a 303, so that the browser asks by GET; the view's own
// status is for the audit log then.
func (d *Dashboard) answer(r *request, v view) {
	if v.Redirect != "" {
		if v.Notice != "" {
			r.keepNotice(v.Notice)
		}
		// Base is put in here, so that no screen leads out of the dashboard by what somebody has sent. Leave is for what
		// does.
		http.Redirect(r.writer, r.http, Base+v.Redirect, http.StatusSeeOther)
		return
	}
	if v.JSON != nil {
		r.writer.Header().Set("Content-Type", "application/json")
		r.writer.WriteHeader(cmp.Or(v.Status, http.StatusOK))
		_ = json.NewEncoder(r.writer).Encode(v.JSON)
		return
	}
	if v.Leave != "" {
		http.Redirect(r.writer, r.http, v.Leave, http.StatusSeeOther)
		return
	}
	// The whole page before any of it is sent: what fails in the middle would be half a page, under a status that says
	// that all is well. Only a page takes the notice, so that it outlasts a redirect in between.
	var page bytes.Buffer
	f := frame{
		Title: d.pages.text(v.Title), Environment: string(d.config.Environment), OtherURL: d.config.OtherURL,
		Path: strings.TrimPrefix(r.http.URL.Path, Base), Person: r.person, Notice: r.takeNotice(),
		Data: v.Data,
	}
	if err := d.pages.byName[v.Page].ExecuteTemplate(&page, "layout", f); err != nil {
		d.config.Logger.Error("A page can't be shown", "requestId", r.id, "page", v.Page, "error", err)
		http.Error(r.writer, "The page can't be shown. Request "+r.id, http.StatusInternalServerError)
		return
	}
	r.writer.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Status != 0 {
		r.writer.WriteHeader(v.Status)
	}
	_, _ = r.writer.Write(page.Bytes()) // a browser that has gone away is nobody's error
}
