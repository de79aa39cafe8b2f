// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/letmepost/letmepost-operator/internal/admission"
	"github.com/letmepost/letmepost-operator/internal/key"
	"github.com/letmepost/letmepost-operator/internal/store"
)

// Names within the document. Generated clients may show them, so they stay.
const (
	schemaRefs   = "#/components/schemas/"
	bearerScheme = "apiKey"
)

// Description is what an OpenAPI document is made of. The document says what is true of every deployment, so it knows
// no flags: the same release has the same document.
type Description struct {
	Routes   []Route
	Examples map[string]string // shell lines, by operationId
	// Enums are the values of types that can be one of a few: lists that stand elsewhere, and that a struct tag would only
	// repeat.
	Enums map[reflect.Type][]string
}

// Describe makes the OpenAPI 3.1 document. Of huma it takes the schema generator and the document's types, not its
// runtime: whoami must keep 0.85 of a bare handler's requests a second, which leaves no room for another router,
// content negotiation and per-request reflection.
//
// The same routes give the same bytes: `make verify` compares the reference in docs/http-api.md, which is made of them.
func Describe(d Description) (json.RawMessage, error) {
	registry := huma.NewMapRegistry(schemaRefs, huma.DefaultSchemaNamer)
	document := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "letmepost",
			Version: "v1",
			Description: "Publishing API. A deployment serves one environment, live or test, and accepts only the keys " +
				"of that environment. Ids are opaque strings, times are RFC 3339 in UTC. Query parameters and members of a body " +
				"that are unknown are refused; objects in answers may gain properties.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{
			Schemas:         registry,
			SecuritySchemes: securitySchemes(),
		},
	}
	for i := range d.Routes {
		document.AddOperation(operationOf(registry, &d.Routes[i], d.Examples[d.Routes[i].ID]))
	}
	// When all shapes are known. The names are collected first, because embed adds some on the way.
	for _, name := range slices.Collect(maps.Keys(registry.Map())) {
		d.alignWithEncoding(registry, registry.Map()[name], registry.TypeFromRef(schemaRefs+name))
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	return text, nil
}

// environments are those that a session may be of: the document is of every deployment.
var environments = []key.Environment{key.Live, key.Test}

// securitySchemes are the ways to say who one is.
func securitySchemes() map[string]*huma.SecurityScheme {
	all := map[string]*huma.SecurityScheme{bearerScheme: {
		Type: "http", Scheme: "bearer", BearerFormat: "lmp_live_… or lmp_test_…",
		Description: "`Authorization: Bearer KEY`.",
	}}
	for _, e := range environments {
		all[sessionScheme(e)] = &huma.SecurityScheme{
			Type: "apiKey", In: "cookie", Name: "__Host-letmepost-" + string(e), // as package dashboard sets it
			Description: "The session of somebody who is signed in at the dashboard of the " + string(e) + " environment, for " +
				"pages of its own origin. Where there is an `Authorization` header, no cookie is looked at. The parameter " +
				"`organization`, a name or an id, takes the place of the organization that the person has chosen there.",
		}
	}
	return all
}

func sessionScheme(e key.Environment) string { return string(e) + "Session" }

// operationOf describes a route: what it asks of a caller, takes and answers. What follows from the route's fields is
// derived here, and nowhere written twice.
func operationOf(registry huma.Registry, t *Route, example string) *huma.Operation {
	op := &huma.Operation{
		Method: t.Method, Path: t.Path, OperationID: t.ID,
		Summary: t.Summary, Description: t.Detail,
		Security:   []map[string][]string{}, // "nobody is asked for", where leaving it out would mean "as the document says"
		Parameters: paramsOf(t),
		Responses:  map[string]*huma.Response{},
	}
	if t.Access != admission.Anyone {
		// From OpenAPI 3.1 on, the roles that are needed may be named for any scheme.
		roles := []string{}
		if t.Scope != "" {
			roles = append(roles, string(t.Scope))
		}
		op.Security = []map[string][]string{{bearerScheme: roles}}
	}
	if t.Access == admission.KeyOrSession { // the person's rights are RBAC's, and no scopes
		for _, e := range environments {
			op.Security = append(op.Security, map[string][]string{sessionScheme(e): {}})
		}
	}
	op.RequestBody = requestBodyOf(registry, t)
	// An extension that documentation tools (Redoc, for one) show as the example beside an operation.
	if example != "" {
		op.Extensions = map[string]any{"x-codeSamples": []map[string]string{{"lang": "Shell", "source": example}}}
	}
	for _, status := range t.successes() {
		op.Responses[strconv.Itoa(status)] = successOf(registry, t)
	}
	for _, status := range t.errorStatuses() {
		response := responseOf(registry, reflect.TypeFor[ErrorEnvelope](), errorDescriptions[status])
		if t.page != nil {
			response = pageResponse("A page that says what is wrong.")
		}
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden:
			response.Headers["WWW-Authenticate"] = stringHeader("The challenge of RFC 6750.")
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			response.Headers["Retry-After"] = stringHeader("How many seconds to wait.")
		}
		op.Responses[strconv.Itoa(status)] = response
	}
	return op
}

