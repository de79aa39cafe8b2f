// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keysecret

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// helmReleases is how the names of the Secrets begin that Helm keeps its releases in.
const helmReleases = "sh.helm.release."

// reserved are the labels and annotations, KEY=VALUE, by which Kubernetes' own components, Helm and Argo CD take a
// Secret for one of theirs. The policy letmepost-secret-names has the same expression.
var reserved = regexp.MustCompile(
	`^(([a-z0-9-]+\.)*(kubernetes\.io|k8s\.io|helm\.sh)/|argocd\.argoproj\.io/secret-type=|owner=helm$)`)

// Reserved says in words what of the name and the metadata that owner asks for is somebody else's; "" for nothing.
//
// The Secret is made with the controller's permissions, and whoever asks for it may be allowed to create nothing but
// ApiKeys. The chart's policies refuse such an ApiKey at once; this is for where they are switched off.
func Reserved(owner *v1alpha1.ApiKey) string {
	if name := owner.SecretName(); strings.HasPrefix(name, helmReleases) {
		return fmt.Sprintf("Helm keeps its releases in Secrets with names such as %s. Choose another secretName", name)
	}
	template := owner.Spec.SecretTemplate
	if template == nil {
		return ""
	}
	others := append(reservedIn(template.Labels), reservedIn(template.Annotations)...)
	if len(others) == 0 {
		return ""
	}
	return "other programs act on " + strings.Join(others, ", ") + ". Leave it out of secretTemplate"
}

// reservedIn returns the reserved keys of labels or annotations. What stands under app.kubernetes.io is for everybody.
func reservedIn[V ~string](metadata map[string]V) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(metadata)), func(k string) bool {
		return strings.HasPrefix(k, "app.kubernetes.io/") || !reserved.MatchString(k+"="+string(metadata[k]))
	})
}
