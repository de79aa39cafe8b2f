// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// parseNamespaces reads --watch-namespaces: names of namespaces, separated by commas. None means all of them. The API
// reads it the same way.
func parseNamespaces(text string) (names []string, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
			return nil, fmt.Errorf("want names of namespaces, separated by commas without blanks, such as team-a,team-b; %q is none", name)
		}
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		names = append(names, name)
	}
	return names, nil
}

// watched says to people what is watched.
func watched(namespaces []string) string {
	if len(namespaces) == 0 {
		return "all namespaces"
	}
	return "namespaces " + strings.Join(namespaces, ", ")
}
