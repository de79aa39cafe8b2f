// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	"go.yaml.in/yaml/v3"
)

// schemaOf returns the JSON Schema of values.yaml. What is not there may not be set, so that a misspelt name is an
// error.
func schemaOf(root *value) ([]byte, error) {
	schema, err := root.jsonSchema()
	if err != nil {
		return nil, err
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Values of the chart letmepost-operator"
	// Helm hands a parent chart's global values down, and refuses the install if the schema does not know of them.
	schema["properties"].(map[string]any)["global"] = map[string]any{
		"type": "object", "description": "Values of a parent chart, which this chart does not use.",
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return nil, fmt.Errorf("values.schema.json: %w", err)
	}
	return text.Bytes(), nil
}

// jsonSchema returns the schema of a value or section. A value's type is that of its default, unless @schema says more.
func (v *value) jsonSchema() (map[string]any, error) {
	schema := map[string]any{}
	if v.description != "" {
		schema["description"] = v.description
	}
	if v.children != nil {
		properties := map[string]any{}
		for _, child := range v.children {
			var err error
			if properties[child.name], err = child.jsonSchema(); err != nil {
				return nil, err
			}
		}
		schema["type"], schema["properties"], schema["additionalProperties"] = "object", properties, false
		return schema, nil
	}
	var standard any
	if err := v.standard.Decode(&standard); err != nil {
		return nil, fmt.Errorf("%s: %w", v.path, err)
	}
	schema["default"] = standard
	if kind := typeOf(v.standard); kind != "" {
		schema["type"] = kind
	}
	maps.Copy(schema, v.schema)
	if schema["type"] == nil {
		return nil, fmt.Errorf("%s: null has no type: name one in @schema", v.path)
	}
	return schema, nil
}

// typeOf returns JSON Schema's name of the type of a default, "" for null.
func typeOf(node *yaml.Node) string {
	return map[string]string{
		"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean", "!!map": "object", "!!seq": "array",
	}[node.ShortTag()]
}
