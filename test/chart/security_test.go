// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"slices"
	"strings"
	"testing"
)

// everything switches all on that can be on at once.
var everything = with(postgres, with(public, settings{
	"tls.certManager.enabled": true, "tls.certManager.issuerRef.name": "ca",
	"redis.existingSecret": "redis", "media.credentialsSecret": "aws",
	"dashboard.oidc.issuerURL": "https://id.example.com", "dashboard.oidc.clientID": "a", "dashboard.oidc.existingSecret": "oidc", "dashboard.oidc.caConfigMap": "ca",
	"platforms.linkedin.clientID": "app", "platforms.linkedin.existingSecret": "linkedin",
	"api.live.autoscaling.enabled": true, "api.test.autoscaling.enabled": true,
	"ingress.enabled": true, "httpRoute.enabled": true, "httpRoute.parentRefs": []any{map[string]any{"name": "gw"}},
	"httpRoute.caConfigMap": "ca", "networkPolicy.egress.restrict": true, "networkPolicy.egress.rules": []any{map[string]any{"ports": tcp(5432)}}, "watchNamespaces": []any{"a"},
	"metrics.serviceMonitor.enabled": true, "metrics.prometheusRule.enabled": true, "metrics.dashboard.enabled": true,
	"otlp.endpoint": "http://otel:4318", "gate.enabled": true, "gate.autoscaling.enabled": true, "gate.tlsSecret": "cert",
}))

// TestPodsAreRestricted looks at every pod and container: PodSecurity "restricted", and more than that. That the
// apiserver thinks so too is for `make e2e` to say.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	accounts := map[string]string{
		controller: "letmepost-controller", liveAPI: "letmepost-api-live", testAPI: "letmepost-api-test",
		releaseJob: "letmepost-release", vaultJob: "letmepost-vault", gate: "letmepost-gate",
	}
	for reason, s := range map[string]settings{
		"by default": gateOn, "with everything": everything, "without a user": with(gateOn, settings{"runAsUser": nil}),
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			pods := 0
			found := helm(t, s)
			for name, object := range found {
				spec := dig(object, pod)
				if spec == nil {
					continue
				}
				pods++
				of := objects{name: object}
				all(
					is(name, pod+" securityContext runAsNonRoot", true), is(name, pod+" securityContext seccompProfile", map[string]any{"type": "RuntimeDefault"}),
					is(name, pod+" serviceAccountName", accounts[name]), is(name, pod+" enableServiceLinks", false),
					is(name, pod+" hostNetwork", nil), is(name, pod+" hostPID", nil), is(name, pod+" initContainers", nil),
					has(name, volumes, map[string]any{"name": "tmp", "emptyDir": map[string]any{}}), has(name, mounts, map[string]any{"name": "tmp", "mountPath": "/tmp"}),
				)(t, of)
				containers, _ := dig(spec, "containers").([]any)
				if len(containers) != 1 {
					t.Errorf("%s has %d containers, and not one", name, len(containers))
				}
				is(name, container+" securityContext", map[string]any{
					"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
				})(t, of)
			}
			if pods != len(accounts) {
				t.Errorf("%d pods were looked at, want %d", pods, len(accounts))
			}
		})
	}
}

// TestSelectorsMatch says that whatever selects pods selects those that it is meant for, and no others.
func TestSelectorsMatch(t *testing.T) {
	t.Parallel()
	found := helm(t, with(settings{"crds.install": false}, everything))
	deployments := []string{controller, liveAPI, testAPI, gate}
	for selecting, want := range map[string][]string{
		"Service/letmepost-api-live spec selector":                                     {liveAPI},
		"Service/letmepost-api-test spec selector":                                     {testAPI},
		"Service/letmepost-api spec selector":                                          {liveAPI, testAPI},
		"Service/letmepost-controller spec selector":                                   {controller},
		"PodDisruptionBudget/letmepost-api-live spec selector matchLabels":             {liveAPI},
		"PodDisruptionBudget/letmepost-controller spec selector matchLabels":           {controller},
		"NetworkPolicy/letmepost-api spec podSelector matchLabels":                     {liveAPI, testAPI},
		"NetworkPolicy/letmepost-controller spec podSelector matchLabels":              {controller},
		"Service/letmepost-gate spec selector":                                         {gate},
		"Service/letmepost-gate-metrics spec selector":                                 {gate},
		"PodDisruptionBudget/letmepost-gate spec selector matchLabels":                 {gate},
		"NetworkPolicy/letmepost-gate spec podSelector matchLabels":                    {gate},
		gate + " spec selector matchLabels":                                            {gate},
		controller + " spec selector matchLabels":                                      {controller},
		liveAPI + " spec selector matchLabels":                                         {liveAPI},
		testAPI + " " + pod + " topologySpreadConstraints 0 labelSelector matchLabels": {testAPI},
	} {
		object, path, _ := strings.Cut(selecting, " ")
		selector, _ := dig(found[object], path).(map[string]any)
		if len(selector) == 0 {
			t.Errorf("there is no %s", selecting)
		}
		for _, deployment := range deployments {
			selected := true
			for key, value := range selector {
				selected = selected && dig(found[deployment], podLabels+" "+key) == value
			}
			if wanted := slices.Contains(want, deployment); selected != wanted {
				t.Errorf("%s selects %s: %t, want %t", selecting, deployment, selected, wanted)
			}
		}
	}
}
