// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

// Things that are handed through as they are.
var (
	toleration = map[string]any{"key": "dedicated", "operator": "Exists"}
	affinity   = map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": []any{}}}}
	spread     = map[string]any{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
	variable   = map[string]any{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
	extra      = map[string]any{"name": "extra", "emptyDir": map[string]any{}}
	extraMount = map[string]any{"name": "extra", "mountPath": "/extra"}
	resources  = map[string]any{"limits": map[string]any{"memory": "1Gi"}, "requests": map[string]any{"cpu": "1", "memory": "1Gi"}}
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var controllerCases = []valueCase{
	{
		"by default two controllers elect a leader, on two nodes if there are, and drains take one at a time",
		settings{},
		all(
			is(controller, "spec replicas", 2), has(controller, args, "--leader-elect=true"),
			is(controller, pod+" topologySpreadConstraints 0 topologyKey", "kubernetes.io/hostname"),
			is("PodDisruptionBudget/letmepost-controller", "spec maxUnavailable", 1),
			is(controller, container+" livenessProbe httpGet", map[string]any{"path": "/healthz", "port": "probes"}),
			is(controller, container+" readinessProbe httpGet", map[string]any{"path": "/readyz", "port": "probes"}),
			has(controller, args, "--test-base-url=http://letmepost-api-test.letmepost-system.svc"),
		),
	},
	{
		"controller.image.tag in place of the chart's appVersion",
		settings{"controller.image.repository": "mine/controller", "controller.image.tag": "v2", "controller.image.pullPolicy": "Always"},
		all(
			is(controller, container+" image", "mine/controller:v2"), is(controller, container+" imagePullPolicy", "Always"),
			is(releaseJob, container+" image", "mine/controller:v2"), is(releaseJob, container+" imagePullPolicy", "Always"),
		),
	},
	{
		"controller.image.digest in place of a tag",
		settings{"controller.image.digest": digest},
		is(controller, container+" image", "letmepost/controller@"+digest),
	},
	{
		"controller.replicas 1 has a disruption budget that keeps no node from being drained: one of one may be away",
		settings{"controller.replicas": 1},
		all(is(controller, "spec replicas", 1), is("PodDisruptionBudget/letmepost-controller", "spec maxUnavailable", 1)),
	},
	{
		"controller.podDisruptionBudget.enabled off: none",
		settings{"controller.podDisruptionBudget.enabled": false},
		absent("PodDisruptionBudget/letmepost-controller"),
	},
	{
		"flags of the controller",
		settings{
			"controller.logLevel": "debug", "controller.concurrency": 20, "controller.secretRecheckInterval": "1h",
			"controller.extraArgs": []any{"--leader-elect-lease-duration=30s"},
		},
		all(
			has(controller, args, "--log-level=debug"), has(controller, args, "--concurrency=20"), has(controller, args, "--secret-recheck-interval=1h"),
			has(controller, args, "--leader-elect-lease-duration=30s"), hasNot(liveAPI, args, "--leader-elect-lease-duration=30s"),
		),
	},
	{
		"Secrets are looked for every second at most",
		settings{"controller.secretRecheckInterval": "1s"},
		has(controller, args, "--secret-recheck-interval=1s"),
	},
	{
		"what else the controller's container gets",
		settings{
			"controller.resources": resources, "controller.extraEnv": []any{variable},
			"controller.extraVolumes": []any{extra}, "controller.extraVolumeMounts": []any{extraMount},
		},
		all(
			is(controller, container+" resources", resources), has(controller, env, variable),
			has(controller, volumes, extra), has(controller, mounts, extraMount), is(liveAPI, env, nil),
		),
	},
	{
		"controller.serviceAccountAnnotations are how a cloud knows the controller",
		settings{"controller.serviceAccountAnnotations": map[string]any{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/c"}},
		all(
			is("ServiceAccount/letmepost-controller", "metadata annotations", map[string]any{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/c"}),
			is("ServiceAccount/letmepost-api", "metadata annotations", nil),
		),
	},
	{
		"what the controller's pods are called",
		settings{"controller.podAnnotations": map[string]any{"a": "b"}, "controller.podLabels": map[string]any{"c": "d"}},
		all(
			is(controller, podAnnotated, map[string]any{"a": "b"}), is(controller, podLabels+" c", "d"),
			is(controller, "spec selector matchLabels c", nil), is(liveAPI, podAnnotated, nil), is(liveAPI, podLabels+" c", nil),
		),
	},
	{
		"where the controller's pods run",
		settings{
			"controller.nodeSelector": map[string]any{"disk": "ssd"}, "controller.tolerations": []any{toleration}, "controller.affinity": affinity,
			"controller.topologySpreadConstraints": []any{spread}, "controller.priorityClassName": "high",
		},
		all(
			is(controller, pod+" nodeSelector", map[string]any{"disk": "ssd"}), is(controller, pod+" tolerations", []any{toleration}),
			is(controller, pod+" affinity", affinity), is(controller, pod+" topologySpreadConstraints", []any{spread}),
			is(controller, pod+" priorityClassName", "high"), is(liveAPI, pod+" nodeSelector", nil),
			is(releaseJob, pod+" nodeSelector", map[string]any{"disk": "ssd"}), is(releaseJob, pod+" tolerations", []any{toleration}),
		),
	},
}
