// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// definition is what this program knows of a resource. A cluster whose definition lacks a field refuses what this
// program sends with it (create), and drops it from what others send who don't ask to be told. Only the fields of spec
// are compared: they are what people ask for, and one that is dropped gives them another key than they wanted. Status
// is the controller's.
type definition struct {
	resource, kind string
	spec           reflect.Type // whose JSON names are compared with the cluster's
	without        string       // what a cluster without it can't do
}

// definitions are all of the project's. The last text of each goes on after "are not served". LeakedKeys are among them
// because a replica serves nobody before it has listed them.
var definitions = []definition{
	{resource, "ApiKey", reflect.TypeFor[v1alpha1.ApiKeySpec](), "there are no keys"},
	{"profiles", "Profile", reflect.TypeFor[v1alpha1.ProfileSpec](), "no key is served"},
	{leakedKeys, "LeakedKey", reflect.TypeFor[v1alpha1.LeakedKeySpec](), "no key is served, as any could have leaked"},
}

// install mends definitions that are missing or old, which an upgrade of the release does.
const install = "helm upgrade --install letmepost-operator charts/letmepost-operator -n "

// checkServed looks whether the resources are there, as this program knows them, and whether others have their names.
// What can't be read of a schema is a finding of its own, and does not stand in the way of what discovery says.
func (p *plugin) checkServed(_ context.Context, c *cluster) []finding {
	remedy := install + p.release
	served, err := c.discovery.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return []finding{{isWrong, v1alpha1.GroupVersion.String() + " is not served: its definitions are missing", remedy}}
	case err != nil:
		return []finding{{unseen, fmt.Sprintf("which resources are served: %v", err), ""}}
	}
	schemas, unread := c.schemas()
	var found []finding
	for _, d := range definitions {
		name := d.resource + "." + group
		missing := d.missingIn(schemas)
		switch {
		// Before the fields: of a resource that is not there, all of them are missing.
		case !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Name == d.resource }):
			found = append(found, finding{isWrong, name + " are not served: " + d.without, remedy})
		// Without schemas, all of them seem to be missing as well, and nothing is known.
		case unread == nil && len(missing) > 0:
			found = append(found, finding{
				isWrong, fmt.Sprintf("%s are of another version than this program: they have no spec.%s, "+
					"and drop it, or refuse what asks for it if that is strict, as this program is",
					name, strings.Join(missing, ", spec.")), remedy,
			})
		default:
			found = append(found, finding{fine, name + " are served", ""})
		}
	}
	if unread != nil {
		found = append(found, finding{unseen, fmt.Sprintf("whether the definitions are old: %v", unread), ""})
	}
	return append(found, c.namesakes()...)
}

// namesakes are resources of others that have the name of ours. Nobody is harmed by one until they say only "apikeys"
// to kubectl, which then takes whichever it comes to first.
func (c *cluster) namesakes() (found []finding) {
	_, lists, _ := c.discovery.ServerGroupsAndResources() // what can't be discovered has no names that are in the way
	for _, l := range lists {
		for i := range l.APIResources {
			of, _, _ := strings.Cut(l.GroupVersion, "/")
			if r := &l.APIResources[i]; r.Name == resource && of != group {
				found = append(found, finding{
					note, "there are also " + resource + "." + of,
					"kubectl get apikeys.letmepost.dev, and never only the first word",
				})
			}
		}
	}
	return found
}

// schema is as much of an OpenAPI schema as is read.
type schema struct {
	Kinds []struct {
		Kind string `json:"kind"`
	} `json:"x-kubernetes-group-version-kind"`
	Properties map[string]schema `json:"properties"`
}

// schemas are those that the apiserver publishes of our resources, to whoever may log in. By kind. They are read there
// and not in the CustomResourceDefinitions, which most people may not get. The apiserver publishes them a moment after
// a definition has come, so a group that is missing there is not known, and not wrong.
func (c *cluster) schemas() (map[string]schema, error) {
	paths, err := c.discovery.OpenAPIV3().Paths()
	if err != nil {
		return nil, err
	}
	ours, ok := paths["apis/"+v1alpha1.GroupVersion.String()]
	if !ok {
		return nil, fmt.Errorf("the apiserver publishes no schema of %s yet", v1alpha1.GroupVersion)
	}
	text, err := ours.Schema("application/json")
	if err != nil {
		return nil, err
	}
	var document struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	byKind := map[string]schema{}
	for _, s := range document.Components.Schemas {
		for _, k := range s.Kinds {
			if _, ok := s.Properties["spec"]; ok { // and not the DeleteOptions, which are of every kind
				byKind[k.Kind] = s
			}
		}
	}
	return byKind, nil
}

// missingIn are the fields of spec that this program knows and the cluster does not, in order. It goes by the JSON
// names of the Go type, so a new field of api/v1alpha1 is looked for without a word here. It looks at one level: a new
// field within a field is not found.
func (d definition) missingIn(schemas map[string]schema) (missing []string) {
	for i := range d.spec.NumField() {
		name, _, _ := strings.Cut(d.spec.Field(i).Tag.Get("json"), ",")
		if _, ok := schemas[d.kind].Properties["spec"].Properties[name]; !ok {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}
