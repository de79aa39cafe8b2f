// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// alignWithEncoding corrects a struct's schema where huma describes something else than what goes out:
//
//   - A pointer without omitempty is a value or null. huma leaves out the null where it points to a struct.
//   - A slice is never null, because no shape here has a nil one.
//   - The properties of an embedded struct are the outer one's own. huma looks at exported ones only.
//   - Properties may come to be added, so a client must not refuse those that it does not know.
//
// Generated clients are made of the schema: each of these would be an error at run time in one of a strict language.
func (d *Description) alignWithEncoding(registry huma.Registry, s *huma.Schema, t reflect.Type) {
	s.AdditionalProperties = nil
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		property := s.Properties[name]
		// A tag wins nothing here: a list that stands elsewhere is the true one.
		if values := d.valuesOf(field.Type); property != nil && values != nil {
			property.Enum = values
		}
		switch {
		case field.Anonymous: // encoding/json knows it by its fields, and huma by no name
			d.embed(registry, s, field.Type)
		case property == nil:
		case field.Type.Kind() == reflect.Slice:
			property.Nullable = false
		case field.Type.Kind() == reflect.Pointer && property.Ref != "" && !strings.Contains(options, "omitempty"):
			// Beside a $ref, "nullable" means nothing: from OpenAPI 3.1 on, null is a type among others.
			property.AnyOf = []*huma.Schema{{Ref: property.Ref}, {Type: "null"}}
			property.Ref = ""
		}
	}
}

// valuesOf returns the values of a type, or of what it points to; nil: it may have any.
func (d *Description) valuesOf(t reflect.Type) []any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return enumOf(d.Enums[t])
}

// embed gives the schema of a struct the properties of one that is embedded in it. An unexported embedded struct's
// fields are encoded all the same, as encoding/json promotes them.
func (d *Description) embed(registry huma.Registry, s *huma.Schema, t reflect.Type) {
	embedded := huma.SchemaFromType(registry, t)
	d.alignWithEncoding(registry, embedded, t)
	maps.Copy(s.Properties, embedded.Properties)
	required := slices.Clone(embedded.Required)
	for _, name := range s.Required {
		if !slices.Contains(required, name) { // of an exported one, huma has them already
			required = append(required, name)
		}
	}
	s.Required = required
}
