// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import "strings"

var generalCases = []valueCase{
	{
		"nameOverride begins every name, so that two installs fit in a cluster",
		settings{"nameOverride": "posts"},
		all(
			exists("Deployment/posts-controller", "Deployment/posts-api-live", "Deployment/posts-api-test", "Service/posts-api-live", "Job/posts-release"),
			has("Deployment/posts-controller", args, "--live-base-url=http://posts-api-live.letmepost-system.svc"),
			is("Deployment/posts-api-live", pod+" serviceAccountName", "posts-api-live"),
			func(t reporter, found objects) {
				for name := range found {
					if strings.Contains(name, "/letmepost") {
						t.Errorf("%s has the name of the other install", name)
					}
				}
			},
		),
	},
	{
		"commonLabels are on every object and every pod",
		settings{"commonLabels": map[string]any{"team": "platform"}, "crds.install": given(true)},
		func(t reporter, found objects) {
			for name, object := range found {
				if dig(object, "metadata labels team") != "platform" {
					t.Errorf("%s does not have the label", name)
				}
				if template := dig(object, "spec template"); template != nil && dig(template, "metadata labels team") != "platform" {
					t.Errorf("the pods of %s do not have the label", name)
				}
				if dig(object, "spec selector matchLabels team") != nil {
					t.Errorf("%s selects by it: then it could never be changed", name)
				}
			}
		},
	},
	{
		"null is the absence of a value, as Helm has it",
		settings{"commonLabels": given(nil), "api.podLabels": given(nil), "api.trustedProxies": given(nil), "api.docsBaseURL": given(nil), "media.url": given(nil)},
		exists(liveAPI),
	},
	{
		"labels that are given twice are there once, as they are for the one object or pod",
		settings{
			"commonLabels": map[string]any{"team": "platform"}, "api.podLabels": map[string]any{"team": "api"},
			"metrics.serviceMonitor.enabled": true, "metrics.serviceMonitor.labels": map[string]any{"team": "monitors"},
			"metrics.prometheusRule.enabled": true, "metrics.prometheusRule.labels": map[string]any{"team": "rules"},
			"metrics.dashboard.enabled": true, "metrics.dashboard.labels": map[string]any{"team": "dashboards"},
		},
		all(
			is(controller, podLabels+" team", "platform"), is(liveAPI, podLabels+" team", "api"), is(liveAPI, "metadata labels team", "platform"),
			is("ServiceMonitor/letmepost", "metadata labels team", "monitors"), is("PrometheusRule/letmepost", "metadata labels team", "rules"),
			is("ConfigMap/letmepost-dashboard", "metadata labels team", "dashboards"),
		),
	},
	{
		"image.registry is put before every repository",
		settings{"image.registry": "registry.example:5000/mirror/"},
		all(
			is(controller, container+" image", "registry.example:5000/mirror/letmepost/controller:"+appVersion),
			is(liveAPI, container+" image", "registry.example:5000/mirror/letmepost/api:"+appVersion),
			is(releaseJob, container+" image", "registry.example:5000/mirror/letmepost/controller:"+appVersion),
		),
	},
	{
		"imagePullSecrets are every pod's, that of the hook as well",
		settings{"imagePullSecrets": []any{map[string]any{"name": "pull"}}},
		all(
			is(controller, pod+" imagePullSecrets 0 name", "pull"), is(testAPI, pod+" imagePullSecrets 0 name", "pull"),
			is(releaseJob, pod+" imagePullSecrets 0 name", "pull"),
		),
	},
	{
		"runAsUser is user, group and volume group",
		settings{"runAsUser": 1000},
		all(
			is(liveAPI, pod+" securityContext runAsUser", 1000), is(liveAPI, pod+" securityContext runAsGroup", 1000),
			is(liveAPI, pod+" securityContext fsGroup", 1000), is(releaseJob, pod+" securityContext runAsUser", 1000),
		),
	},
	{
		"runAsUser null leaves the choice to the platform, and the pods non-root",
		settings{"runAsUser": nil},
		all(
			is(liveAPI, pod+" securityContext runAsUser", nil), is(liveAPI, pod+" securityContext fsGroup", nil),
			is(liveAPI, pod+" securityContext runAsNonRoot", true),
		),
	},
	{
		"watchNamespaces narrows processes, the hook and their roles to those namespaces",
		settings{"watchNamespaces": []any{"a", "b"}},
		all(
			has(controller, args, "--watch-namespaces=a,b"), has(liveAPI, args, "--watch-namespaces=a,b"), has(releaseJob, args, "--watch-namespaces=a,b"),
			exists("Role/a/letmepost-controller-watched", "Role/b/letmepost-api-watched", "Role/a/letmepost-release", "RoleBinding/b/letmepost-release"),
			absent("ClusterRole/letmepost-controller", "ClusterRole/letmepost-api", "ClusterRole/letmepost-release"),
		),
	},
	{
		"keyPrefix is the same for those who mint and those who verify",
		settings{"keyPrefix": "acme"},
		all(has(controller, args, "--key-prefix=acme"), has(liveAPI, args, "--key-prefix=acme"), has(testAPI, args, "--key-prefix=acme")),
	},
	{
		"crds.install off leaves the definitions to somebody else",
		settings{"crds.install": false},
		absent("CustomResourceDefinition/apikeys.letmepost.dev", "CustomResourceDefinition/profiles.letmepost.dev"),
	},
	{
		"by default an uninstall does not take the definitions, and all keys with them",
		settings{"crds.install": given(true)},
		all(
			is("CustomResourceDefinition/apikeys.letmepost.dev", "metadata annotations helm.sh/resource-policy", "keep"),
			is("CustomResourceDefinition/profiles.letmepost.dev", "metadata annotations helm.sh/resource-policy", "keep"),
		),
	},
	{
		"crds.keep off: it does",
		settings{"crds.install": given(true), "crds.keep": false},
		is("CustomResourceDefinition/apikeys.letmepost.dev", "metadata annotations helm.sh/resource-policy", nil),
	},
	{
		"by default `controller release` runs after everything else has gone, with permissions that go after it",
		settings{},
		all(
			is(releaseJob, "metadata annotations helm.sh/hook", "post-delete"),
			is(releaseJob, container+" args", []any{"release", "--namespace=letmepost-system"}),
			is("ServiceAccount/letmepost-release", "metadata annotations helm.sh/hook", "post-delete"),
			is("ClusterRole/letmepost-release", "metadata annotations helm.sh/hook-delete-policy", "before-hook-creation,hook-succeeded"),
			is("ClusterRole/letmepost-release", "rules", []any{map[string]any{
				"apiGroups": []any{"letmepost.dev"}, "resources": []any{"apikeys"}, "verbs": []any{"list", "patch"},
			}}),
		),
	},
	{
		"uninstall.releaseKeys off: nothing runs after an uninstall",
		settings{"uninstall.releaseKeys": false},
		func(t reporter, found objects) {
			for name, object := range found {
				if dig(object, "metadata annotations helm.sh/hook") == "post-delete" {
					t.Errorf("%s runs", name)
				}
			}
		},
	},
	{
		"rbac.people.enabled off: no roles for people",
		settings{"rbac.people.enabled": false},
		absent("ClusterRole/letmepost-apikey-viewer", "ClusterRole/letmepost-apikey-minter", "ClusterRole/letmepost-apikey-revoker"),
	},
	{
		"rbac.people.aggregate off: they are there to be bound, and in no other role",
		settings{"rbac.people.aggregate": false},
		all(
			is("ClusterRole/letmepost-apikey-viewer", "metadata labels rbac.authorization.k8s.io/aggregate-to-view", nil),
			is("ClusterRole/letmepost-apikey-minter", "metadata labels rbac.authorization.k8s.io/aggregate-to-edit", nil),
		),
	},
	{
		"rbac.people.aggregateLiveKeys off: who may edit a namespace gets the role for test keys, and not that for live ones",
		settings{"rbac.people.aggregateLiveKeys": false},
		all(
			is("ClusterRole/letmepost-apikey-minter", "metadata labels rbac.authorization.k8s.io/aggregate-to-edit", nil),
			is("ClusterRole/letmepost-apikey-minter", "metadata labels rbac.authorization.k8s.io/aggregate-to-admin", nil),
			is("ClusterRole/letmepost-apikey-test-minter", "metadata labels rbac.authorization.k8s.io/aggregate-to-edit", "true"),
			is("ClusterRole/letmepost-apikey-test-minter", "metadata labels rbac.authorization.k8s.io/aggregate-to-admin", "true"),
		),
	},
	{
		"policies.leases off: no such policy",
		settings{"policies.leases": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-api-leases", "ValidatingAdmissionPolicyBinding/letmepost-api-leases"),
			exists("ValidatingAdmissionPolicy/letmepost-status-guard", "ValidatingAdmissionPolicy/letmepost-live-keys"),
		),
	},
	{
		"policies.statusGuard off: no such policy",
		settings{"policies.statusGuard": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-status-guard", "ValidatingAdmissionPolicyBinding/letmepost-status-guard"),
			exists("ValidatingAdmissionPolicy/letmepost-api-leases", "ValidatingAdmissionPolicy/letmepost-live-keys"),
		),
	},
	{
		"policies.liveKeys off: no such policy",
		settings{"policies.liveKeys": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-live-keys", "ValidatingAdmissionPolicyBinding/letmepost-live-keys"),
			exists("ValidatingAdmissionPolicy/letmepost-api-leases", "ValidatingAdmissionPolicy/letmepost-status-guard"),
		),
	},
	{
		"policies.mintedSecrets off: neither of the two policies",
		settings{"policies.mintedSecrets": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-minted-secrets", "ValidatingAdmissionPolicyBinding/letmepost-minted-secrets"),
			absent("ValidatingAdmissionPolicy/letmepost-secret-names", "ValidatingAdmissionPolicyBinding/letmepost-secret-names"),
			exists("ValidatingAdmissionPolicy/letmepost-live-keys", "ValidatingAdmissionPolicy/letmepost-status-guard"),
		),
	},
	{
		"policies.revocationGuard off: no such policy",
		settings{"policies.revocationGuard": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-revocation-guard", "ValidatingAdmissionPolicyBinding/letmepost-revocation-guard"),
			exists("ValidatingAdmissionPolicy/letmepost-api-leases", "ValidatingAdmissionPolicy/letmepost-live-keys"),
		),
	},
	{
		"policies.nulls off: no such policy",
		settings{"policies.nulls": false},
		all(
			absent("ValidatingAdmissionPolicy/letmepost-nulls", "ValidatingAdmissionPolicyBinding/letmepost-nulls"),
			exists("ValidatingAdmissionPolicy/letmepost-live-keys", "ValidatingAdmissionPolicy/letmepost-status-guard"),
		),
	},
	{
		"otlp sends traces of both processes",
		settings{"otlp.endpoint": "http://otel:4318", "otlp.sampleRatio": 0.5},
		all(
			has(controller, args, "--otlp-endpoint=http://otel:4318"), has(controller, args, "--trace-sample-ratio=0.5"),
			has(liveAPI, args, "--otlp-endpoint=http://otel:4318"), has(liveAPI, args, "--trace-sample-ratio=0.5"),
		),
	},
}
