// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = `# A page's head.

# A section
# in two lines.
section:
  # -- A number.
  # @schema {minimum: 1}
  number: 2
  # -- A map | of texts.
  # @schema {additionalProperties: {type: string}}
  free: {a: b}

# -- A text.
text: ""
`

func TestSchema(t *testing.T) {
	values, err := parseValues([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	text, err := schemaOf(values)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart letmepost-operator",
		"type": "object", "additionalProperties": false, "properties": map[string]any{
			"global": map[string]any{"type": "object", "description": "Values of a parent chart, which this chart does not use."},
			"text":   map[string]any{"type": "string", "default": "", "description": "A text."},
			"section": map[string]any{
				"type": "object", "additionalProperties": false, "description": "A section in two lines.", "properties": map[string]any{
					"number": map[string]any{"type": "integer", "default": 2.0, "minimum": 1.0, "description": "A number."},
					"free": map[string]any{
						"type": "object", "default": map[string]any{"a": "b"}, "additionalProperties": map[string]any{"type": "string"}, "description": "A map | of texts.",
					},
				},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}

func TestTable(t *testing.T) {
	values, err := parseValues([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := tableHead + "| `text` | `\"\"` | A text. |\n" +
		"\n### section\n\nA section in two lines.\n\n" + tableHead +
		"| `section.number` | `2` | A number. |\n" +
		"| `section.free` | `{\"a\":\"b\"}` | A map \\| of texts. |\n"
	if diff := cmp.Diff(want, tableOf(values)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestValuesThatAreNotDescribed(t *testing.T) {
	for _, tc := range []struct{ reason, values, want string }{
		{"nobody would know what it is", "a: 1\n", "a has no comment"},
		{"also deep down", "# A.\na:\n  b: 1\n", "a.b has no comment"},
		{"a value is told from a section by its comment", "# A.\na: 1\n", `does not begin with "-- "`},
		{"a schema is YAML", "# -- A.\n# @schema {\na: 1\n", "a: @schema"},
		{"null could be anything", "# -- A.\na: null\n", "null has no type"},
		{"values have names", "- 1\n", "want one mapping"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			values, err := parseValues([]byte(tc.values))
			if err == nil {
				_, err = schemaOf(values)
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// rendered is what helm template writes: two objects of one template, a hook, a definition.
const rendered = `---
# Source: letmepost-operator/templates/api.yaml
# Why it is there.
kind: Deployment
metadata:
  name: letmepost-api
  labels:
    helm.sh/chart: letmepost-operator-0.1.0
    a: b
    app.kubernetes.io/managed-by: Helm
  annotations:
    helm.sh/resource-policy: keep

spec: {}
---
# Source: letmepost-operator/templates/api.yaml
kind: Service
metadata:
  name: letmepost-api
  labels:
    helm.sh/chart: letmepost-operator-0.1.0
---
# Source: letmepost-operator/templates/hook.yaml
kind: Job
metadata:
  name: letmepost-release
  annotations:
    helm.sh/hook: post-delete
---
# Source: letmepost-operator/templates/crds.yaml
kind: CustomResourceDefinition
metadata:
  name: apikeys.letmepost.dev
---
# Source: letmepost-operator/templates/policies.yaml
kind: ValidatingAdmissionPolicy
metadata:
  name: "letmepost-status-guard"
---
# Source: letmepost-operator/templates/rbac-api.yaml
kind: Role
metadata:
  name: letmepost-api
`

func TestSplit(t *testing.T) {
	got, err := split(rendered)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"deploy/api.yaml": fileHead + "# Why it is there.\nkind: Deployment\nmetadata:\n  name: letmepost-api\n  labels:\n    a: b\nspec: {}\n" +
			"---\nkind: Service\nmetadata:\n  name: letmepost-api\n",
		"policies/status-guard.yaml": fileHead + "kind: ValidatingAdmissionPolicy\nmetadata:\n  name: \"letmepost-status-guard\"\n",
		"rbac/api.yaml":              fileHead + "kind: Role\nmetadata:\n  name: letmepost-api\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := split("---\nkind: Role\n"); err == nil {
		t.Error("an object of no template was taken")
	}
}
