// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

// oidcOn is a provider with all that can be said of one.
var oidcOn = with(public, settings{
	"dashboard.oidc.issuerURL": "https://id.example.com:8443/realm", "dashboard.oidc.clientID": "letmepost-{environment}",
	"dashboard.oidc.existingSecret": "oidc-{environment}", "dashboard.oidc.key": "secret", "dashboard.oidc.caConfigMap": "ca",
	"dashboard.oidc.scopes": []any{"openid", "groups"}, "dashboard.oidc.name": "Example",
})

var oidcMount = map[string]any{"name": "oidc", "mountPath": "/etc/letmepost/oidc", "readOnly": true}

// oidcVolume is what an API knows of the provider by files.
func oidcVolume(secret, key, config string) map[string]any {
	item := func(key, path string) []any { return []any{map[string]any{"key": key, "path": path}} }
	return map[string]any{"name": "oidc", "projected": map[string]any{"defaultMode": 0o440, "sources": []any{
		map[string]any{"secret": map[string]any{"name": secret, "items": item(key, "client-secret")}},
		map[string]any{"configMap": map[string]any{"name": config, "items": item("ca.crt", "ca.crt")}},
	}}}
}

var apiCases = []valueCase{
	{
		"by default the API says ready on the port of the metrics, and ends in an order in which nobody is let down",
		settings{},
		all(
			is(liveAPI, container+" livenessProbe httpGet", map[string]any{"path": "/healthz", "port": "metrics"}),
			is(liveAPI, container+" readinessProbe httpGet", map[string]any{"path": "/readyz", "port": "metrics"}),
			is(liveAPI, container+" startupProbe httpGet", map[string]any{"path": "/healthz", "port": "metrics"}),
			has(liveAPI, args, "--environment=live"), has(testAPI, args, "--environment=test"),
			has(liveAPI, args, "--drain-delay=5s"), has(liveAPI, args, "--drain-timeout=20s"), is(liveAPI, pod+" terminationGracePeriodSeconds", 68),
			is(liveAPI, podLabels+" letmepost.dev/environment", "live"), is(testAPI, podLabels+" letmepost.dev/environment", "test"),
			is("Service/letmepost-api-live", "spec selector letmepost.dev/environment", "live"),
			is("Service/letmepost-api-live", "spec ports 0", map[string]any{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}),
		),
	},
	{
		"api.image is that of both environments",
		settings{"api.image.repository": "mine/api", "api.image.tag": "v2", "api.image.pullPolicy": "Never"},
		all(
			is(liveAPI, container+" image", "mine/api:v2"), is(testAPI, container+" image", "mine/api:v2"),
			is(liveAPI, container+" imagePullPolicy", "Never"), is(controller, container+" image", "letmepost/controller:"+appVersion),
		),
	},
	{
		"api.image.digest in place of a tag",
		settings{"api.image.digest": digest},
		is(testAPI, container+" image", "letmepost/api@"+digest),
	},
	{
		"flags of the API",
		settings{
			"api.logLevel": "warn", "api.accessLog": "all", "api.docs": false, "api.docsBaseURL": "https://docs.example", "api.leaseDuration": "30s",
			"api.defaultRateLimit": "10/1s", "api.failedAuthLimit": "none", "api.maxMediaSize": "1Gi", "api.maxConnections": 500, "api.maxBytesInFlight": "128Mi",
			"api.trustedProxies": []any{"10.0.0.0/8", "fd00::/8"}, "api.extraArgs": []any{"--listen-address=:8080"},
		},
		all(
			has(liveAPI, args, "--log-level=warn"), has(liveAPI, args, "--access-log=all"), has(liveAPI, args, "--docs-base-url=https://docs.example"), has(liveAPI, args, "--docs=false"), has(testAPI, args, "--docs=false"),
			has(liveAPI, args, "--lease-duration=30s"), has(liveAPI, args, "--default-rate-limit=10/1s"), has(liveAPI, args, "--failed-auth-limit=none"),
			has(liveAPI, args, "--max-media-size=1Gi"), has(liveAPI, args, "--max-connections=500"), has(liveAPI, args, "--max-bytes-in-flight=128Mi"), has(liveAPI, args, "--trusted-proxies=10.0.0.0/8,fd00::/8"), has(testAPI, args, "--listen-address=:8080"),
			hasNot(controller, args, "--listen-address=:8080"),
		),
	},
	{
		"without api.githubSecretScanning, GitHub is not answered",
		settings{},
		all(hasNot(liveAPI, args, "--github-secret-scanning"), hasNot(testAPI, args, "--github-secret-scanning")),
	},
	{
		"api.githubSecretScanning: what GitHub finds is reported as leaked",
		settings{"api.githubSecretScanning": true},
		all(has(liveAPI, args, "--github-secret-scanning"), has(testAPI, args, "--github-secret-scanning")),
	},
	{
		"dashboard.enabled, and where each environment's is",
		settings{"api.live.publicURL": "https://api.example.com", "api.test.publicURL": "https://test.example.com"},
		all(
			hasNot(liveAPI, args, "--dashboard=false"), has(liveAPI, args, "--dashboard-other-url=https://test.example.com/dashboard"),
			has(testAPI, args, "--dashboard-other-url=https://api.example.com/dashboard"),
		),
	},
	{
		"dashboard.enabled off: there is none",
		settings{"dashboard.enabled": false},
		all(has(liveAPI, args, "--dashboard=false"), has(testAPI, args, "--dashboard=false")),
	},
	{
		"dashboard.oidc: people sign in by a provider, where each environment is a client with a secret of its own",
		oidcOn,
		all(
			has(liveAPI, args, "--oidc-issuer-url=https://id.example.com:8443/realm"), has(liveAPI, args, "--oidc-client-id=letmepost-live"),
			has(testAPI, args, "--oidc-client-id=letmepost-test"), has(liveAPI, args, "--oidc-client-secret-file=/etc/letmepost/oidc/client-secret"),
			has(liveAPI, args, "--oidc-ca-file=/etc/letmepost/oidc/ca.crt"), has(liveAPI, args, "--oidc-scopes=openid,groups"), has(liveAPI, args, "--oidc-name=Example"),
			has(testAPI, volumes, oidcVolume("oidc-test", "secret", "ca")), has(liveAPI, mounts, oidcMount), has(liveAPI, args, "--public-url=https://api.example.com"),
		),
	},
	{
		"a public client of a provider that the system trusts takes no files",
		with(public, settings{"dashboard.oidc.issuerURL": "https://id.example.com", "dashboard.oidc.clientID": "letmepost"}),
		all(
			has(testAPI, args, "--oidc-client-id=letmepost"), hasNot(liveAPI, args, "--oidc-client-secret-file=/etc/letmepost/oidc/client-secret"),
			hasNot(liveAPI, args, "--oidc-ca-file=/etc/letmepost/oidc/ca.crt"), hasNot(liveAPI, args, "--oidc-scopes="), hasNot(liveAPI, args, "--oidc-name="),
			hasNot(liveAPI, mounts, oidcMount),
		),
	},
	{
		"the API reaches the provider where it may reach little else",
		with(public, settings{
			"networkPolicy.egress.restrict": true, "dashboard.oidc.issuerURL": "https://id.example.com:8443/realm", "dashboard.oidc.clientID": "letmepost",
		}),
		has("NetworkPolicy/letmepost-api", "spec egress", map[string]any{"ports": tcp(8443)}),
	},
	{
		"flags of the API at their bounds, which the process takes, too",
		settings{
			"api.leaseDuration": "1m", "api.defaultRateLimit": "1000000/24h", "api.failedAuthLimit": "1/1s", "api.maxMediaSize": "2000Mi", "api.maxBytesInFlight": "8Mi",
			"api.docsBaseURL": "https://[fd00::1]:8443/%20/", "otlp.endpoint": "https://c_1/",
			"api.trustedProxies": []any{
				"0.0.0.0/0", "255.255.255.255/32", "::/0", "::1/128", "1::/16", "fd00::/8", "2001:db8::1:2/64", "1:2:3:4:5:6:7::/112", "1:2:3:4:5:6:7:8/127",
			},
		},
		all(
			has(liveAPI, args, "--lease-duration=1m"), has(liveAPI, args, "--default-rate-limit=1000000/24h"), has(liveAPI, args, "--failed-auth-limit=1/1s"), has(liveAPI, args, "--max-bytes-in-flight=8Mi"),
			has(liveAPI, args, "--max-media-size=2000Mi"), has(liveAPI, args, "--docs-base-url=https://[fd00::1]:8443/%20/"), has(liveAPI, args, "--otlp-endpoint=https://c_1/"),
			has(liveAPI, args, "--trusted-proxies=0.0.0.0/0,255.255.255.255/32,::/0,::1/128,1::/16,fd00::/8,2001:db8::1:2/64,1:2:3:4:5:6:7::/112,1:2:3:4:5:6:7:8/127"),
		),
	},
	{
		"what live posts may reach, which the process takes, too",
		settings{
			"platforms.returnTo":       []any{"https://app.example.com", "http://localhost:3000"},
			"platforms.outboundAllow":  []any{"pds.internal:2583", "[fd00::1]:443", "10.1.0.0/16", "fd00::/8"},
			"platforms.bluesky.plcURL": "http://plc.internal:2582",
		},
		all(
			has(liveAPI, args, "--outbound-allow=pds.internal:2583,[fd00::1]:443,10.1.0.0/16,fd00::/8"), has(liveAPI, args, "--bluesky-plc-url=http://plc.internal:2582"),
			has(liveAPI, args, "--return-to=https://app.example.com,http://localhost:3000"),
			hasNot(testAPI, args, "--bluesky-plc-url=http://plc.internal:2582"),
		),
	},
	{
		"LinkedIn is there by an app, whose secret the live API alone has, and does not wait for",
		settings{
			"platforms.linkedin.clientID": "86abc", "platforms.linkedin.existingSecret": "app", "platforms.linkedin.key": "secret",
			"platforms.linkedin.version": "202701", "api.live.publicURL": "https://a.example",
		},
		all(
			has(liveAPI, args, "--linkedin-client-id=86abc"), has(liveAPI, args, "--linkedin-version=202701"), has(liveAPI, env, linkedinEnv("app", "secret")),
			has(liveAPI, args, "--public-url=https://a.example"),
			hasNot(testAPI, args, "--linkedin-client-id=86abc"), hasNot(testAPI, args, "--linkedin-version=202701"), hasNot(testAPI, env, linkedinEnv("app", "secret")),
			is(controller, env, nil),
		),
	},
	{
		"by default there is no LinkedIn, and the version is the program's",
		nil,
		all(hasNot(liveAPI, args, "--linkedin-client-id="), hasNot(liveAPI, args, "--linkedin-version="), is(liveAPI, env, nil)),
	},
	{
		"quotas have a default",
		nil,
		all(
			has(liveAPI, args, "--max-organization-posts=1000000"), has(testAPI, args, "--max-organization-queued-posts=10000"), has(liveAPI, args, "--max-organization-media-files=100000"),
			has(liveAPI, args, "--max-organization-keys=10000"), has(controller, args, "--max-organization-keys=10000"),
			has(liveAPI, args, "--max-organization-bytes=5Gi"), has(liveAPI, args, "--max-organization-accounts=10000"),
		),
	},
	{
		"quotas are numbers, or none",
		settings{"quotas.keys": "none", "quotas.posts": "none", "quotas.queuedPosts": 1, "quotas.mediaFiles": 20000000, "quotas.bytes": "2Ti", "quotas.accounts": "none"},
		all(
			has(liveAPI, args, "--max-organization-posts=none"), has(testAPI, args, "--max-organization-queued-posts=1"), has(liveAPI, args, "--max-organization-media-files=20000000"),
			has(testAPI, args, "--max-organization-keys=none"), has(controller, args, "--max-organization-keys=none"),
			has(liveAPI, args, "--max-organization-bytes=2Ti"), has(liveAPI, args, "--max-organization-accounts=none"),
		),
	},
	{
		"api.drain lengthens the grace period with itself: what kubelet cuts off is a request that fails",
		settings{"api.drain.delaySeconds": 15, "api.drain.timeoutSeconds": 40},
		all(
			has(liveAPI, args, "--drain-delay=15s"), has(liveAPI, args, "--drain-timeout=40s"),
			is(liveAPI, pod+" terminationGracePeriodSeconds", 15+40+30+5+3+5),
		),
	},
	{
		"what else the API's container gets",
		settings{
			"api.resources": resources, "api.extraEnv": []any{variable},
			"api.extraVolumes": []any{extra}, "api.extraVolumeMounts": []any{extraMount},
		},
		all(
			is(liveAPI, container+" resources", resources), has(testAPI, env, variable),
			has(liveAPI, volumes, extra), has(liveAPI, mounts, extraMount), is(controller, env, nil),
		),
	},
	{
		"api.serviceAccountAnnotations are how a cloud knows the API, so that a bucket needs no credentials",
		settings{"api.serviceAccountAnnotations": map[string]any{"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"}},
		all(
			is("ServiceAccount/letmepost-api-live", "metadata annotations", map[string]any{"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"}),
			is("ServiceAccount/letmepost-api-test", "metadata annotations", map[string]any{"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"}),
			is("ServiceAccount/letmepost-controller", "metadata annotations", nil),
		),
	},
	{
		"what the API's pods are called",
		settings{"api.podAnnotations": map[string]any{"a": "b"}, "api.podLabels": map[string]any{"c": "d"}},
		all(
			is(testAPI, podAnnotated, map[string]any{"a": "b"}), is(testAPI, podLabels+" c", "d"), is(testAPI, "spec selector matchLabels c", nil),
			is(controller, podAnnotated, nil),
		),
	},
	{
		"where the API's pods run",
		settings{
			"api.nodeSelector": map[string]any{"disk": "ssd"}, "api.tolerations": []any{toleration}, "api.affinity": affinity,
			"api.topologySpreadConstraints": []any{spread}, "api.priorityClassName": "high",
		},
		all(
			is(liveAPI, pod+" nodeSelector", map[string]any{"disk": "ssd"}), is(liveAPI, pod+" tolerations", []any{toleration}),
			is(liveAPI, pod+" affinity", affinity), is(testAPI, pod+" topologySpreadConstraints", []any{spread}),
			is(liveAPI, pod+" priorityClassName", "high"), is(controller, pod+" nodeSelector", nil),
		),
	},
	{
		"api.podDisruptionBudget.enabled off: none",
		with(postgres, settings{"api.podDisruptionBudget.enabled": false}),
		absent("PodDisruptionBudget/letmepost-api-live", "PodDisruptionBudget/letmepost-api-test"),
	},
	{
		"api.live.enabled off: test keys only",
		settings{"api.live.enabled": false},
		all(absent(liveAPI, "ServiceAccount/letmepost-api-live", "Service/letmepost-api-live", "PersistentVolumeClaim/letmepost-api-live"), exists(testAPI, "Service/letmepost-api-test")),
	},
	{
		"api.test.enabled off: live keys only",
		settings{"api.test.enabled": false},
		all(absent(testAPI, "ServiceAccount/letmepost-api-test", "Service/letmepost-api-test", "PersistentVolumeClaim/letmepost-api-test"), exists(liveAPI, "Service/letmepost-api-live")),
	},
	{
		"replicas are an environment's own; so is the disruption budget, for one replica as for several",
		with(postgres, settings{"api.live.replicas": 5, "api.test.replicas": 1}),
		all(
			is(liveAPI, "spec replicas", 5), is(testAPI, "spec replicas", 1),
			is("PodDisruptionBudget/letmepost-api-live", "spec selector matchLabels letmepost.dev/environment", "live"),
			is("PodDisruptionBudget/letmepost-api-test", "spec maxUnavailable", 1),
		),
	},
	{
		"replicas 0 stops an environment",
		settings{"api.live.replicas": 0},
		is(liveAPI, "spec replicas", 0),
	},
	{
		"publicURL is minted into Secrets, and is in answers",
		settings{"api.live.publicURL": "https://api.example.com", "api.test.publicURL": "https://test.example.com:8443"},
		all(
			has(controller, args, "--live-base-url=https://api.example.com"), has(controller, args, "--test-base-url=https://test.example.com:8443"),
			has(liveAPI, args, "--public-url=https://api.example.com"), has(testAPI, args, "--public-url=https://test.example.com:8443"),
		),
	},
	{
		"autoscaling of live: the Deployment leaves its replicas to it",
		with(postgres, settings{
			"api.live.autoscaling.enabled": true, "api.live.autoscaling.minReplicas": 3, "api.live.autoscaling.maxReplicas": 7,
			"api.live.autoscaling.targetCPUUtilizationPercentage": 50,
		}),
		all(
			is(liveAPI, "spec replicas", nil), is(testAPI, "spec replicas", 2), absent("HorizontalPodAutoscaler/letmepost-api-test"),
			is("HorizontalPodAutoscaler/letmepost-api-live", "apiVersion", "autoscaling/v2"),
			is("HorizontalPodAutoscaler/letmepost-api-live", "spec minReplicas", 3), is("HorizontalPodAutoscaler/letmepost-api-live", "spec maxReplicas", 7),
			is("HorizontalPodAutoscaler/letmepost-api-live", "spec scaleTargetRef name", "letmepost-api-live"),
			is("HorizontalPodAutoscaler/letmepost-api-live", "spec metrics 0 resource target averageUtilization", 50),
			exists("PodDisruptionBudget/letmepost-api-live"),
		),
	},
	{
		"autoscaling of test",
		with(postgres, settings{
			"api.test.autoscaling.enabled": true, "api.test.autoscaling.minReplicas": 1, "api.test.autoscaling.maxReplicas": 3,
			"api.test.autoscaling.targetCPUUtilizationPercentage": 60,
		}),
		all(
			is(testAPI, "spec replicas", nil), is("HorizontalPodAutoscaler/letmepost-api-test", "spec maxReplicas", 3),
			is("HorizontalPodAutoscaler/letmepost-api-test", "spec minReplicas", 1),
			is("HorizontalPodAutoscaler/letmepost-api-test", "spec metrics 0 resource target averageUtilization", 60),
			is("PodDisruptionBudget/letmepost-api-test", "spec maxUnavailable", 1), // there may be more replicas than the least
		),
	},
	{
		"service of each environment",
		settings{
			"api.live.service.type": "LoadBalancer", "api.live.service.annotations": map[string]any{"a": "b"},
			"api.test.service.type": "NodePort", "api.test.service.annotations": map[string]any{"c": "d"},
		},
		all(
			is("Service/letmepost-api-live", "spec type", "LoadBalancer"), is("Service/letmepost-api-live", "metadata annotations", map[string]any{"a": "b"}),
			is("Service/letmepost-api-test", "spec type", "NodePort"), is("Service/letmepost-api-test", "metadata annotations", map[string]any{"c": "d"}),
		),
	},
}
