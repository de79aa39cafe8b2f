// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package keysecret_test

import (
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/keysecret"
)

// TestReserved has the same rows as the policies' table in test/chart, where a real apiserver is asked.
func TestReserved(t *testing.T) {
	for _, tc := range []struct {
		reason, name, key, value string
		reserved                 bool
	}{
		{"nothing asked for", "", "", "", false},
		{"a name of one's own", "website", "", "", false},
		{"a name that only contains Helm's", "x.sh.helm.release.v1", "", "", false},
		{"a release of Helm's", "sh.helm.release.v1.x.v1", "", "", true},
		{"a release of a Helm to come", "sh.helm.release.v2.x.v1", "", "", true},
		{"a team", "", "team", "rockets", false},
		{"a domain of one's own", "", "example.com/team", "rockets", false},
		{"a domain that only ends like Kubernetes'", "", "my-kubernetes.io/team", "x", false},
		{"a domain that only begins like it", "", "kubernetes.io.example.com/team", "x", false},
		{"a recommended label", "", "app.kubernetes.io/part-of", "shop", false},
		{"a backup's", "", "velero.io/exclude-from-backup", "true", false},
		{"an owner", "", "owner", "rockets", false},
		{"an owner that only begins like Helm", "", "owner", "helmut", false},
		{"Helm, as owner", "", "owner", "helm", true},
		{"Helm's adoption", "", "meta.helm.sh/release-name", "x", true},
		{"Helm's policy", "", "helm.sh/resource-policy", "keep", true},
		{"a cluster of Argo CD", "", "argocd.argoproj.io/secret-type", "cluster", true},
		{"a ServiceAccount", "", "kubernetes.io/service-account.name", "default", true},
		{"what kubectl apply --prune removes", "", "applyset.kubernetes.io/part-of", "x", true},
		{"a component's", "", "cluster-name.cluster.x-k8s.io/x", "x", false},
		{"a subproject's", "", "kustomize.config.k8s.io/x", "x", true},
	} {
		label := owner(func(k *v1alpha1.ApiKey) {
			k.Spec.SecretName = tc.name
			if tc.key != "" {
				k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Labels: map[string]v1alpha1.LabelValue{tc.key: v1alpha1.LabelValue(tc.value)}}
			}
		})
		annotation := owner(func(k *v1alpha1.ApiKey) {
			k.Spec.SecretName = tc.name
			if tc.key != "" {
				k.Spec.SecretTemplate = &v1alpha1.SecretTemplate{Annotations: map[string]v1alpha1.AnnotationValue{tc.key: v1alpha1.AnnotationValue(tc.value)}}
			}
		})
		for _, k := range []*v1alpha1.ApiKey{label, annotation} {
			says := keysecret.Reserved(k)
			if (says != "") != tc.reserved {
				t.Errorf("%s: Reserved says %q", tc.reason, says)
			}
			if tc.reserved && !strings.Contains(says, tc.name+tc.key) {
				t.Errorf("%s: %q does not name it", tc.reason, says)
			}
		}
	}
	named := owner(func(k *v1alpha1.ApiKey) { k.Name = "sh.helm.release.v1.x.v1" })
	if keysecret.Reserved(named) == "" {
		t.Error("the ApiKey's own name is the Secret's, if there is no other")
	}
}
