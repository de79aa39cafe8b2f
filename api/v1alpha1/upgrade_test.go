// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

// How long the apiserver may take to go by a definition, and how often it is asked whether it does.
const interval, patience = 50 * time.Millisecond, 2 * time.Minute

// previousDefinitions unpacks the definitions of the version that releases are upgraded from.
func previousDefinitions(t *testing.T) string {
	t.Helper()
	chart, err := os.Open(kube.Path("test/e2e/testdata/letmepost-operator-0.1.0.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer chart.Close()
	unzipped, err := gzip.NewReader(chart)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(header.Name, "/files/crds/") {
			continue
		}
		text, err := io.ReadAll(archive)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(header.Name)), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeysOfThePreviousVersion: definitions that are upgraded leave keys as they are, which have no claims and no
// scopes of anybody's own then. They are read as before, without a write, and their status can be written.
func TestKeysOfThePreviousVersion(t *testing.T) {
	cluster, err := kube.Start(t.Context(), kube.Options{UnsafeNoFsync: true, Manifests: []string{previousDefinitions(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Stop() })
	keys := dynamic.NewForConfigOrDie(cluster.AdminConfig()).
		Resource(v1alpha1.GroupVersion.WithResource(apiKeys)).Namespace("default")
	made := map[string]*unstructured.Unstructured{}
	for name, spec := range map[string]string{
		"all": "environment: live", "some": "{environment: test, scopes: [media:read, posts:write]}",
	} {
		var object map[string]any
		manifest := "{apiVersion: letmepost.dev/v1alpha1, kind: ApiKey, metadata: {name: " + name + "}}"
		if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
			t.Fatal(err)
		}
		object["spec"] = fields
		k, err := keys.Create(t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		k.Object["status"] = map[string]any{"hash": someDigest, "organizationID": "an-id", "mintedAt": "2026-01-01T00:00:00Z"}
		if made[name], err = keys.UpdateStatus(t.Context(), k, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	if err := kube.InstallManifests(t.Context(), cluster.AdminConfig(), kube.Path("config/crd")); err != nil {
		t.Fatal(err)
	}
	// The apiserver takes its time to go by a definition that has changed. It does once it takes what only the new one
	// has.
	own := made["all"].DeepCopy()
	own.Object = map[string]any{
		"apiVersion": own.GetAPIVersion(), "kind": own.GetKind(), "metadata": map[string]any{"generateName": "own-"},
		"spec": map[string]any{"environment": "live", "scopes": []any{"a.dev:x"}, "claims": map[string]any{"plan": "gold"}},
	}
	err = wait.PollUntilContextTimeout(t.Context(), interval, patience, true, func(ctx context.Context) (bool, error) {
		k, err := keys.Create(ctx, own, metav1.CreateOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // it goes by the previous one
		}
		claims, _, err := unstructured.NestedStringMap(k.Object, "spec", "claims")
		if claims["plan"] != "gold" {
			t.Errorf("the first key with claims has %v", claims)
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, was := range made {
		is, err := keys.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was.Object, is.Object); diff != "" {
			t.Errorf("%s is another key than before (-was +is):\n%s", name, diff)
		}
		if err := unstructured.SetNestedField(is.Object, "lmp_live_…wxyz", "status", "hint"); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.UpdateStatus(t.Context(), is, metav1.UpdateOptions{}); err != nil {
			t.Errorf("the status of %s can't be written any more: %v", name, err)
		}
	}
}
