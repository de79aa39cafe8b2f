// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/letmepost/letmepost-operator/test/kube"
)

type schema = apiextensionsv1.JSONSchemaProps

// definitions reads config/crd, by plural name.
func definitions(t testing.TB) map[string]apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	objects, err := kube.LoadManifests(kube.Path("config/crd"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]apiextensionsv1.CustomResourceDefinition{}
	for _, object := range objects {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &crd); err != nil {
			t.Fatal(err)
		}
		if len(crd.Spec.Versions) != 1 {
			t.Fatalf("%s has %d versions; these tests look at the first alone", crd.Name, len(crd.Spec.Versions))
		}
		found[crd.Spec.Names.Plural] = crd
	}
	if len(found) != 3 {
		t.Fatalf("found %d definitions in config/crd, want 3", len(found))
	}
	return found
}

func schemaOf(crd apiextensionsv1.CustomResourceDefinition) *schema {
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// Steps from a schema to one inside it, beside ".field".
const (
	anyItem = "[]"
	anyKey  = ".*"
)

// walk visits a schema and all within, in a fixed order, each with its path, such as spec.scopes[].
func walk(path string, s *schema, visit func(path string, s *schema)) {
	visit(path, s)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		walk(strings.TrimPrefix(path+"."+name, "."), &field, visit)
	}
	if s.Items != nil {
		walk(path+anyItem, s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(path+anyKey, s.AdditionalProperties.Schema, visit)
	}
}

// TestExplain proves that kubectl explain has something to say about everything.
func TestExplain(t *testing.T) {
	for name, crd := range definitions(t) {
		walk("", schemaOf(crd), func(path string, s *schema) {
			switch {
			case path == "metadata": // Kubernetes describes it
			case strings.TrimSpace(s.Description) == "":
				t.Errorf("%s: %q has no description", name, path)
			case path != "" && len(strings.Fields(s.Description)) < 3:
				t.Errorf("%s: %q is described as %q, which explains nothing", name, path, s.Description)
			}
		})
	}
}

// TestBounds proves that nobody can fill etcd, or the memory of a controller, through a field without a limit. Bounds
// are also what keeps the cost of CEL rules within what the apiserver allows.
func TestBounds(t *testing.T) {
	for name, crd := range definitions(t) {
		walk("", schemaOf(crd), func(path string, s *schema) {
			if path == "apiVersion" || path == "kind" || path == "metadata" {
				return // the apiserver's own
			}
			if lacks := unbounded(s); lacks != "" {
				t.Errorf("%s: %s, a %s, has no %s", name, path, s.Type, lacks)
			}
		})
	}
}

// unbounded says which bound s lacks.
func unbounded(s *schema) string {
	switch {
	case s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields:
		return "list of fields: it keeps unknown ones"
	case s.Type == "string" && s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time":
		return "maxLength, enum or bounding format"
	case s.Type == "array" && s.MaxItems == nil:
		return "maxItems"
	case s.AdditionalProperties != nil && s.MaxProperties == nil:
		return "maxProperties"
	case s.Type == "integer" && s.Minimum == nil:
		return "minimum"
	case s.Type == "object" && len(s.Properties) == 0 && s.AdditionalProperties == nil:
		return "fields"
	default:
		return ""
	}
}

func TestUnbounded(t *testing.T) {
	no := (*int64)(nil)
	for _, tc := range []struct {
		reason string
		schema schema
		want   string
	}{
		{"a string of any length", schema{Type: "string", MaxLength: no}, "maxLength, enum or bounding format"},
		{"a list of any length", schema{Type: "array"}, "maxItems"},
		{"a map of any size", schema{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{}}, "maxProperties"},
		{"a number that may be negative", schema{Type: "integer"}, "minimum"},
		{"a time", schema{Type: "string", Format: "date-time"}, ""},
	} {
		if got := unbounded(&tc.schema); got != tc.want {
			t.Errorf("%s: unbounded() = %q, want %q", tc.reason, got, tc.want)
		}
	}
}

func TestNames(t *testing.T) {
	type names struct {
		Scope      string
		ShortNames []string
		Categories []string
		Columns    []string
		Status     bool
	}
	want := map[string]names{
		"apikeys": {
			Scope: "Namespaced", ShortNames: []string{"ak"}, Categories: []string{"letmepost"}, Status: true,
			Columns: []string{"Environment", "Profile", "Scopes", "Hint", "Ready", "Reason", "Expires", "Age"},
		},
		"leakedkeys": {Scope: "Namespaced", Columns: []string{"Key Namespace", "Key", "Hint", "Age"}},
		"profiles": {
			Scope: "Namespaced", Categories: []string{"letmepost"}, Status: true,
			Columns: []string{"Display Name", "Keys", "Ready", "Max Key Lifetime", "Age"},
		},
	}
	got := map[string]names{}
	for name, crd := range definitions(t) {
		version := crd.Spec.Versions[0]
		n := names{
			Scope: string(crd.Spec.Scope), ShortNames: crd.Spec.Names.ShortNames, Categories: crd.Spec.Names.Categories,
			Status: version.Subresources != nil && version.Subresources.Status != nil,
		}
		for _, column := range version.AdditionalPrinterColumns {
			n.Columns = append(n.Columns, column.Name)
		}
		got[name] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what kubectl get shows is a contract with users and their scripts (-want +got):\n%s", diff)
	}
}
