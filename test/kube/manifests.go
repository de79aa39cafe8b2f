package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/letmepost/letmepost-operator/internal/retry"
)

// fieldManager owns, in server-side apply, what InstallManifests sets.
const fieldManager = "letmepost-install"

var crdResource = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// InstallManifests applies, server-side, the YAML files and folders (with their subfolders) at paths, and waits
// until every CustomResourceDefinition among them is Established. Definitions and namespaces go first, the rest
// follows in the order of paths and file names. Applying twice changes nothing.
func InstallManifests(ctx context.Context, config *rest.Config, paths ...string) error {
	objects, err := LoadManifests(paths...)
	if err != nil {
		return err
	}
	installer, err := newInstaller(config)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := installer.apply(ctx, object); err != nil {
			return fmt.Errorf("apply %s: %w", describe(object), err)
		}
	}
	return nil
}

// LoadManifests reads what InstallManifests applies, in the order in which it does so.
func LoadManifests(paths ...string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" || entry.Name() == "kustomization.yaml" {
				return err
			}
			read, err := readManifest(path)
			objects = append(objects, read...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return objects, nil
}

// rank orders objects so that what others depend on comes first.
func rank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "CustomResourceDefinition":
		return 0
	case "Namespace":
		return 1
	default:
		return 2
	}
}

func readManifest(path string) ([]*unstructured.Unstructured, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(object.Object) > 0 { // a document of comments only
			objects = append(objects, object)
		}
	}
}

func describe(object *unstructured.Unstructured) string {
	name := object.GetName()
	if namespace := object.GetNamespace(); namespace != "" {
		name = namespace + "/" + name
	}
	return object.GetKind() + " " + name
}

type installer struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newInstaller(config *rest.Config) (*installer, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("install manifests: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("install manifests: %w", err)
	}
	return &installer{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

func (i *installer) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := i.resource(ctx, object)
	if err != nil {
		return err
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil || object.GetKind() != "CustomResourceDefinition" {
		return err
	}
	return i.waitEstablished(ctx, object.GetName())
}

// resource finds the endpoint of an object. A definition that has just been established may not be in the
// discovery documents yet, so an unknown kind is asked for again until ctx ends or two seconds have passed.
func (i *installer) resource(
	ctx context.Context,
	object *unstructured.Unstructured,
) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	var mapping *meta.RESTMapping
	err := poll(ctx, 2*time.Second, func() (done bool, err error) {
		mapping, err = i.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) {
			i.mapper.Reset()
			return false, err
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	resource := i.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return resource.Namespace(object.GetNamespace()), nil
	}
	return resource, nil
}

func (i *installer) waitEstablished(ctx context.Context, name string) error {
	return poll(ctx, time.Minute, func() (bool, error) {
		crd, err := i.client.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return !apierrors.IsNotFound(err), err
		}
		if status, message := Condition(crd, "Established"); status != "True" {
			return false, fmt.Errorf("not established: %s", message)
		}
		return true, nil
	})
}

// Condition reads a condition from an object's status: its status, "" when there is none or it is about an earlier
// generation of the object, and its reason and message for people.
func Condition(object *unstructured.Unstructured, kind string) (status, explanation string) {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, item := range conditions {
		if condition, ok := item.(map[string]any); ok && condition["type"] == kind {
			if observed, told := condition["observedGeneration"].(int64); told && observed != object.GetGeneration() {
				break
			}
			status, _ = condition["status"].(string)
			return status, fmt.Sprintf("%v: %v", condition["reason"], condition["message"])
		}
	}
	return "", "no condition " + kind + " yet"
}

// poll calls check until it is done, ctx ends or bound has passed; then the error is the last one of check.
func poll(ctx context.Context, bound time.Duration, check func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		done, err := check()
		if done {
			return err
		}
		if !retry.Pause(ctx, pollInterval) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
