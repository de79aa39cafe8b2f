// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gitOwner is a tool that owns an ApiKey: it makes another one of what somebody deletes here, as soon as it looks.
// If the manifest has a hash (spec.secretHash), that is the same key, and it is served again.
type gitOwner struct {
	Tool string // as people call it
	Name string // of the Application, Kustomization or release; with its namespace where it is known
}

// gitOwnerOf tells by the marks that the tools leave whether one of them owns o; nil: none that is known. The first
// that matches counts: what Flux installs by a chart bears Helm's marks as well.
func gitOwnerOf(o *metav1.ObjectMeta) *gitOwner {
	labels, annotations := o.Labels, o.Annotations
	if id := annotations["argocd.argoproj.io/tracking-id"]; id != "" {
		application, _, _ := strings.Cut(id, ":") // application:group/kind:namespace/name
		return &gitOwner{"Argo CD", application}
	}
	if application := labels["argocd.argoproj.io/instance"]; application != "" {
		return &gitOwner{"Argo CD", application}
	}
	if name := labels["kustomize.toolkit.fluxcd.io/name"]; name != "" {
		return &gitOwner{"Flux", within(labels["kustomize.toolkit.fluxcd.io/namespace"], name)}
	}
	if name := labels["helm.toolkit.fluxcd.io/name"]; name != "" {
		return &gitOwner{"Flux", within(labels["helm.toolkit.fluxcd.io/namespace"], name)}
	}
	release := annotations["meta.helm.sh/release-name"]
	if release != "" || labels["app.kubernetes.io/managed-by"] == "Helm" {
		return &gitOwner{"Helm", within(annotations["meta.helm.sh/release-namespace"], release)}
	}
	// Argo CD's older way of tracking shares its label with many others; that it has applied the object, nobody else says.
	for _, m := range o.ManagedFields {
		if m.Manager == "argocd-controller" && labels["app.kubernetes.io/instance"] != "" {
			return &gitOwner{"Argo CD", labels["app.kubernetes.io/instance"]}
		}
	}
	return nil
}

func within(namespace, name string) string {
	if namespace == "" || name == "" {
		return name
	}
	return namespace + "/" + name
}
