// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// openAPI is the OpenAPI document, made once, of the route table and the Go types.
func (a *API) openAPI(*request) (json.RawMessage, error) { return a.document, nil }

const (
	schemaRefs   = "#/components/schemas/"
	bearerScheme = "apiKey"
)

// describe makes the OpenAPI 3.1 document of table. Of huma it takes the schema generator and the document's types, not
// its runtime: whoami must keep 0.85 of a bare handler's requests a second, which leaves no room for another router,
// content negotiation and per-request reflection.
func describe(table []route) (json.RawMessage, error) {
	registry := huma.NewMapRegistry(schemaRefs, huma.DefaultSchemaNamer)
	document := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:   "letmepost",
			Version: "v1",
			Description: "Publishing API. A deployment serves one environment, live or test, and accepts only the keys of that " +
				"environment. Ids are opaque strings, times are RFC 3339 in UTC. Unknown query parameters are ignored; " +
				"objects may gain properties.",
			License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{
			Schemas: registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{bearerScheme: {
				Type: "http", Scheme: "bearer", BearerFormat: "lmp_live_… or lmp_test_…",
				Description: "`Authorization: Bearer KEY`. The word is case-sensitive.",
			}},
		},
	}
	for i := range table {
		document.AddOperation(operationOf(registry, &table[i]))
	}
	for _, name := range slices.Collect(maps.Keys(registry.Map())) {
		mend(registry.Map()[name], registry.TypeFromRef(schemaRefs+name))
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	return text, nil
}

func operationOf(registry huma.Registry, t *route) *huma.Operation {
	op := &huma.Operation{
		Method: t.method, Path: t.path, OperationID: t.id,
		Summary: t.summary, Description: t.detail,
		Security:  []map[string][]string{},
		Responses: map[string]*huma.Response{},
	}
	if t.access != anyone {
		op.Security = []map[string][]string{{bearerScheme: {}}}
	}
	if strings.HasSuffix(t.path, idParam) {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "id", In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
	if t.paged {
		op.Parameters = append(op.Parameters, pageParams()...)
	}
	switch {
	case t.response != nil:
		op.Responses["200"] = responseOf(registry, t.response, "Success.")
	case t.stream != nil:
		op.Responses["200"] = &huma.Response{
			Description: "Success. The response is sent while it is made. It is cut short if the key is revoked or expires meanwhile.",
			Headers:     responseHeaders(),
			Content:     map[string]*huma.MediaType{t.contentType: {}},
		}
	}
	for _, status := range t.errorStatuses() {
		response := responseOf(registry, reflect.TypeFor[errorEnvelope](), errorDescriptions[status])
		if status == http.StatusUnauthorized {
			response.Headers["WWW-Authenticate"] = stringHeader("The challenge of RFC 6750.")
		}
		op.Responses[strconv.Itoa(status)] = response
	}
	return op
}

func pageParams() []*huma.Param {
	least, most := 1.0, float64(maxLimit)
	return []*huma.Param{
		{
			Name: "limit", In: "query", Description: "How many items to return at most.",
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: defaultLimit},
		},
		{
			Name: "cursor", In: "query", Description: "nextCursor of the previous page.",
			Schema: &huma.Schema{Type: huma.TypeString},
		},
	}
}

func responseOf(registry huma.Registry, body reflect.Type, description string) *huma.Response {
	return &huma.Response{
		Description: description,
		Headers:     responseHeaders(),
		Content:     map[string]*huma.MediaType{"application/json": {Schema: registry.Schema(body, true, "")}},
	}
}

func responseHeaders() map[string]*huma.Param {
	return map[string]*huma.Param{"X-Request-Id": stringHeader("The caller's id of the request if it sent a valid one, or a new one.")}
}

func stringHeader(description string) *huma.Param {
	return &huma.Param{Description: description, Schema: &huma.Schema{Type: huma.TypeString}}
}

// errorStatuses are the statuses that a route can fail with.
func (t *route) errorStatuses() []int {
	statuses := append([]int{http.StatusInternalServerError}, t.refuses...)
	if t.access != anyone {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusServiceUnavailable)
	}
	if t.succeeds() && strings.HasSuffix(t.path, idParam) {
		statuses = append(statuses, http.StatusNotFound)
	}
	if t.paged {
		statuses = append(statuses, http.StatusBadRequest)
	}
	return statuses
}

var errorDescriptions = map[int]string{
	http.StatusBadRequest:          "validation_failed: a parameter breaks the rule named in `rule`.",
	http.StatusUnauthorized:        "unauthenticated: there is no valid key; one body for every reason.",
	http.StatusForbidden:           "unauthorized: the key is valid and may not do this.",
	http.StatusNotFound:            "not_found: it does not exist, or not for this key.",
	http.StatusInternalServerError: "internal_error: an unexpected error.",
	http.StatusServiceUnavailable:  "unavailable: this replica cannot answer now; try again, or another one.",
}

// mend corrects, in the schema of a struct, what huma says otherwise than encoding/json does: a pointer without omitempty
// is a value or null, structs included; a slice is never null, because this package makes none; and properties may come
// to be added, so a client must not refuse those that it does not know.
func mend(s *huma.Schema, t reflect.Type) {
	s.AdditionalProperties = nil
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		property := s.Properties[name]
		switch {
		case property == nil:
		case field.Type.Kind() == reflect.Slice:
			property.Nullable = false
		case field.Type.Kind() == reflect.Pointer && property.Ref != "" && !strings.Contains(options, "omitempty"):
			property.AnyOf = []*huma.Schema{{Ref: property.Ref}, {Type: "null"}}
			property.Ref = ""
		}
	}
}
