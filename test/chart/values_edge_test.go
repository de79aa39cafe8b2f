// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"strings"

	"github.com/google/go-cmp/cmp"
)

var (
	tlsVolume = func(secret string) map[string]any {
		return map[string]any{"name": "tls", "secret": map[string]any{"secretName": secret, "defaultMode": 0o440}}
	}
	peer   = map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"team": "apps"}}}
	tcp    = func(port int) []any { return []any{map[string]any{"port": port, "protocol": "TCP"}} }
	public = settings{"api.live.publicURL": "https://api.example.com", "api.test.publicURL": "https://api.test.example.com:8443"}
)

// edgeCases are about who comes in, and who watches.
var edgeCases = []valueCase{
	{
		"tls.existingSecret: HTTPS for callers, and for LMP_BASE_URL; probes and metrics stay HTTP",
		settings{"tls.existingSecret": "cert"},
		all(
			has(liveAPI, volumes, tlsVolume("cert")), has(liveAPI, args, "--tls-cert-file=/etc/letmepost/tls/tls.crt"), has(liveAPI, args, "--tls-key-file=/etc/letmepost/tls/tls.key"),
			is("Service/letmepost-api-live", "spec ports 0", map[string]any{"name": "https", "port": 443, "targetPort": "https", "appProtocol": "https"}),
			has(controller, args, "--live-base-url=https://letmepost-api-live.letmepost-system.svc"),
			has(liveAPI, args, "--public-url=https://letmepost-api-live.letmepost-system.svc"),
			is(liveAPI, container+" readinessProbe httpGet", map[string]any{"path": "/readyz", "port": "metrics"}),
			absent("Certificate/letmepost-api"),
		),
	},
	{
		"tls.certManager: a certificate for all names that callers use",
		with(public, settings{
			"tls.certManager.enabled": true, "tls.certManager.issuerRef.name": "ca", "tls.certManager.issuerRef.kind": "ClusterIssuer",
			"tls.certManager.issuerRef.group": "issuers.example", "tls.certManager.dnsNames": []any{"more.example"},
		}),
		all(
			has(liveAPI, volumes, tlsVolume("letmepost-api-tls")), is("Certificate/letmepost-api", "spec secretName", "letmepost-api-tls"),
			is("Certificate/letmepost-api", "spec issuerRef", map[string]any{"name": "ca", "kind": "ClusterIssuer", "group": "issuers.example"}),
			has("Certificate/letmepost-api", "spec dnsNames", "letmepost-api-live.letmepost-system.svc"), has("Certificate/letmepost-api", "spec dnsNames", "letmepost-api-test.letmepost-system.svc"),
			has("Certificate/letmepost-api", "spec dnsNames", "api.example.com"), has("Certificate/letmepost-api", "spec dnsNames", "api.test.example.com"),
			has("Certificate/letmepost-api", "spec dnsNames", "more.example"),
		),
	},
	{
		"ingress: the host of publicURL, for each environment",
		with(public, settings{
			"ingress.enabled": true, "ingress.className": "nginx", "ingress.annotations": map[string]any{"a": "b"}, "ingress.tlsSecretName": "cert-{environment}",
		}),
		all(
			is("Ingress/letmepost-api-live", "spec rules 0 host", "api.example.com"), is("Ingress/letmepost-api-test", "spec rules 0 host", "api.test.example.com"),
			is("Ingress/letmepost-api-live", "spec rules 0 http paths 0 backend service", map[string]any{"name": "letmepost-api-live", "port": map[string]any{"name": "http"}}),
			is("Ingress/letmepost-api-live", "spec ingressClassName", "nginx"), is("Ingress/letmepost-api-test", "metadata annotations", map[string]any{
				// Files are larger than the 1 MiB that ingress-nginx takes by default.
				"a": "b", "nginx.ingress.kubernetes.io/proxy-body-size": "0", "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
			}),
			is("Ingress/letmepost-api-test", "spec tls", []any{map[string]any{"hosts": []any{"api.test.example.com"}, "secretName": "cert-test"}}),
		),
	},
	{
		"ingress: none for an environment without publicURL, and no TLS that was not asked for",
		settings{"ingress.enabled": true, "api.test.publicURL": "http://test.example"},
		all(absent("Ingress/letmepost-api-live"), is("Ingress/letmepost-api-test", "spec tls", nil), is("Ingress/letmepost-api-test", "spec ingressClassName", nil)),
	},
	{
		"httpRoute: the host of publicURL, for each environment",
		with(public, settings{
			"httpRoute.enabled": true, "httpRoute.parentRefs": []any{map[string]any{"name": "gw", "namespace": "edge"}}, "httpRoute.annotations": map[string]any{"a": "b"},
		}),
		all(
			is("HTTPRoute/letmepost-api-live", "spec parentRefs", []any{map[string]any{"name": "gw", "namespace": "edge"}}),
			is("HTTPRoute/letmepost-api-test", "spec hostnames", []any{"api.test.example.com"}),
			is("HTTPRoute/letmepost-api-test", "spec rules 0 backendRefs", []any{map[string]any{"name": "letmepost-api-test", "port": 80}}),
			is("HTTPRoute/letmepost-api-test", "metadata annotations", map[string]any{"a": "b"}),
		),
	},
	{
		"httpRoute with TLS: the Gateway calls the API over HTTPS, and believes who signed for the name of the Service",
		with(public, settings{
			"httpRoute.enabled": true, "httpRoute.parentRefs": []any{map[string]any{"name": "gw"}}, "tls.existingSecret": "cert", "httpRoute.caConfigMap": "ca",
		}),
		all(
			is("HTTPRoute/letmepost-api-test", "spec rules 0 backendRefs 0 port", 443),
			is("HTTPRoute/letmepost-api-test", "spec hostnames", []any{"api.test.example.com"}),
			is("HTTPRoute/letmepost-api-test", "spec parentRefs", []any{map[string]any{"name": "gw"}}),
			is("BackendTLSPolicy/letmepost-api-live", "spec targetRefs", []any{map[string]any{"group": "", "kind": "Service", "name": "letmepost-api-live"}}),
			is("BackendTLSPolicy/letmepost-api-live", "spec validation", map[string]any{
				"hostname":          "letmepost-api-live.letmepost-system.svc",
				"caCertificateRefs": []any{map[string]any{"group": "", "kind": "ConfigMap", "name": "ca"}},
			}),
			exists("BackendTLSPolicy/letmepost-api-test"), is("HTTPRoute/letmepost-api-live", "spec hostnames", []any{"api.example.com"}),
		),
	},
	{
		"httpRoute without TLS has no BackendTLSPolicy",
		with(public, settings{"httpRoute.enabled": true, "httpRoute.parentRefs": given([]any{map[string]any{"name": "gw"}})}),
		all(
			is("HTTPRoute/letmepost-api-live", "spec hostnames", []any{"api.example.com"}), is("HTTPRoute/letmepost-api-test", "spec hostnames", []any{"api.test.example.com"}),
			absent("BackendTLSPolicy/letmepost-api-live", "BackendTLSPolicy/letmepost-api-test"),
		),
	},
	{
		"by default no port is open but those that are meant to be asked, and the pods' own connections are left alone",
		settings{},
		all(
			is("NetworkPolicy/letmepost-api", "spec policyTypes", []any{"Ingress"}),
			is("NetworkPolicy/letmepost-api", "spec ingress", []any{map[string]any{"ports": tcp(8080)}, map[string]any{"ports": tcp(9090)}}),
			is("NetworkPolicy/letmepost-controller", "spec ingress", []any{map[string]any{"ports": tcp(8080)}}),
			is("NetworkPolicy/letmepost-controller", "spec egress", nil),
		),
	},
	{
		"networkPolicy.enabled off: none",
		settings{"networkPolicy.enabled": false},
		absent("NetworkPolicy/letmepost-api", "NetworkPolicy/letmepost-controller"),
	},
	{
		"networkPolicy says who may call, and who may read metrics",
		settings{"networkPolicy.apiFrom": []any{peer}, "networkPolicy.metricsFrom": []any{map[string]any{"podSelector": map[string]any{}}}},
		all(
			is("NetworkPolicy/letmepost-api", "spec ingress 0", map[string]any{"ports": tcp(8080), "from": []any{peer}}),
			is("NetworkPolicy/letmepost-api", "spec ingress 1", map[string]any{"ports": tcp(9090), "from": []any{map[string]any{"podSelector": map[string]any{}}}}),
			is("NetworkPolicy/letmepost-controller", "spec ingress 0", map[string]any{"ports": tcp(8080), "from": []any{map[string]any{"podSelector": map[string]any{}}}}),
		),
	},
	{
		"networkPolicy.egress.restrict allows DNS, the apiserver, platforms, and what rules add",
		settings{"networkPolicy.egress.restrict": true, "networkPolicy.egress.rules": []any{map[string]any{"ports": tcp(5432)}}},
		all(
			is("NetworkPolicy/letmepost-api", "spec policyTypes", []any{"Ingress", "Egress"}),
			has("NetworkPolicy/letmepost-api", "spec egress", map[string]any{"ports": []any{map[string]any{"port": 53, "protocol": "UDP"}, map[string]any{"port": 53, "protocol": "TCP"}}}),
			has("NetworkPolicy/letmepost-api", "spec egress", map[string]any{"ports": tcp(5432)}),
			has("NetworkPolicy/letmepost-controller", "spec egress", map[string]any{"ports": append(tcp(443), tcp(6443)...)}),
		),
	},
	{
		"networkPolicy.egress.restrict allows the ports of the collector and of the bucket, which the chart knows",
		settings{
			"networkPolicy.egress.restrict": true, "otlp.endpoint": "http://otel.monitoring:4318/base",
			"media.url": "s3://bucket?endpoint=http%3A%2F%2Fminio.store%3A9000&region=eu",
		},
		all(
			has("NetworkPolicy/letmepost-api", "spec egress", map[string]any{"ports": tcp(4318)}),
			has("NetworkPolicy/letmepost-controller", "spec egress", map[string]any{"ports": tcp(4318)}),
			has("NetworkPolicy/letmepost-api", "spec egress", map[string]any{"ports": tcp(9000)}),
			hasNot("NetworkPolicy/letmepost-controller", "spec egress", map[string]any{"ports": tcp(9000)}),
		),
	},
	{
		"networkPolicy.egress.restrict: a URL without a port has that of its scheme",
		settings{
			"networkPolicy.egress.restrict": true, "otlp.endpoint": "http://otel", "media.url": "s3://bucket?region=eu&endpoint=http://minio",
		},
		func(t reporter, found objects) {
			list, _ := dig(found["NetworkPolicy/letmepost-api"], "spec egress").([]any)
			ports := 0
			for _, rule := range list {
				if cmp.Equal(rule, plain(map[string]any{"ports": tcp(80)})) {
					ports++
				}
			}
			if ports != 2 {
				t.Errorf("port 80 is allowed %d times, want one for the collector and one for the bucket: %v", ports, list)
			}
		},
	},
	{
		"metrics can be asked of each pod, ready or not, in any case",
		settings{},
		all(
			is("Service/letmepost-api", "spec clusterIP", "None"), is("Service/letmepost-api", "spec publishNotReadyAddresses", true),
			is("Service/letmepost-api", "spec ports 0 port", 9090), is("Service/letmepost-controller", "spec ports 0 port", 8080),
			absent("ServiceMonitor/letmepost", "PrometheusRule/letmepost", "ConfigMap/letmepost-dashboard"),
		),
	},
	{
		"metrics.serviceMonitor finds both Services of metrics, and neither of those that callers use",
		settings{"metrics.serviceMonitor.enabled": true, "metrics.serviceMonitor.interval": "1m", "metrics.serviceMonitor.labels": map[string]any{"release": "prometheus"}},
		func(t reporter, found objects) {
			all(
				is("ServiceMonitor/letmepost", "spec endpoints 0 interval", "1m"), is("ServiceMonitor/letmepost", "metadata labels release", "prometheus"),
				is("ServiceMonitor/letmepost", "spec endpoints 0 port", "metrics"),
			)(t, found)
			selector, _ := dig(found["ServiceMonitor/letmepost"], "spec selector matchLabels").(map[string]any)
			for name, wanted := range map[string]bool{
				"Service/letmepost-api": true, "Service/letmepost-controller": true, "Service/letmepost-api-live": false, "Service/letmepost-api-test": false,
			} {
				selected := true
				for key, value := range selector {
					selected = selected && dig(found[name], "metadata labels "+key) == value
				}
				if selected != wanted {
					t.Errorf("selects %s: %t, want %t", name, selected, wanted)
				}
			}
		},
	},
	{
		"metrics.prometheusRule has the rules of rules/letmepost.yaml, Prometheus's placeholders as they are",
		settings{"metrics.prometheusRule.enabled": true, "metrics.prometheusRule.labels": map[string]any{"release": "prometheus"}},
		all(
			is("PrometheusRule/letmepost", "metadata labels release", "prometheus"),
			func(t reporter, found objects) {
				groups, _ := dig(found["PrometheusRule/letmepost"], "spec groups").([]any)
				if len(groups) == 0 || dig(groups, "0 rules 0 expr") == nil {
					t.Errorf("there are no rules in %v", groups)
				}
			},
		),
	},
	{
		"metrics.dashboard is a ConfigMap that Grafana's sidecar finds",
		settings{"metrics.dashboard.enabled": true, "metrics.dashboard.labels": map[string]any{"dashboards": "yes"}, "metrics.dashboard.annotations": map[string]any{"folder": "apis"}},
		all(
			is("ConfigMap/letmepost-dashboard", "metadata labels dashboards", "yes"), is("ConfigMap/letmepost-dashboard", "metadata annotations folder", "apis"),
			func(t reporter, found objects) {
				if text, _ := dig(found["ConfigMap/letmepost-dashboard"], "data letmepost.json").(string); !strings.Contains(text, `"panels"`) {
					t.Errorf("this is no dashboard: %.100s", text)
				}
			},
		),
	},
}