// requestBodyOf describes the body that t takes; nil: none. A body without required members may be left out altogether,
// because decodeJSON takes none for an empty object.
func requestBodyOf(registry huma.Registry, t *Route) *huma.RequestBody {
	switch {
	case t.upload != nil:
		// What the handler reads by itself is not seen in a type: all uploads are one file, as a form.
		file := &huma.Schema{Type: huma.TypeString, Format: "binary"}
		form := &huma.Schema{
			Type:       huma.TypeObject,
			Properties: map[string]*huma.Schema{"file": file},
			Required:   []string{"file"},
		}
		for _, q := range t.Query { // which may be fields as well
			form.Properties[q.Name] = &huma.Schema{Type: huma.TypeString, Description: q.Description}
		}
		return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: form}}}
	case t.request != nil:
		// A named type is a reference, and what it requires stands at the other end of it.
		schema := registry.Schema(t.request, true, "")
		required := schema.Required
		if schema.Ref != "" {
			required = registry.SchemaFromRef(schema.Ref).Required
		}
		return &huma.RequestBody{
			Required: len(required) > 0,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: schema}},
		}
	default:
		return nil
	}
}

// paramsOf describes what t takes beside its body. The Idempotency-Key is never required: curl has none.
func paramsOf(t *Route) []*huma.Param {
	var params []*huma.Param
	if _, name, _ := cutParam(t.Path); name != "" {
		schema := &huma.Schema{Type: huma.TypeString}
		if t.ParamValues != nil {
			schema.Enum = enumOf(t.ParamValues)
		}
		params = append(params, &huma.Param{Name: name, In: "path", Required: true, Schema: schema})
	}
	for _, q := range t.Query {
		schema := &huma.Schema{Type: huma.TypeString, Format: q.Format, Enum: enumOf(q.Values)}
		if q.List { // repeated, which is OpenAPI's default for a query; that commas do as well, ListParam knows
			schema = &huma.Schema{Type: huma.TypeArray, Items: schema}
		}
		params = append(params, &huma.Param{Name: q.Name, In: "query", Description: q.Description, Schema: schema})
	}
	if t.Paged {
		params = append(params, t.pageParams()...)
	}
	if t.Changes() {
		least, most := 1, maxIdempotencyKey
		params = append(params, &huma.Param{
			Name: "Idempotency-Key", In: "header",
			Description: "Makes it safe to send the request again: it is run once, and its answer is kept for " +
				strconv.Itoa(int(store.IdempotencyRetention.Hours())) + " hours. Recommended.",
			Schema: &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most},
		})
	}
	return params
}

// enumOf returns values as huma has them; nil for none, where an empty list would allow nothing.
func enumOf(values []string) []any {
	var enum []any
	for _, v := range values {
		enum = append(enum, v)
	}
	return enum
}

// pageParams describes limit and cursor.
func (t *Route) pageParams() []*huma.Param {
	least, most := 1.0, float64(maxLimit)
	limit := &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: t.pageSize()}
	description := "How many items to return at most."
	if t.Unpaged {
		limit.Default = nil // unpagedLimit is more than the maximum of what may be sent, so it can't be told as a default
		description += " Without it: all of them, up to " + strconv.Itoa(unpagedLimit) + "."
	}
	return []*huma.Param{
		{Name: "limit", In: "query", Description: description, Schema: limit},
		{
			Name: "cursor", In: "query", Description: "nextCursor of the previous page.",
			Schema: &huma.Schema{Type: huma.TypeString},
		},
	}
}
