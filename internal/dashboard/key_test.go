// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/caller"
	"github.com/letmepost/letmepost-operator/internal/dashboard"
	"github.com/letmepost/letmepost-operator/internal/store"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// podViewer is a ClusterRole of whoever may see Pods and events.
const podViewer = "test-pod-viewer"

// pods makes Pods that have a Secret in hand, in all ways that there are, and one that has not.
func (w *world) pods(t *testing.T, namespace, secret string) {
	t.Helper()
	// What of the role view matters here. Nobody adds the parts of that one up where no controllers of Kubernetes run.
	view := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: podViewer}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "events"}, Verbs: []string{"get", "list", "watch"}},
	}}
	check(t, client.IgnoreAlreadyExists(w.admin.Create(t.Context(), view)))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}}
	check(t, w.admin.Create(t.Context(), account))
	of := corev1.LocalObjectReference{Name: secret}
	entry := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: of, Key: "LMP_API_KEY"}}
	all := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: of}}}
	projected := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{Secret: &corev1.SecretProjection{LocalObjectReference: of}},
	}}}
	files := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}
	mount := []corev1.VolumeMount{{Name: "v", MountPath: "/etc/key"}}
	for name, spec := range map[string]corev1.PodSpec{
		"by-env":       {Containers: []corev1.Container{{Name: "main", Env: []corev1.EnvVar{{Name: "TOKEN", ValueFrom: entry}}}}},
		"by-envfrom":   {Containers: []corev1.Container{{Name: "main", EnvFrom: all}}},
		"by-init":      {InitContainers: []corev1.Container{{Name: "first", EnvFrom: all}}},
		"by-volume":    {Containers: []corev1.Container{{Name: "main", VolumeMounts: mount}}, Volumes: []corev1.Volume{{Name: "v", VolumeSource: files}}},
		"by-projected": {Containers: []corev1.Container{{Name: "main", VolumeMounts: mount}}, Volumes: []corev1.Volume{{Name: "v", VolumeSource: projected}}},
		"by-nobody":    {Volumes: []corev1.Volume{{Name: "idle", VolumeSource: files}}},
		"without":      {Containers: []corev1.Container{{Name: "main"}}},
	} {
		if len(spec.Containers) == 0 {
			spec.Containers = []corev1.Container{{Name: "main"}}
		}
		for i := range spec.Containers {
			spec.Containers[i].Image = "app"
		}
		for i := range spec.InitContainers {
			spec.InitContainers[i].Image = "app"
		}
		spec.ServiceAccountName = account.Name
		check(t, w.admin.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}))
	}
}

// manifest is a key's, as its page shows it.
var manifest = regexp.MustCompile(`<pre class="command" tabindex="0"><code>([^<]*)</code></pre></details>`)

// keyOf returns the ApiKey as it is.
func (w *world) keyOf(t *testing.T, namespace, name string) *v1alpha1.ApiKey {
	t.Helper()
	k := new(v1alpha1.ApiKey)
	check(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, k))
	return k
}

// sometimes is what keys are used for, if the database answers.
type sometimes struct {
	used
	answers *bool
}

func (s sometimes) Of(ctx context.Context, c *caller.Caller, id string) (use.Series, error) {
	if !*s.answers {
		return use.Series{}, store.ErrUnavailable
	}
	return s.used.Of(ctx, c, id)
}

