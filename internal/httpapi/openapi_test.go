// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/endpoint"
)

func TestDocument(t *testing.T) {
	f := newFixture(t, nil)
	golden(t, "openapi.json", f.get(t, "/v1/openapi.json", ""))
}

// document is what of the OpenAPI document the tests look at.
type document struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string
		Security    []map[string][]string
		Responses   map[string]struct {
			Content map[string]any
		}
	}
}

func TestDocumentHasEveryRoute(t *testing.T) {
	f := newFixture(t, nil)
	d := decode[document](t, f.get(t, "/v1/openapi.json", ""))
	if d.OpenAPI != "3.1.0" {
		t.Errorf("version %q", d.OpenAPI)
	}
	described := map[string]bool{}
	for path, methods := range d.Paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	want := map[string]bool{}
	for i := range routes {
		r := &routes[i]
		want[r.Method+" "+r.Path] = true
		op := d.Paths[r.Path][strings.ToLower(r.Method)]
		ways := map[string]bool{}
		for _, alternative := range op.Security {
			for scheme := range alternative {
				ways[scheme] = true
			}
		}
		wantWays := map[string]bool{}
		if r.Access != admission.Anyone {
			wantWays["apiKey"] = true
		}
		if r.Access == admission.KeyOrSession {
			wantWays["liveSession"], wantWays["testSession"] = true, true
		}
		if diff := cmp.Diff(wantWays, ways); diff != "" {
			t.Errorf("%s %s: how one may say who one is (-table +document):\n%s", r.Method, r.Path, diff)
		}
		if r.Summary == "" || r.ID == "" {
			t.Errorf("%s %s has no summary or no id", r.Method, r.Path)
		}
	}
	if diff := cmp.Diff(want, described); diff != "" {
		t.Errorf("routes (-table +document):\n%s", diff)
	}
}

// Every example is one of an operation, and a body without which an operation can't be done is said to be required.
func TestExamplesAndBodies(t *testing.T) {
	examplesOf := maps.Clone(examples)
	for i := range routes {
		delete(examplesOf, routes[i].ID)
	}
	for id := range examplesOf {
		t.Errorf("there is an example of %s, and no such operation", id)
	}
	type body struct {
		Required bool
		Content  map[string]struct {
			Schema struct{ Properties map[string]any }
		}
	}
	text, err := Document()
	check(t, err)
	paths := decode[struct {
		Paths map[string]map[string]struct{ RequestBody *body }
	}](t, string(text)).Paths
	for path, want := range map[string]bool{
		"/v1/posts": true, "/v1/media": true, "/v1/posts/{id}/retry": false, "/v1/accounts/connect/{platform}": false,
	} {
		if got := paths[path]["post"].RequestBody; got == nil || got.Required != want {
			t.Errorf("%s: its body is %+v, want that it is required: %t", path, got, want)
		}
	}
	complete := paths["/v1/accounts/connect/{platform}/complete"]["post"].RequestBody.Content["application/json"].Schema.Properties
	for _, name := range []string{"identifier", "appPassword", "pdsUrl", "profileId"} {
		if complete[name] == nil {
			t.Errorf("what completes a connection has no %s", name)
		}
	}
}

// promises are the responses of a document, each with the schema of its body.
type promises struct {
	schemas map[string]*jsonschema.Schema // by "METHOD /path STATUS"; nil: it is a stream of bytes
	open    map[string]bool               // those not seen yet
}

func newPromises(t *testing.T, text string) promises {
	t.Helper()
	raw, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	schemas := raw.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	for _, s := range schemas {
		s.(map[string]any)["additionalProperties"] = false
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", raw); err != nil {
		t.Fatal(err)
	}
	p := promises{map[string]*jsonschema.Schema{}, map[string]bool{}}
	for path, methods := range decode[document](t, text).Paths {
		for method, op := range methods {
			for status, response := range op.Responses {
				name := strings.ToUpper(method) + " " + path + " " + status
				p.open[name] = true
				if response.Content["application/json"] == nil {
					p.schemas[name] = nil
					continue
				}
				at := fmt.Sprintf("openapi.json#/paths/%s/%s/responses/%s/content/application~1json/schema",
					strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path), method, status)
				schema, err := compiler.Compile(at)
				if err != nil {
					t.Fatal(err)
				}
				p.schemas[name] = schema
			}
		}
	}
	return p
}

func (p promises) check(t *testing.T, r *endpoint.Route, w *httptest.ResponseRecorder) {
	t.Helper()
	name := fmt.Sprintf("%s %s %d", r.Method, r.Path, w.Code)
	schema, promised := p.schemas[name]
	if !promised {
		t.Errorf("seen and not promised: %s %s", name, w.Body)
		return
	}
	delete(p.open, name)
	if schema == nil {
		return
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(body); err != nil {
		t.Errorf("%s: %s\n%v", name, w.Body, err)
	}
}

// The validator does refuse: a missing property, a null where there is none, a property unheard of.
func TestPromisesCanBeBroken(t *testing.T) {
	works := newFixture(t, nil)
	p := newPromises(t, works.get(t, "/v1/openapi.json", ""))
	schema := p.schemas["GET /v1/profiles 200"]
	for _, c := range []struct {
		body string
		good bool
	}{
		{`{"data":[],"nextCursor":null}`, true},
		{`{"data":[]}`, false},
		{`{"data":null,"nextCursor":null}`, false},
		{`{"data":[],"nextCursor":null,"more":1}`, false},
		{`{"data":[{"id":"a","name":"b","slug":"c","createdAt":"yesterday","updatedAt":"2026-01-01T00:00:00Z"}],"nextCursor":null}`, false},
	} {
		var v any
		if err := json.Unmarshal([]byte(c.body), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != c.good {
			t.Errorf("%s: %v", c.body, err)
		}
	}
	if p.schemas["GET /v1/whoami 200"] == nil || len(p.schemas) < http.StatusContinue/10 {
		t.Errorf("only %d responses are described", len(p.schemas))
	}
}
