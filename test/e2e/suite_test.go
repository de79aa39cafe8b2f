// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves the product as its users have it: installed by its chart, from its images, in pods of a real
// Kubernetes node. `make e2e` builds and runs all of it; the node is test/node's, and these tests run in its network
// namespace, where pods and Services can be reached, and where pods reach what a test listens on at nodeIP.
package e2e_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/timing"
)

var _ = timing.Report("e2e")

const (
	// appImage is ./app, which plays the apps that use the product.
	appImage = "letmepost/app:e2e"
	// nobody is who pods run as that may not be root.
	nobody = 65532

	// patience is how long anything that should happen may take. On a loaded machine with two cores, things take long.
	patience = 2 * time.Minute
	interval = 50 * time.Millisecond
)

// The node, and what the specs of this package share. Specs run one after the other.
var (
	admin   client.WithWatch      // an administrator
	clients *kubernetes.Clientset // the same, for what is no plain object: logs, evictions
	nodeIP  string                // the node's address
	logs    string                // folder with the logs of the node's processes, audit.log and pods/
)

func TestE2E(t *testing.T) {
	nodeIP, logs = os.Getenv("NODE_IP"), os.Getenv("NODE_LOGS")
	if nodeIP == "" || logs == "" {
		t.Fatal("these tests run on a Kubernetes node of their own: run `make e2e`")
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1 // no client-side limit
	if admin, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if clients, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	log.SetLogger(GinkgoLogr) // or controller-runtime says that nobody has
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(interval)
	RegisterFailHandler(Fail)
	RunSpecs(t, "e2e")
}

// namespace makes a namespace that enforces PodSecurity "restricted", and removes it after the spec. When the spec
// fails, the report says how its pods are.
func namespace(ctx context.Context, name string) string {
	GinkgoHelper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	Expect(admin.Create(ctx, object)).To(Succeed())
	DeferCleanup(func(ctx context.Context) {
		if CurrentSpecReport().Failed() {
			AddReportEntry("pods of "+name, describe(ctx, name))
		}
		Expect(client.IgnoreNotFound(admin.Delete(ctx, object))).To(Succeed())
	})
	return name
}

// describe tells of a namespace what a person would ask first: its pods, its warnings and the end of each log.
func describe(ctx context.Context, namespace string) string {
	var text strings.Builder
	var pods corev1.PodList
	var events corev1.EventList
	for _, list := range []client.ObjectList{&pods, &events} {
		if err := admin.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err.Error()
		}
	}
	for _, event := range events.Items {
		if event.Type == corev1.EventTypeWarning {
			fmt.Fprintf(&text, "%s %s: %s\n", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Message)
		}
	}
	for _, pod := range pods.Items {
		fmt.Fprintf(&text, "pod %s: %s\n", pod.Name, pod.Status.Phase)
		for _, container := range pod.Spec.Containers {
			fmt.Fprintf(&text, "  %s\n", strings.ReplaceAll(tail(&pod, container.Name), "\n", "\n  "))
		}
	}
	fmt.Fprintf(&text, "all logs: %s\n", filepath.Join(logs, "pods"))
	return text.String()
}

// tail is the end of a container's log. It is read from the node's disk, where it outlives the pod.
func tail(pod *corev1.Pod, container string) string {
	const enough = 2 << 10
	found, err := filepath.Glob(filepath.Join(logs, "pods", fmt.Sprintf("%s_%s_*", pod.Namespace, pod.Name), container, "*.log"))
	if err != nil || len(found) == 0 {
		return "(no log)"
	}
	content, err := os.ReadFile(found[len(found)-1])
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-enough):])
}

// appPod is a pod of ./app as PodSecurity "restricted" wants it, ready to be changed and created.
func appPod(namespace, name string, args ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				RunAsUser:      new(int64(nobody)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "app", Image: appImage, Args: args,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false),
					ReadOnlyRootFilesystem:   new(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// fromSecret gives the pod's app the keys of a Secret as its environment.
func fromSecret(pod *corev1.Pod, secret string) *corev1.Pod {
	pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
	}}
	return pod
}

// complete runs a pod to its end, which must be a success, and returns its output.
func complete(ctx context.Context, pod *corev1.Pod) string {
	GinkgoHelper()
	Expect(admin.Create(ctx, pod)).To(Succeed())
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(pod.Status.Phase).To(BeElementOf(corev1.PodSucceeded, corev1.PodFailed))
	}).WithContext(ctx).Should(Succeed())
	output := podLog(ctx, pod)
	Expect(pod.Status.Phase).To(Equal(corev1.PodSucceeded), output)
	return output
}

// podLog is all that a pod of one container has printed.
func podLog(ctx context.Context, pod *corev1.Pod) string {
	GinkgoHelper()
	stream, err := clients.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(ctx)
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	output, err := io.ReadAll(stream)
	Expect(err).NotTo(HaveOccurred())
	return string(output)
}
