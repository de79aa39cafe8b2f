// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
	"github.com/letmepost/letmepost-operator/test/timing"
)

var _ = timing.Report("chart")

const (
	systemNamespace = "letmepost-system"

	// patience is how long anything that should happen may take. On a loaded machine with two cores, things take long.
	patience = time.Minute
	interval = 50 * time.Millisecond
)

// The control plane that the specs share. They run one after the other, and each takes off what it has installed.
var (
	server    *kube.Cluster
	admin     client.WithWatch // an administrator, of system:masters
	serverDir string           // logs, credentials, data
	auditFile string           // what our processes, and people who were impersonated, asked of the apiserver
)

// TestServer runs the specs against a real apiserver, with its audit log, and a controller manager: aggregation of
// ClusterRoles, garbage collection and deletion of namespaces are its work.
func TestServer(t *testing.T) {
	serverDir = t.TempDir()
	auditFile = filepath.Join(serverDir, "audit.log")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var err error
	server, err = kube.Start(ctx, kube.Options{
		Dir: filepath.Join(serverDir, "kube"), BinDir: auditedPrograms(t), ControllerManager: true, UnsafeNoFsync: true,
		Manifests: []string{"config/crd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	if admin, err = clientOf(server.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	log.SetLogger(GinkgoLogr) // or controller-runtime says that nobody has
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(interval)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "chart")
}

func clientOf(config *rest.Config) (client.WithWatch, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// auditedPrograms is a folder with the programs of bin/k8s, in which the apiserver is given an audit log.
func auditedPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{kube.Etcd, kube.ControllerManager} {
		if err := os.Symlink(kube.Path(filepath.Join("bin/k8s", name)), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	policy := filepath.Join(dir, "audit.yaml")
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" --audit-policy-file=%s --audit-log-path=%s --audit-log-maxsize=1000\n",
		kube.Path(filepath.Join("bin/k8s", kube.APIServer)), policy, auditFile)
	for path, content := range map[string]string{policy: auditPolicy, filepath.Join(dir, kube.APIServer): script} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// auditPolicy has all that ServiceAccounts ask for written down, but not what for: no key gets into the log.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    userGroups: [system:serviceaccounts:kube-system]
  - level: Metadata
    userGroups: [system:serviceaccounts]
  - level: None
`

// render is what helm makes of the chart for a release in systemNamespace.
func render(ctx context.Context, s settings) []*unstructured.Unstructured {
	GinkgoHelper()
	command := exec.CommandContext(ctx, kube.Path("bin/tools/helm"), "template", releaseName, kube.Path(chartPath), "--namespace", systemNamespace, "--values", "-")
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+filepath.Join(serverDir, "helm"))
	var stderr bytes.Buffer
	command.Stdin, command.Stderr = bytes.NewReader(s.file()), &stderr
	out, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), stderr.String())
	var rendered []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return rendered
		}
		Expect(err).NotTo(HaveOccurred())
		if len(object.Object) > 0 {
			rendered = append(rendered, object)
		}
	}
}

// renderRules is what of the chart decides about who may do what; renderHooks is the same of its hooks.
func renderRules(ctx context.Context, s settings) []*unstructured.Unstructured {
	GinkgoHelper()
	return rulesOf(ctx, false, s)
}

func renderHooks(ctx context.Context, s settings) []*unstructured.Unstructured {
	GinkgoHelper()
	return rulesOf(ctx, true, s)
}

func rulesOf(ctx context.Context, hooks bool, s settings) []*unstructured.Unstructured {
	GinkgoHelper()
	kinds := []string{
		"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
	}
	return slices.DeleteFunc(render(ctx, s), func(o *unstructured.Unstructured) bool {
		return !slices.Contains(kinds, o.GetKind()) || hooks != (o.GetAnnotations()["helm.sh/hook"] != "")
	})
}

// install creates rules, after the release's namespace, until the spec, or the container, ends.
func install(ctx context.Context, rules []*unstructured.Unstructured) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx, namespace))).To(Succeed())
	Eventually(ctx, aggregated).Should(BeEmpty(), "of another spec")
	for _, object := range rules {
		Expect(admin.Create(ctx, object.DeepCopy())).To(Succeed(), "%s %s", object.GetKind(), object.GetName())
	}
	DeferCleanup(func(ctx context.Context) {
		for _, object := range slices.Backward(rules) {
			Expect(client.IgnoreNotFound(admin.Delete(ctx, object))).To(Succeed())
		}
		Eventually(ctx, func(g Gomega) {
			for _, object := range rules {
				err := admin.Get(ctx, client.ObjectKeyFromObject(object), object.DeepCopy())
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}).Should(Succeed())
	}, NodeTimeout(patience))
}

// aggregated are the cluster's own roles that have rules about what is ours. The controller manager takes ClusterRoles
// up and drops them some moments after they have come and gone: whoever asks in between is told what was true before.
func aggregated(ctx context.Context) (names []string, err error) {
	for _, name := range []string{"view", "edit", "admin"} {
		role := &rbacv1.ClusterRole{}
		if err := admin.Get(ctx, client.ObjectKey{Name: name}, role); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.APIGroups, v1alpha1.GroupVersion.Group)
		}) {
			names = append(names, name)
		}
	}
	return names, nil
}

// newOrganization makes a namespace, which to us is an organization, of the name given, or of a new one.
func newOrganization(ctx context.Context, names ...string) string {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: strings.Join(names, "-")}}
	if len(names) == 0 {
		ns.GenerateName = "org-"
	}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// apiKey is an ApiKey of an environment.
func apiKey(namespace, name string, environment v1alpha1.Environment) *v1alpha1.ApiKey {
	return &v1alpha1.ApiKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ApiKeySpec{Environment: environment},
	}
}
