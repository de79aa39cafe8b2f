// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// TestTheSchemaHasTheScopes: markers can't be derived from the list in Go, so the schema that is made of them is held
// to it. A scope that the schema lacks can't be given to a key; one that only the schema has would grant nothing.
func TestTheSchemaHasTheScopes(t *testing.T) {
	crd := definitions(t)["apikeys"]
	scopes := schemaOf(crd).Properties["spec"].Properties["scopes"]
	if scopes.Items == nil || scopes.Items.Schema == nil || scopes.Default == nil || scopes.MaxItems == nil {
		t.Fatalf("spec.scopes has no items, no default or no upper bound: %+v", scopes)
	}
	var allowed, byDefault []v1alpha1.Scope
	for _, value := range scopes.Items.Schema.Enum {
		var scope v1alpha1.Scope
		if err := json.Unmarshal(value.Raw, &scope); err != nil {
			t.Fatal(err)
		}
		allowed = append(allowed, scope)
	}
	if err := json.Unmarshal(scopes.Default.Raw, &byDefault); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.Scopes[:]
	if diff := cmp.Diff(want, allowed); diff != "" {
		t.Errorf("the enum (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, byDefault); diff != "" {
		t.Errorf("the default (-want +got):\n%s", diff)
	}
	if got := *scopes.MaxItems; got != int64(len(want)) {
		t.Errorf("a key may have %d scopes, and there are %d", got, len(want))
	}
}
