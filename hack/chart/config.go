// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	fileHead = "# Written by hack/chart (make generate) from the chart's default output. Change the chart, not this.\n"

	// namespaceFile is the one object that the chart leaves to "helm install --create-namespace".
	namespaceFile = fileHead + `apiVersion: v1
kind: Namespace
metadata:
  name: ` + namespace + `
  labels:
    pod-security.kubernetes.io/enforce: restricted
`
	kustomizationHead = fileHead + `#
#     kubectl apply --server-side -k config%s
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
`
)

// generated are the folders of config/ that writeConfig owns, and empties first: an object that the chart has no more
// must not stay. config/crd is controller-gen's, config/samples is people's.
var generated = []string{"rbac", "policies", "deploy", "gate"}

// writeConfig writes the chart's output to a folder: a file for each of the chart's own, with a kustomization.yaml that
// names them all. What is Helm's alone is left out. What withGate has more stands in a folder of its own, with a
// kustomization.yaml of its own: who wants no gate is to grant it nothing.
func writeConfig(dir string, rendered, withGate []byte) error {
	files, err := split(string(rendered))
	if err != nil {
		return err
	}
	files["rbac/namespace.yaml"] = namespaceFile
	more, err := gateFiles(files, withGate)
	if err != nil {
		return err
	}
	for _, folder := range generated {
		if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	names, err := writeFiles(dir, files)
	if err != nil {
		return err
	}
	gateNames, err := writeFiles(filepath.Join(dir, "gate"), more)
	if err != nil {
		return err
	}
	if err := writeKustomization(filepath.Join(dir, "gate"), "/gate", gateNames); err != nil {
		return err
	}
	definitions, err := filepath.Glob(filepath.Join(dir, "crd", "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range definitions {
		names = append(names, "crd/"+filepath.Base(file))
	}
	return writeKustomization(dir, "", names)
}

// gateFiles are those that the chart has only with a gate, by their names in config/gate.
func gateFiles(without map[string]string, rendered []byte) (map[string]string, error) {
	with, err := split(string(rendered))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, text := range with {
		switch before, there := without[name]; {
		case there && before != text:
			return nil, fmt.Errorf("%s differs with a gate: what the gate adds belongs in a template of its own", name)
		case !there:
			folder, file := path.Split(name)
			if folder != "deploy/" {
				file = strings.TrimSuffix(folder, "/") + ".yaml"
			}
			files[file] = text
		}
	}
	return files, nil
}

func writeFiles(dir string, files map[string]string) (names []string, err error) {
	for name, text := range files {
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func writeKustomization(dir, below string, names []string) error {
	slices.Sort(names)
	kustomization := fmt.Sprintf(kustomizationHead, below)
	for _, name := range names {
		kustomization += "  - " + name + "\n"
	}
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o644)
}

// How the objects of "helm template" are recognised. They are text, so these look at the beginnings of lines, where no
// value of a template can stand.
var (
	source = regexp.MustCompile(`(?m)^# Source: letmepost-operator/templates/(\S+)\n`)
	kind   = regexp.MustCompile(`(?m)^kind: (\S+)$`)
	name   = regexp.MustCompile(`(?m)^  name: "?([^"\s]+)"?$`)
)

// split returns the texts of the files, by name in config/. An object is text here, not data: its comments say why it
// is as it is.
func split(rendered string) (map[string]string, error) {
	files := map[string]string{}
	for object := range strings.SplitSeq("\n"+rendered, "\n---\n") {
		if strings.TrimSpace(object) == "" || strings.Contains(object, "helm.sh/hook") {
			continue
		}
		from := source.FindStringSubmatch(object)
		ofKind, named := kind.FindStringSubmatch(object), name.FindStringSubmatch(object)
		if from == nil || ofKind == nil || named == nil {
			return nil, errors.New("helm template wrote an object without a source, a kind or a name: " + object)
		}
		if ofKind[1] == "CustomResourceDefinition" {
			continue // config/crd has it
		}
		file := fileOf(from[1], named[1])
		if file == "" {
			return nil, fmt.Errorf("%s: a template in a folder has no place in config/", from[1])
		}
		text := plain(source.ReplaceAllString(object, ""))
		if _, again := files[file]; again {
			text = "---\n" + text
		} else {
			text = fileHead + text
		}
		files[file] += text
	}
	return files, nil
}

// fileOf returns where in config/ an object goes. Roles and policies stand apart, so that tests can take them alone: a
// policy in a file of its own.
func fileOf(template, object string) string {
	base := path.Base(template)
	switch {
	case strings.Contains(template, "/"):
		return ""
	case strings.HasPrefix(base, "rbac-"):
		return "rbac/" + strings.TrimPrefix(base, "rbac-")
	case strings.HasPrefix(base, "people"):
		return "rbac/" + base
	case strings.HasPrefix(base, "polic"):
		return "policies/" + strings.TrimPrefix(object, "letmepost-") + ".yaml"
	default:
		return "deploy/" + base
	}
}

var (
	helmOnly = regexp.MustCompile(`^\s+(helm\.sh/\S+|app\.kubernetes\.io/managed-by): `)
	opening  = regexp.MustCompile(`^( +)(annotations|labels):$`)
)

// plain takes out of an object what is Helm's: labels and annotations that say so, maps that are empty without them,
// and empty lines.
func plain(object string) string {
	var kept []string
	for line := range strings.Lines(object) {
		line = strings.TrimRight(line, " \n")
		if line != "" && !helmOnly.MatchString(line) {
			kept = append(kept, line)
		}
	}
	var text bytes.Buffer
	for i, line := range kept {
		if found := opening.FindStringSubmatch(line); found != nil &&
			(i+1 == len(kept) || !strings.HasPrefix(kept[i+1], found[1]+" ")) {
			continue
		}
		text.WriteString(line + "\n")
	}
	return text.String()
}
