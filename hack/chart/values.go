// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is one of values.yaml, or a section of them.
type value struct {
	path        string // "api.live.replicas"; "" is the root
	name        string // the last part of path
	description string // one paragraph of Markdown
	schema      map[string]any
	standard    *yaml.Node // the default
	children    []*value   // of a section; nil for a value
}

// parseValues reads values.yaml. A value is described by a comment above it that begins with "-- ". A mapping without
// such a comment is a section: its members are values in turn. A line "@schema {...}" of the comment adds to the
// value's JSON Schema. All must be described: the error says which is not.
func parseValues(text []byte) (*value, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("want one mapping")
	}
	root := &value{}
	return root, root.addChildren(document.Content[0])
}

func (v *value) addChildren(mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		child, err := newValue(v, mapping.Content[i], mapping.Content[i+1])
		if err != nil {
			return err
		}
		v.children = append(v.children, child)
	}
	return nil
}

func newValue(parent *value, key, standard *yaml.Node) (*value, error) {
	v := &value{name: key.Value, path: strings.TrimPrefix(parent.path+"."+key.Value, "."), standard: standard}
	leaf, err := v.readComment(key.HeadComment)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", v.path, err)
	case v.description == "":
		return nil, fmt.Errorf("%s has no comment that describes it", v.path)
	case leaf:
		return v, nil
	case standard.Kind != yaml.MappingNode:
		return nil, fmt.Errorf(`the comment of %s does not begin with "-- "`, v.path)
	}
	return v, v.addChildren(standard)
}

// readComment takes in the last paragraph of a comment, and tells whether it is that of a value. What stands before an
// empty line is for readers of values.yaml alone.
func (v *value) readComment(comment string) (leaf bool, err error) {
	if i := strings.LastIndex(comment, "\n\n"); i >= 0 {
		comment = comment[i:]
	}
	var words []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		if schema, found := strings.CutPrefix(line, "@schema "); found {
			if err := yaml.Unmarshal([]byte(schema), &v.schema); err != nil {
				return false, fmt.Errorf("@schema: %w", err)
			}
			continue
		}
		words = append(words, line)
	}
	text, leaf := strings.CutPrefix(strings.TrimSpace(strings.Join(words, " ")), "-- ")
	v.description = text
	return leaf, nil
}
