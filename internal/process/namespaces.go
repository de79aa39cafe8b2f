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
func ParseNamespaces(text string) (names []string, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
			return nil, fmt.Errorf(
				"want names of namespaces, separated by commas without blanks, such as team-a,team-b; %q is none",
				name,
			)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// Watched says to people what is watched.
func Watched(namespaces []string) string {
	if len(namespaces) == 0 {
		return "all namespaces"
	}
	return "namespaces " + strings.Join(namespaces, ", ")
}

// DefaultNamespace is that of the release, for a process outside a pod.
const DefaultNamespace = "letmepost-system"

// Namespace returns the namespace of the pod that this process runs in; outside a pod, DefaultNamespace.
func Namespace() string {
	if name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil && len(name) > 0 {
		return string(name)
	}
	return DefaultNamespace
}
