// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"strings"
	"testing"
)

// TestRefused says what can't be, and what Helm then answers.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason   string
		settings settings
		want     string // part of what Helm says
	}{
		// Rules between values: templates/validate.yaml.
		{"SQLite is one process's", settings{"api.live.replicas": 2}, "api.live asks for up to 2 replicas, but SQLite serves one: set database.existingSecret"},
		{"and that of the other environment", settings{"api.test.replicas": 3}, "api.test asks for up to 3 replicas, but SQLite serves one"},
		{"an autoscaler would make several", settings{"api.live.autoscaling.enabled": true}, "api.live asks for up to 10 replicas, but SQLite serves one"},
		{"replicas would each have media of their own", settings{"database.existingSecret": "pg"}, "api.live asks for up to 2 replicas, which have to share their media: set media.url"},
		{"jobs of live posts would be worked off by the sandbox", with(postgres, settings{"database.key": "url"}), "need a database each: put {environment} into database.existingSecret or database.key"},
		{"media are in one place", with(postgres, settings{"media.existingClaim": "media"}), "media: set url or existingClaim, not both"},
		{"there is one certificate", settings{"tls.existingSecret": "a", "tls.certManager.enabled": true, "tls.certManager.issuerRef.name": "ca"}, "tls: set existingSecret or certManager.enabled, not both"},
		{"nobody would sign it", settings{"tls.certManager.enabled": true}, "set tls.certManager.issuerRef.name"},
		{"a host is needed to tell live from test", settings{"ingress.enabled": true}, "set at least one of them"},
		{"the same for a route", settings{"httpRoute.enabled": true, "httpRoute.parentRefs": []any{map[string]any{"name": "gw"}}}, "set at least one of them"},
		{"a route without a Gateway leads nowhere", settings{"httpRoute.enabled": true, "api.live.publicURL": "https://a.example"}, "set httpRoute.parentRefs"},
		{"one host would reach one environment only", settings{"api.live.publicURL": "https://a.example", "api.test.publicURL": "https://a.example"}, "each environment needs a host of its own"},
		{"no number is both", with(postgres, settings{"api.live.autoscaling.enabled": true, "api.live.autoscaling.minReplicas": 11}), "minReplicas is 11, which is more than maxReplicas, 10"},

		// Values by themselves: values.schema.json.
		{"a name that is not there is misspelt", settings{"replicaCount": 2}, "additional properties 'replicaCount' not allowed"},
		{"also deep down", settings{"api.live.replica": 2}, "additional properties 'replica' not allowed"},
		{"also in what Kubernetes defines", settings{"controller.resources": map[string]any{"limit": map[string]any{}}}, "additional properties 'limit' not allowed"},
		{"a number is no text", settings{"controller.replicas": "two"}, "'/controller/replicas': got string, want integer"},
		{"there is nothing below none", settings{"controller.replicas": -1}, "'/controller/replicas': minimum: got -1, want 0"},
		{"a level of another world", settings{"api.logLevel": "verbose"}, "'/api/logLevel': value must be one of 'debug', 'info', 'warn', 'error'"},
		{"a share is at most one", settings{"otlp.sampleRatio": 2}, "'/otlp/sampleRatio': maximum"},
		{"a URL of a page is no address of an API", settings{"api.live.publicURL": "https://a.example/v1"}, "'/api/live/publicURL'"},
		{"nor is a host alone", settings{"api.live.publicURL": "a.example"}, "'/api/live/publicURL'"},
		{"names of objects are in lower case", settings{"nameOverride": "Posts"}, "'/nameOverride'"},
		{"keys have letters and digits only", settings{"keyPrefix": "a_b"}, "'/keyPrefix'"},
		{"root is not restricted", settings{"runAsUser": 0}, "'/runAsUser': minimum"},
		{"a Lease is short", settings{"api.leaseDuration": "5m"}, "'/api/leaseDuration'"},
		{"a rate has a window", settings{"api.defaultRateLimit": "100"}, "'/api/defaultRateLimit'"},
		{"an address is no network", settings{"api.trustedProxies": []any{"10.0.0.1"}}, "'/api/trustedProxies/0'"},
		{"a digest is a whole one", settings{"api.image.digest": "sha256:abc"}, "'/api/image/digest'"},
		{"a folder is shared by claim", settings{"media.url": "file:///data"}, "'/media/url'"},
		{"a namespace twice is a mistake", settings{"watchNamespaces": []any{"a", "a"}}, "'/watchNamespaces'"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			_, err := tryHelm(t, with(settings{"crds.install": false}, tc.settings))
			if err == nil {
				t.Fatalf("helm template accepted %v", tc.settings)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("helm template says:\n%v\nwant in it:\n%s", err, tc.want)
			}
		})
	}
}
