// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// route is one that a Gateway takes up.
var route = settings{"httpRoute.enabled": true, "httpRoute.parentRefs": []any{map[string]any{"name": "gw"}}, "api.live.publicURL": "https://a.example"}

// TestSchemaHasNoPatterns: who is told "does not match pattern '^(none|…" has been told no sentence. Those rules are in
// templates/validate.yaml.
func TestSchemaHasNoPatterns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(kube.Path(chartPath + "/values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `"pattern"`) {
		t.Error("values.schema.json has a pattern")
	}
}

// A refusal is what can't be, and what Helm then answers.
type refusal struct {
	reason   string
	settings settings
	want     string // part of what Helm says
}

// betweenValues break rules between values: templates/validate.yaml.
var betweenValues = []refusal{
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
	{"the port of the scheme is no difference", settings{"api.live.publicURL": "https://a.example", "api.test.publicURL": "https://a.example:443"}, "each environment needs a host of its own"},
	{"an Ingress knows no ports", settings{"ingress.enabled": true, "api.live.publicURL": "https://a.example:8443", "api.test.publicURL": "https://a.example"}, "are both at a.example: each environment needs a host of its own"},
	{"a route neither", with(route, settings{"api.live.publicURL": "https://a.example:1", "api.test.publicURL": "https://a.example:2"}), "are both at a.example: each environment needs a host of its own"},
	{"a Gateway would speak HTTP to who listens for HTTPS", with(route, settings{"tls.existingSecret": "cert"}), "Set httpRoute.caConfigMap to the name of a ConfigMap"},
	{"a label twice is what the apiserver refuses, or pods that nobody finds", settings{"commonLabels": map[string]any{"app.kubernetes.io/name": "x"}}, "commonLabels: app.kubernetes.io/name is a label that the chart sets itself"},
	{"the version is the chart's to say", settings{"commonLabels": map[string]any{"helm.sh/chart": "x"}}, "commonLabels: helm.sh/chart is a label"},
	{"pods are found by the component", settings{"api.podLabels": map[string]any{"app.kubernetes.io/component": "x"}}, "api.podLabels: app.kubernetes.io/component is a label"},
	{"and by the environment", settings{"api.podLabels": map[string]any{"letmepost.dev/environment": "x"}}, "api.podLabels: letmepost.dev/environment is a label"},
	{"the controller's by its name", settings{"controller.podLabels": map[string]any{"app.kubernetes.io/instance": "x"}}, "controller.podLabels: app.kubernetes.io/instance is a label"},
	{"it would give people the roles of the processes", settings{"commonLabels": map[string]any{"rbac.authorization.k8s.io/aggregate-to-view": "true"}}, "commonLabels: rbac.authorization.k8s.io/aggregate-to-view is a label"},
	{"also of what others find by labels", settings{"metrics.dashboard.enabled": true, "metrics.dashboard.labels": map[string]any{"app.kubernetes.io/part-of": "x"}}, "metrics.dashboard.labels: app.kubernetes.io/part-of is a label"},
	{"the API would not reach its database", with(postgres, settings{"networkPolicy.egress.restrict": true}), "whose address is in the Secret pg: set networkPolicy.egress.rules"},
	{"nor Redis", settings{"networkPolicy.egress.restrict": true, "redis.existingSecret": "valkey"}, "whose address is in the Secret valkey: set networkPolicy.egress.rules"},
	{"without the policy all keys are alike", settings{"rbac.people.aggregateLiveKeys": false, "policies.liveKeys": false}, "rbac.people.aggregateLiveKeys is off, which takes the policy that tells live keys from test keys: set policies.liveKeys to true"},
	{"LinkedIn takes no app without its secret", settings{"platforms.linkedin.clientID": "a", "api.live.publicURL": "https://a.example"}, "platforms.linkedin: set clientID, and existingSecret"},
	{"nor a secret without the app", settings{"platforms.linkedin.existingSecret": "a"}, "platforms.linkedin: set clientID, and existingSecret"},
	{"browsers would not come back from LinkedIn", settings{"platforms.linkedin.clientID": "a", "platforms.linkedin.existingSecret": "a"}, "Set api.live.publicURL to its address"},
	{"a provider knows the dashboard by a client", settings{"dashboard.oidc.issuerURL": "https://id.example.com"}, "dashboard.oidc: set issuerURL and clientID, or neither of them"},
	{"nor is there a client of none", settings{"dashboard.oidc.clientID": "a"}, "dashboard.oidc: set issuerURL and clientID, or neither of them"},
	{"nothing is to be known of no provider", settings{"dashboard.oidc.caConfigMap": "ca"}, "dashboard.oidc: without issuerURL there is no provider"},
	{"nobody signs in at what is not there", with(public, settings{"dashboard.enabled": false, "dashboard.oidc.issuerURL": "https://id.example.com", "dashboard.oidc.clientID": "a"}), "dashboard.oidc is for the dashboard: set dashboard.enabled to true"},
	{"browsers would not come back from the provider", with(public, settings{"api.test.publicURL": "http://test.example.com", "dashboard.oidc.issuerURL": "https://id.example.com", "dashboard.oidc.clientID": "a"}), "Set api.test.publicURL to its address"},
	{"no number is both", with(postgres, settings{"api.live.autoscaling.enabled": true, "api.live.autoscaling.minReplicas": 11}), "minReplicas is 11, which is more than maxReplicas, 10"},
}

