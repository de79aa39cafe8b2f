// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

const gate = "Deployment/letmepost-gate"

// gateOn is what all of them need.
var gateOn = settings{"gate.enabled": true}

// gateCases are about what guards other services.
var gateCases = []valueCase{
	{
		"without gate.enabled there is none, and nobody is granted anything for it",
		settings{},
		absent(gate, "ServiceAccount/letmepost-gate", "Service/letmepost-gate", "Service/letmepost-gate-metrics",
			"ClusterRole/letmepost-gate", "Role/letmepost-gate", "ValidatingAdmissionPolicy/letmepost-gate-leases",
			"NetworkPolicy/letmepost-gate", "PodDisruptionBudget/letmepost-gate"),
	},
	{
		"gate.enabled: two replicas that answer over HTTP and gRPC, under an account of their own, for keys of both environments",
		gateOn,
		all(
			is(gate, "spec replicas", 2), has(gate, args, "--environment=both"), has(gate, args, "--lease-duration=15s"),
			is("Service/letmepost-gate", "spec ports 0", map[string]any{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}),
			is("Service/letmepost-gate", "spec ports 1", map[string]any{"name": "grpc", "port": 9000, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}),
			is("ClusterRole/letmepost-gate", "rules 0 verbs", []any{"list", "watch"}), is("ClusterRole/letmepost-gate", "rules 1", nil),
			is("Role/letmepost-gate", "rules 0 resources", []any{"leases"}),
			is("Role/letmepost-gate", "rules 1 resources", []any{"leakedkeys"}), is("Role/letmepost-gate", "rules 1 verbs", []any{"list", "watch"}),
			is("Role/letmepost-gate", "rules 2", nil),
			is("PodDisruptionBudget/letmepost-gate", "spec maxUnavailable", 1),
			is("NetworkPolicy/letmepost-gate", "spec ingress 0 from", nil), exists("ValidatingAdmissionPolicyBinding/letmepost-gate-leases"),
			is("Service/letmepost-gate-metrics", "metadata labels letmepost.dev/metrics", "true"),
		),
	},
	{
		"flags of the gate",
		with(gateOn, settings{
			"gate.environment": "live", "gate.logLevel": "debug", "gate.defaultRateLimit": "100/1m", "gate.maxConnections": 50,
			"gate.extraArgs": []any{"--drain-timeout=9s"}, "api.leaseDuration": "9s", "quotas.keys": "none", "keyPrefix": "mine",
		}),
		all(
			has(gate, args, "--environment=live"), has(gate, args, "--log-level=debug"), has(gate, args, "--default-rate-limit=100/1m"),
			has(gate, args, "--max-connections=50"), has(gate, args, "--drain-timeout=9s"), has(gate, args, "--lease-duration=9s"),
			has(gate, args, "--max-organization-keys=none"), has(gate, args, "--key-prefix=mine"),
		),
	},
	{
		"without gate.introspection.enabled, nobody is asked who holds a token",
		gateOn,
		all(hasNot(gate, args, "--introspection"), absent("ClusterRole/letmepost-gate-introspection", "ClusterRole/letmepost-introspector")),
	},
	{
		"gate.introspection.enabled: what it takes to ask, and a role for who asks the gate",
		with(gateOn, settings{"gate.introspection.enabled": true}),
		all(
			has(gate, args, "--introspection"),
			is("ClusterRole/letmepost-gate-introspection", "rules 0", map[string]any{
				"apiGroups": []any{"authentication.k8s.io"}, "resources": []any{"tokenreviews"}, "verbs": []any{"create"},
			}),
			is("ClusterRole/letmepost-gate-introspection", "rules 1", map[string]any{
				"apiGroups": []any{"authorization.k8s.io"}, "resources": []any{"subjectaccessreviews"}, "verbs": []any{"create"},
			}),
			is("ClusterRole/letmepost-gate-introspection", "rules 2", nil),
			is("ClusterRoleBinding/letmepost-gate-introspection", "subjects 0 name", "letmepost-gate"),
			is("ClusterRole/letmepost-introspector", "rules 0 resources", []any{"introspections"}),
			absent("ClusterRoleBinding/letmepost-introspector"),
		),
	},
	{
		"gate.image is its own",
		with(gateOn, settings{"gate.image.repository": "mine/gate", "gate.image.tag": "v2", "gate.image.pullPolicy": "Always"}),
		all(is(gate, container+" image", "mine/gate:v2"), is(gate, container+" imagePullPolicy", "Always")),
	},
	{
		"gate.image.digest in place of a tag",
		with(gateOn, settings{"gate.image.digest": digest}),
		is(gate, container+" image", "letmepost/gate@"+digest),
	},
	{
		"gate.tlsSecret: proxies ask over TLS",
		with(gateOn, settings{"gate.tlsSecret": "cert"}),
		all(
			has(gate, args, "--tls-cert-file=/etc/letmepost/tls/tls.crt"), has(gate, volumes, tlsVolume("cert")),
			is("Service/letmepost-gate", "spec ports 0 port", 443), is("Service/letmepost-gate", "spec ports 1 appProtocol", "https"),
		),
	},
	{
		"redis: one rate of a key at all gates",
		with(gateOn, settings{"redis.existingSecret": "redis", "redis.key": "uri"}),
		is(gate, env+" 0 valueFrom secretKeyRef", map[string]any{"name": "redis", "key": "uri"}),
	},
	{
		"gate.from: who may ask",
		with(gateOn, settings{"gate.from": []any{peer}}),
		is("NetworkPolicy/letmepost-gate", "spec ingress 0 from", []any{peer}),
	},
	{
		"gate.replicas, without a disruption budget",
		with(gateOn, settings{"gate.replicas": 3, "gate.podDisruptionBudget.enabled": false}),
		all(is(gate, "spec replicas", 3), absent("PodDisruptionBudget/letmepost-gate")),
	},
	{
		"gate.autoscaling",
		with(gateOn, settings{
			"gate.autoscaling.enabled": true, "gate.autoscaling.minReplicas": 3, "gate.autoscaling.maxReplicas": 7,
			"gate.autoscaling.targetCPUUtilizationPercentage": 50,
		}),
		all(
			is(gate, "spec replicas", nil), is("HorizontalPodAutoscaler/letmepost-gate", "spec minReplicas", 3),
			is("HorizontalPodAutoscaler/letmepost-gate", "spec maxReplicas", 7),
			is("HorizontalPodAutoscaler/letmepost-gate", "spec metrics 0 resource target averageUtilization", 50),
		),
	},
	{
		"what the gate's pods are, and where they run",
		with(gateOn, settings{
			"gate.resources": resources, "gate.podAnnotations": map[string]any{"a": "b"}, "gate.podLabels": map[string]any{"c": "d"},
			"gate.nodeSelector": map[string]any{"disk": "ssd"}, "gate.tolerations": []any{toleration}, "gate.affinity": affinity,
			"gate.topologySpreadConstraints": []any{spread}, "gate.priorityClassName": "high",
		}),
		all(
			is(gate, container+" resources", resources), is(gate, podAnnotated, map[string]any{"a": "b"}), is(gate, podLabels+" c", "d"),
			is(gate, pod+" nodeSelector", map[string]any{"disk": "ssd"}), is(gate, pod+" tolerations", []any{toleration}),
			is(gate, pod+" affinity", affinity), is(gate, pod+" topologySpreadConstraints", []any{spread}),
			is(gate, pod+" priorityClassName", "high"),
		),
	},
	{
		"with watchNamespaces, the gate's rules are Roles there",
		with(gateOn, settings{"watchNamespaces": []any{"a"}}),
		all(has(gate, args, "--watch-namespaces=a"), absent("ClusterRole/letmepost-gate"), exists("Role/a/letmepost-gate-watched")),
	},
}
