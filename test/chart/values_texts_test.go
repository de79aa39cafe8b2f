// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import "testing"

// textCases are of texts that look like something else to who reads YAML: a number, a boolean, nothing, a comment, a
// mapping.
var textCases = []valueCase{
	{
		"names that look like numbers and booleans",
		settings{"nameOverride": "true", "watchNamespaces": []any{"123"}},
		all(
			is("Deployment/true-controller", "spec selector matchLabels app.kubernetes.io/name", "true"),
			is("Role/123/true-api-watched", "metadata namespace", "123"), is("RoleBinding/123/true-release", "metadata namespace", "123"),
			has("Deployment/true-controller", args, "--watch-namespaces=123"),
		),
	},
	{
		"keys and names of Secrets",
		settings{
			"database.existingSecret": "2024", "database.key": "1e3", "redis.existingSecret": "0x1", "redis.key": "null", "media.credentialsSecret": "on",
			"tls.existingSecret": "12", "media.url": "s3://bucket?prefix=a #b", "api.test.enabled": given(false),
		},
		all(
			has(liveAPI, env, databaseEnv("2024", "1e3")), has(liveAPI, env, fromSecret("LMP_REDIS_URL", "0x1", "null")),
			is(liveAPI, container+" envFrom 0 secretRef name", "on"), has(liveAPI, volumes, tlsVolume("12")), has(liveAPI, args, "--media-url=s3://bucket?prefix=a #b"),
		),
	},
	{
		"the app at LinkedIn",
		settings{
			"platforms.linkedin.clientID": "1e3", "platforms.linkedin.existingSecret": "77", "platforms.linkedin.key": "null", "api.live.publicURL": "https://1.2",
		},
		all(has(liveAPI, args, "--linkedin-client-id=1e3"), has(liveAPI, env, linkedinEnv("77", "null"))),
	},
	{
		"names of volumes and classes",
		settings{
			"database.sqlite.storageClassName": "1", "database.sqlite.size": "10", "media.existingClaim": "7",
			"controller.priorityClassName": "2", "api.priorityClassName": "3",
		},
		all(
			is("PersistentVolumeClaim/letmepost-api-live", "spec storageClassName", "1"),
			is("PersistentVolumeClaim/letmepost-api-live", "spec resources requests storage", "10"), has(liveAPI, volumes, claimed("media", "7")),
			is(controller, pod+" priorityClassName", "2"), is(liveAPI, pod+" priorityClassName", "3"),
		),
	},
	{
		"the name of a claim",
		settings{"database.sqlite.existingClaim": "5"},
		has(liveAPI, volumes, claimed("data", "5")),
	},
	{
		"a URL that ends with a colon, and one with a comment's sign, are arguments as they are",
		settings{"api.docsBaseURL": "https://docs.example/a:", "otlp.endpoint": "http://otel/a:", "api.defaultRateLimit": "1/1s"},
		all(
			has(liveAPI, args, "--docs-base-url=https://docs.example/a:"), has(controller, args, "--otlp-endpoint=http://otel/a:"),
			has(liveAPI, args, "--default-rate-limit=1/1s"),
		),
	},
	{
		"an image that looks like a mapping",
		settings{"api.image.repository": "api: ", "controller.image.repository": "c #", "api.image.tag": "1.10"},
		all(is(liveAPI, container+" image", "api: :1.10"), is(controller, container+" image", "c #:"+appVersion)),
	},
	{
		"names of who signs, and of the edge",
		with(public, settings{
			"tls.certManager.enabled": given(true), "tls.certManager.issuerRef.name": "1", "tls.certManager.issuerRef.kind": "2", "tls.certManager.issuerRef.group": "3",
			"ingress.enabled": given(true), "ingress.className": "4", "ingress.tlsSecretName": "5",
			"httpRoute.enabled": given(true), "httpRoute.parentRefs": given([]any{map[string]any{"name": "gw"}}), "httpRoute.caConfigMap": "6",
			"api.live.publicURL": "http://1.2", "api.test.publicURL": "http://1.3",
		}),
		all(
			is("Certificate/letmepost-api", "spec issuerRef", map[string]any{"name": "1", "kind": "2", "group": "3"}),
			has("Certificate/letmepost-api", "spec dnsNames", "1.2"), has("Certificate/letmepost-api", "spec dnsNames", "1.3"),
			is("Ingress/letmepost-api-live", "spec ingressClassName", "4"), is("Ingress/letmepost-api-live", "spec tls 0 secretName", "5"),
			is("BackendTLSPolicy/letmepost-api-live", "spec validation caCertificateRefs 0 name", "6"),
		),
	},
}

// TestNamesOfTheReleaseAreTexts installs a release whose name and namespace are numbers to who reads YAML.
func TestNamesOfTheReleaseAreTexts(t *testing.T) {
	t.Parallel()
	text, err := template(t, "1e3", "123", with(everything, settings{"nameOverride": "null", "crds.install": false}))
	if err != nil {
		t.Fatal(err)
	}
	found, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, object := range found {
		if namespace := dig(object, "metadata namespace"); namespace != nil && namespace != "123" && namespace != "a" {
			t.Errorf("%s: its namespace is %v (%T)", name, namespace, namespace)
		}
		for path, want := range map[string]any{
			"metadata labels app.kubernetes.io/instance": "1e3", "metadata labels app.kubernetes.io/name": "null",
		} {
			if got := dig(object, path); got != want {
				t.Errorf("%s, %s: %v (%T), want %q", name, path, got, got, want)
			}
		}
		for i := range 2 {
			if subject := dig(object, "subjects "+string(rune('0'+i))); subject != nil && dig(subject, "namespace") != "123" {
				t.Errorf("%s binds an account of another namespace: %v", name, subject)
			}
		}
	}
	for _, name := range []string{"ServiceMonitor/123/null", "PrometheusRule/123/null"} {
		if found[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// TestTwoInstalls says that what README.md asks of two installs in one cluster is enough: they have no object in
// common.
func TestTwoInstalls(t *testing.T) {
	t.Parallel()
	first := helm(t, settings{"watchNamespaces": []any{"a"}})
	text, err := template(t, "second", "second-system", settings{"watchNamespaces": []any{"b"}, "nameOverride": "second", "crds.install": false})
	if err != nil {
		t.Fatal(err)
	}
	second, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for name := range second {
		if first[name] != nil {
			t.Errorf("both have %s", name)
		}
	}
	for _, policy := range []string{"status-guard", "live-keys"} {
		is("ValidatingAdmissionPolicy/second-"+policy, "spec matchConditions 0 expression", `request.namespace in ["b"]`)(t, second)
	}
}