// TestOneKey: what there is to know of a key, as far as somebody may see it.
func TestOneKey(t *testing.T) {
	uses, known := used{}, false
	w := newWorld(t, func(c *dashboard.Config) { c.Use = sometimes{uses, &known} })
	acme := w.cluster.Namespace(t)
	w.furnishKeys(t, acme)
	all := []string{podViewer, "letmepost-apikey-viewer", "letmepost-apikey-minter", "letmepost-apikey-revoker"}
	ada := w.signedIn(t, w.credential(t, acme, "ada", all...), acme)
	viewer := w.signedIn(t, w.credential(t, acme, "viewer", "letmepost-apikey-viewer"), acme)
	website := w.keyOf(t, acme, "website")

	p := ada.get("/keys/website")
	if p.status != http.StatusOK {
		t.Fatalf("%d\n%s", p.status, p.body)
	}
	for _, said := range []string{
		website.Status.Hint, string(website.UID), "Active", "whole organization", "SecretCreated", "Minted",
		"variable TOKEN of container main", "all of it as variables * of container main", "all of it as variables * of container first",
		"files below /etc/key in container main", "by-projected", "volume idle, which no container mounts",
		`href="` + dashboard.Base + ada.rotation("website") + `"`,
		`href="/dashboard/keys/-/revoke?key=website.` + string(website.UID) + `&amp;` + ada.ofPage(nil).Encode() + `"`,
		"dashboard.test", "its status", "apiVersion: letmepost.dev/v1alpha1",
	} {
		if !strings.Contains(p.body, said) {
			t.Errorf("the page does not say %q", said)
		}
	}
	if strings.Contains(p.body, "⟦") || strings.Contains(p.body, "<strong class=\"breakable\">without<") || t.Failed() {
		t.Errorf("%s", p.body)
	}
	if p := ada.get("/keys/nightly-report"); !strings.Contains(p.body, "No Pod of this namespace reads the Secret nightly-report") ||
		!strings.Contains(p.body, "in 19 days") {
		t.Errorf("%d\n%s", p.status, p.body)
	}
	if p := viewer.get("/keys/website"); p.status != http.StatusOK || strings.Contains(p.body, "/keys/-/revoke") ||
		strings.Contains(p.body, "/rotate") || strings.Contains(p.body, "by-env") ||
		!strings.Contains(p.body, "You may not list the Pods") || !strings.Contains(p.body, "You may not list the events") {
		t.Errorf("somebody who may look alone: %d\n%s", p.status, p.body)
	}
	for _, name := range []string{"nothing", "UPPER", "a%2Fb", "%3Cb%3E", strings.Repeat("x", 64<<10)} {
		if p := ada.get("/keys/" + name); p.status != http.StatusNotFound || strings.Contains(p.body, "<b>") {
			t.Errorf("%.20s: %d\n%s", name, p.status, p.body)
		}
	}
	if strings.Contains(p.body, "<rect") || !strings.Contains(p.body, "Last used is what this replica has seen") {
		t.Errorf("of what nobody knows, there is a chart\n%s", p.body)
	}
	uses[string(website.UID)] = time.Now().Add(-3 * time.Hour)
	known = true
	p = ada.get("/keys/website")
	for _, said := range []string{
		"3 hours ago", "7 in the last hour, of which 3 were refused", "Last 24 hours: 70007 requests, 3 refused",
		"Last 30 days: 70008 requests, 3 refused", `<td class="number">70000</td>`, "letmepost-api-live-one (pod-one)",
		`<rect class="refused"`, `height="2"`, `role="region" aria-label="Last 24 hours"`,
	} {
		if !strings.Contains(p.body, said) {
			t.Errorf("the page does not say %q", said)
		}
	}
	if n := strings.Count(p.body, `<rect class="all"`); n != 4 || strings.Contains(p.body, "⟦") || t.Failed() {
		t.Errorf("%d bars\n%s", n, p.body)
	}
	if p := ada.get("/keys/ci"); !strings.Contains(p.body, "counted by the test environment") {
		t.Errorf("%d\n%s", p.status, p.body)
	}
	t.Run("brought by its hash, with what others write", func(t *testing.T) {
		k := &v1alpha1.ApiKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "brought", Annotations: map[string]string{
				"example.com/note": "<script>alert(1)</script>" + strings.Repeat("<b>", 60<<10),
			}},
			Spec: v1alpha1.ApiKeySpec{
				Environment: v1alpha1.EnvironmentLive, Scopes: append(v1alpha1.Scopes[:], "billing.example.com:read"),
				Claims:     map[string]v1alpha1.ClaimValue{"plan": "gold", "customer": "acme 42"},
				SecretHash: "bound:" + strings.Repeat("0", 32) + ":" + strings.Repeat("1", 32),
			},
		}
		check(t, w.admin.Create(t.Context(), k))
		p := ada.get("/keys/brought")
		if p.status != http.StatusOK || strings.Contains(p.body, "<script>alert") || strings.Contains(p.body, "<b>") ||
			!strings.Contains(p.body, "never seen this key") ||
			!strings.Contains(p.body, `<span class="nowrap">billing.example.com:read</span>`) ||
			!strings.Contains(p.body, "<code>customer</code> acme 42<br><code>plan</code> gold<br>") || len(p.body) > 512<<10 {
			t.Errorf("%d, %d bytes", p.status, len(p.body))
		}
	})
	t.Run("longer than a page shows", func(t *testing.T) {
		notes := map[string]string{}
		for n := range 500 {
			notes[fmt.Sprintf("example.com/note-%03d", n)] = strings.Repeat("ä", 40+n%50)
		}
		check(t, w.admin.Create(t.Context(), &v1alpha1.ApiKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: "long", Annotations: notes},
			Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
		}))
		p := ada.get("/keys/long")
		shown := manifest.FindStringSubmatch(p.body)
		if shown == nil {
			t.Fatalf("%d\n%s", p.status, p.body)
		}
		lines := strings.Split(strings.TrimSuffix(html.UnescapeString(shown[1]), "\n"), "\n")
		name, note, _ := strings.Cut(strings.TrimSpace(lines[len(lines)-1]), ": ")
		if len(lines) < 100 || len(lines) > 500 || note == "" || note != notes[name] {
			t.Errorf("%d lines, and the last one is %q", len(lines), lines[len(lines)-1])
		}
		for path, says := range map[string]bool{"/keys/long": true, "/keys/website": false} {
			p := ada.get(path)
			if strings.Contains(p.body, "longer than this page shows") != says ||
				strings.Contains(p.body, "kubectl get apikeys.letmepost.dev long -n "+acme+" -o yaml") != says {
				t.Errorf("%s: want %t\n%s", path, says, p.body)
			}
		}
	})
	t.Run("GitOps", func(t *testing.T) {
		for name, tc := range map[string]struct {
			labels, annotations map[string]string
			want                string
		}{
			"argo":     {nil, map[string]string{"argocd.argoproj.io/tracking-id": "shop:letmepost.dev/ApiKey:acme/argo"}, "Argo CD owns this key (<code>shop</code>)"},
			"argo-old": {map[string]string{"argocd.argoproj.io/instance": "shop"}, nil, "Argo CD owns this key"},
			"flux": {map[string]string{
				"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
			}, nil, "Flux owns this key (<code>flux-system/apps</code>)"},
			"flux-helm": {map[string]string{"helm.toolkit.fluxcd.io/name": "shop", "app.kubernetes.io/managed-by": "Helm"}, nil, "Flux owns this key"},
			"helm":      {map[string]string{"app.kubernetes.io/managed-by": "Helm"}, map[string]string{"meta.helm.sh/release-name": "shop"}, "Helm owns this key (<code>shop</code>)"},
			"by-hand":   {map[string]string{"app.kubernetes.io/instance": "shop"}, nil, ""},
		} {
			k := &v1alpha1.ApiKey{
				ObjectMeta: metav1.ObjectMeta{Namespace: acme, Name: name, Labels: tc.labels, Annotations: tc.annotations},
				Spec:       v1alpha1.ApiKeySpec{Environment: v1alpha1.EnvironmentLive, Scopes: v1alpha1.Scopes[:]},
			}
			check(t, w.admin.Create(t.Context(), k))
			query := url.Values{"key": {name + "." + string(k.UID)}}
			for _, path := range []string{"/keys/" + name, "/keys/-/revoke?" + ada.ofPage(query).Encode()} {
				p := ada.get(path)
				if tc.want == "" && strings.Contains(p.body, "owns this key") || !strings.Contains(p.body, tc.want) {
					t.Errorf("%s: want %q\n%s", path, tc.want, p.body)
				}
			}
		}
	})
}
