// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// ParseNamespaces reads --watch-namespaces: names of namespaces, separated by commas. None means all of them.
//
// What could be understood in two ways is an error: a blank, or a name that is given twice. A mistyped name would not
// be noticed otherwise: the process would start and serve nothing of the namespace that was meant.
func ParseNamespaces(text string) (names []string, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
			return nil, fmt.Errorf("want names of namespaces, separated by commas without blanks, such as team-a,team-b; "+
				"%q is not such a name", name)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// Watched says to people what is watched, by what ParseNamespaces has returned.
func Watched(namespaces []string) string {
	if len(namespaces) == 0 {
		return "all namespaces"
	}
	return "namespaces " + strings.Join(namespaces, ", ")
}

// DefaultNamespace is that of the release, for a process outside a pod: the one that the docs install into.
const DefaultNamespace = "letmepost-system"

// namespaceFile holds the namespace of a pod. The kubelet mounts it with the pod's ServiceAccount token.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Namespace returns the namespace of the pod that this process runs in; outside a pod, DefaultNamespace.
func Namespace() string {
	if name, err := os.ReadFile(namespaceFile); err == nil && len(name) > 0 {
		return string(name)
	}
	return DefaultNamespace
}
