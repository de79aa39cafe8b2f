// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/test/kube"
)

const (
	chartPath   = "charts/letmepost-operator"
	releaseName = "letmepost-operator"
)

// settings are values by their whole names: "api.live.replicas".
type settings map[string]any

// precondition is a value without which the others could not be, and which is not what a case is about.
type precondition struct{ value any }

// MarshalJSON makes it the value.
func (p precondition) MarshalJSON() ([]byte, error) { return json.Marshal(p.value) }

func given(value any) precondition { return precondition{value} }

// file is the settings as a values file, in JSON.
func (s settings) file() []byte {
	root := map[string]any{}
	for name, value := range s {
		parts := strings.Split(name, ".")
		section := root
		for _, part := range parts[:len(parts)-1] {
			if section[part] == nil {
				section[part] = map[string]any{}
			}
			section = section[part].(map[string]any)
		}
		section[parts[len(parts)-1]] = value
	}
	text, err := json.Marshal(root)
	if err != nil {
		panic(err) // settings are literals
	}
	return text
}

// objects are what was rendered, by "Kind/name"; in another namespace than the release's, by "Kind/namespace/name".
type objects map[string]map[string]any

// rendered are what `helm template` wrote, by its values file: tests look at the same settings in several ways.
var rendered sync.Map // of func() ([]byte, error)

// tryHelm runs `helm template` with settings. The error has what Helm says.
func tryHelm(t *testing.T, s settings) (objects, error) {
	t.Helper()
	once, _ := rendered.LoadOrStore(string(s.file()), sync.OnceValues(func() ([]byte, error) { return template(t, releaseName, systemNamespace, s) }))
	text, err := once.(func() ([]byte, error))()
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func template(t *testing.T, release, namespace string, s settings) ([]byte, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), kube.Path("bin/tools/helm"), "template", release, kube.Path(chartPath), "--namespace", namespace, "--values", "-")
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir())
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(s.file()), &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.Bytes(), nil
}

func decode(text []byte) (objects, error) {
	found := objects{}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := sigsyaml.UnmarshalStrict(document, &object); err != nil { // a key twice is a mistake
			return nil, fmt.Errorf("%w in\n%s", err, document)
		}
		if len(object) > 0 {
			found[nameOf(object)] = object
		}
	}
}

func helm(t *testing.T, s settings) objects {
	t.Helper()
	found, err := tryHelm(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func nameOf(object map[string]any) string {
	metadata := object["metadata"].(map[string]any)
	name := fmt.Sprintf("%v/%v", object["kind"], metadata["name"])
	if namespace := metadata["namespace"]; namespace != nil && namespace != systemNamespace {
		name = fmt.Sprintf("%v/%v/%v", object["kind"], namespace, metadata["name"])
	}
	return name
}

// dig finds what is in an object at a path: keys and indexes, with spaces between them. nil if there is nothing.
func dig(from any, path string) any {
	for part := range strings.FieldsSeq(path) {
		switch container := from.(type) {
		case map[string]any:
			from = container[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(container) {
				return nil
			}
			from = container[i]
		default:
			return nil
		}
	}
	return from
}

// reporter is the part of a test that checks use: a mutation is watched by another one.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// check is an expectation of what was rendered.
type check func(t reporter, found objects)

// is expects a value at a path of an object. nil expects none.
func is(object, path string, want any) check {
	return func(t reporter, found objects) {
		t.Helper()
		if found[object] == nil {
			t.Errorf("there is no %s", object)
			return
		}
		if diff := cmp.Diff(plain(want), dig(found[object], path)); diff != "" {
			t.Errorf("%s, %s (-want +got):\n%s", object, path, diff)
		}
	}
}

// has expects an element in the list at a path of an object.
func has(object, path string, want any) check { return element(object, path, want, true) }

// hasNot expects that it is not there.
func hasNot(object, path string, want any) check { return element(object, path, want, false) }

func element(object, path string, want any, expected bool) check {
	return func(t reporter, found objects) {
		t.Helper()
		if found[object] == nil {
			t.Errorf("there is no %s", object)
			return
		}
		list, _ := dig(found[object], path).([]any)
		there := false
		for _, item := range list {
			there = there || cmp.Equal(item, plain(want))
		}
		if there != expected {
			t.Errorf("%s, %s: has %v: %t, want %t; it is %v", object, path, want, there, expected, list)
		}
	}
}

// exists expects objects.
func exists(names ...string) check {
	return func(t reporter, found objects) {
		t.Helper()
		for _, name := range names {
			if found[name] == nil {
				t.Errorf("there is no %s", name)
			}
		}
	}
}

// absent expects that objects are not there.
func absent(names ...string) check {
	return func(t reporter, found objects) {
		t.Helper()
		for _, name := range names {
			if found[name] != nil {
				t.Errorf("there is a %s", name)
			}
		}
	}
}

// all joins checks of one thing.
func all(checks ...check) check {
	return func(t reporter, found objects) {
		t.Helper()
		for _, c := range checks {
			c(t, found)
		}
	}
}

// plain is a literal as it comes out of JSON.
func plain(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a literal
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}