// bySchema are refused by values.schema.json, whose words are plain enough.
var bySchema = []refusal{
	{"a name that is not there is misspelt", settings{"replicaCount": 2}, "additional properties 'replicaCount' not allowed"},
	{"also deep down", settings{"api.live.replica": 2}, "additional properties 'replica' not allowed"},
	{"also in what Kubernetes defines", settings{"controller.resources": map[string]any{"limit": map[string]any{}}}, "additional properties 'limit' not allowed"},
	{"a number is no text", settings{"controller.replicas": "two"}, "'/controller/replicas': got string, want null or integer"},
	{"there is nothing below none", settings{"controller.replicas": -1}, "'/controller/replicas': minimum: got -1, want 0"},
	{"a level of another world", settings{"api.logLevel": "verbose"}, "'/api/logLevel': value must be one of 'debug', 'info', 'warn', 'error'"},
	{"a share is at most one", settings{"otlp.sampleRatio": 2}, "'/otlp/sampleRatio': maximum"},
	{"a namespace twice is a mistake", settings{"watchNamespaces": []any{"a", "a"}}, "'/watchNamespaces'"},
	{"root is not restricted", settings{"runAsUser": 0}, "'/runAsUser': minimum"},
}

// bySentence are values by themselves whose rule takes a sentence: templates/validate.yaml.
var bySentence = []refusal{
	{"a URL of a page is no address of an API", settings{"api.live.publicURL": "https://a.example/v1"}, `api.live.publicURL is "https://a.example/v1": want https://HOST or https://HOST:PORT`},
	{"nor is a host alone", settings{"api.test.publicURL": "a.example"}, `api.test.publicURL is "a.example": want https://HOST`},
	{"the apiserver takes hosts in lower case only", settings{"api.live.publicURL": "https://A.example"}, `with the host in lower case`},
	{"a password is no part of an address", settings{"api.live.publicURL": "https://u:p@a.example"}, `api.live.publicURL is`},
	{"names of objects are in lower case", settings{"nameOverride": "Posts"}, `nameOverride is "Posts": want lower-case letters, digits and hyphens`},
	{"so are those of namespaces", settings{"watchNamespaces": []any{"a", "Team"}}, `watchNamespaces is "Team": want names of namespaces`},
	{"keys have letters and digits only", settings{"keyPrefix": "a_b"}, `keyPrefix is "a_b": want 1 to 16 letters and digits`},
	{"a Lease is short", settings{"api.leaseDuration": "5m"}, `api.leaseDuration is "5m": want whole seconds, from 3s to 60s`},
	{"but not that short", settings{"api.leaseDuration": "2s"}, `api.leaseDuration is "2s": want whole seconds`},
	{"a fraction is no whole second", settings{"api.leaseDuration": "3.5s"}, `api.leaseDuration is "3.5s": want whole seconds`},
	{"and never more than it can count", settings{"api.leaseDuration": "99999999999999999999h"}, `api.leaseDuration is`},
	{"a rate has a window", settings{"api.defaultRateLimit": "100"}, `api.defaultRateLimit is "100": want REQUESTS/WINDOW, such as 60000/1m, with 1 to 1000000 requests and a window of 1s to 24h, or none`},
	{"of a million requests at most", settings{"api.defaultRateLimit": "60000000/1m"}, `api.defaultRateLimit is "60000000/1m": want REQUESTS/WINDOW`},
	{"a window has a length", settings{"api.failedAuthLimit": "10/0s"}, `api.failedAuthLimit is "10/0s": want REQUESTS/WINDOW`},
	{"of a day at most", settings{"api.failedAuthLimit": "10/24h1s"}, `api.failedAuthLimit is "10/24h1s": want REQUESTS/WINDOW`},
	{"a file is at most 2000Mi", settings{"api.maxMediaSize": "5Gi"}, `api.maxMediaSize is "5Gi": want bytes, such as 200Mi, up to 2000Mi`},
	{"not a byte more", settings{"api.maxMediaSize": "2097152001"}, `api.maxMediaSize is "2097152001": want bytes`},
	{"memory for some bodies", settings{"api.maxBytesInFlight": "7Mi"}, `api.maxBytesInFlight is "7Mi": want bytes, such as 200Mi, up to 2000Mi, and 8Mi at least`},
	{"zero is no quota: it might be taken for any amount", settings{"quotas.posts": 0}, `quotas.posts is "0": want a number from 1 on, or none for any amount`},
	{"nor of keys", settings{"quotas.keys": 0}, `quotas.keys is "0": want a number from 1 on`},
	{"nor is less", settings{"quotas.mediaFiles": -1}, `quotas.mediaFiles is "-1": want a number`},
	{"a quota that is none says so", settings{"quotas.queuedPosts": "unlimited"}, `quotas.queuedPosts is "unlimited": want a number`},
	{"each of them", settings{"quotas.accounts": ""}, `quotas.accounts is "": want a number`},
	{"nor is a size any text", settings{"quotas.bytes": "much"}, `quotas.bytes is "much": want a size such as 20Gi, or none for any amount`},
	{"a size is a number", settings{"api.maxMediaSize": "big"}, `api.maxMediaSize is "big": want bytes`},
	{"Secrets are looked for now and then", settings{"controller.secretRecheckInterval": "0s"}, `controller.secretRecheckInterval is "0s": want 1s or more`},
	{"a browser goes back to an origin", settings{"platforms.returnTo": []any{"https://app.example.com/done"}}, `platforms.returnTo is "https://app.example.com/done": want an origin`},
	{"an exception has a port", settings{"platforms.outboundAllow": []any{"pds.internal"}}, `platforms.outboundAllow is "pds.internal": want HOST:PORT`},
	{"of 16 bits", settings{"platforms.outboundAllow": []any{"pds.internal:70000"}}, `platforms.outboundAllow is "pds.internal:70000": want HOST:PORT`},
	{"or is a network", settings{"platforms.outboundAllow": []any{"10.0.0.0/33"}}, `platforms.outboundAllow is "10.0.0.0/33": want networks`},
	{"a directory is a host", settings{"platforms.bluesky.plcURL": "https://plc.directory/x"}, `platforms.bluesky.plcURL is "https://plc.directory/x": want the URL of a host`},
	{"an apiserver trusts no provider without TLS", settings{"dashboard.oidc.issuerURL": "http://id.example.com"}, `dashboard.oidc.issuerURL is "http://id.example.com": want an https URL, as the provider names itself`},
	{"nor has a provider a query", settings{"dashboard.oidc.issuerURL": "https://id.example.com/?a"}, `dashboard.oidc.issuerURL is "https://id.example.com/?a": want an https URL`},
	{"a button is short", settings{"dashboard.oidc.name": strings.Repeat("x", 61)}, `want at most 60 characters`},
	{"scopes are apart", settings{"dashboard.oidc.scopes": []any{"openid groups"}}, `dashboard.oidc.scopes is "openid groups": want scopes, one an item`},
	{"a version is a month", settings{"platforms.linkedin.version": "2026-07"}, `platforms.linkedin.version is "2026-07": want the year and the month of a version, such as 202607, in quotes`},
	{"of a year's twelve", settings{"platforms.linkedin.version": "202613"}, `platforms.linkedin.version is "202613": want the year and the month`},
	{"an address is no network", settings{"api.trustedProxies": []any{"10.0.0.1"}}, `api.trustedProxies is "10.0.0.1": want networks such as 10.0.0.0/8`},
	{"nor is what only looks like one", settings{"api.trustedProxies": []any{"10.0.0.0/8", "999.1.2.3/99"}}, `api.trustedProxies is "999.1.2.3/99": want networks`},
	{"IPv4 has 32 bits", settings{"api.trustedProxies": []any{"10.0.0.0/33"}}, `api.trustedProxies is "10.0.0.0/33": want networks`},
	{"IPv6 has 128", settings{"api.trustedProxies": []any{"fd00::/129"}}, `api.trustedProxies is "fd00::/129": want networks`},
	{"in eight groups", settings{"api.trustedProxies": []any{"1:2:3:4:5:6:7::8/64"}}, `api.trustedProxies is "1:2:3:4:5:6:7::8/64": want networks`},
	{"or fewer with one gap", settings{"api.trustedProxies": []any{"1::2::3/64"}}, `api.trustedProxies is "1::2::3/64": want networks`},
	{"a password would be seen in the list of processes", settings{"otlp.endpoint": "http://u:p@c:4318"}, `otlp.endpoint is "http://u:p@c:4318": want an http or https URL, such as http://collector:4318, without credentials`},
	{"a URL has a host", settings{"api.docsBaseURL": "http:///x"}, `api.docsBaseURL is "http:///x": want an http or https URL`},
	{"a path's percent signs mean something", settings{"api.docsBaseURL": "http://a/%zz"}, `api.docsBaseURL is "http://a/%zz": want an http or https URL`},
	{"a digest is a whole one", settings{"api.image.digest": "sha256:abc"}, `api.image.digest is "sha256:abc": want sha256: and 64 hexadecimal digits`},
	{"the controller's too", settings{"controller.image.digest": "abc"}, `controller.image.digest is "abc": want sha256:`},
	{"a folder is shared by claim", settings{"media.url": "file:///data"}, `media.url is "file:///data": want a bucket, such as s3://NAME?region=eu-central-1`},
	{"a bucket has a name", settings{"media.url": "s3://?region=eu"}, `media.url is "s3://?region=eu": want a bucket`},
	{"a volume has a size", settings{"database.sqlite.size": "ten"}, `database.sqlite.size is "ten": want a size such as 10Gi`},
	{"a scrape comes now and then", settings{"metrics.serviceMonitor.interval": "0s"}, `metrics.serviceMonitor.interval is "0s": want a duration such as 30s or 1m`},
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range slices.Concat(betweenValues, bySchema, bySentence) {
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
