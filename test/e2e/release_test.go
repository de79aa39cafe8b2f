// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/test/kube"
)

const (
	release         = "letmepost-operator"
	systemNamespace = "letmepost-system"
	teamNamespace   = "acme"
)

// chart is today's chart.
func chart() string { return kube.Path("charts/letmepost-operator") }

// previousChart is the chart of the version before: what is upgraded from.
func previousChart() string { return kube.Path("test/e2e/testdata/letmepost-operator-0.1.0.tgz") }

// apiKey declares a key, waits until it is Ready, and returns it.
func apiKey(ctx context.Context, name, environment string) string {
	GinkgoHelper()
	apply(ctx, fmt.Sprintf(`{apiVersion: letmepost.dev/v1alpha1, kind: ApiKey, metadata: {name: %s, namespace: %s}, spec: {environment: %s}}`,
		name, teamNamespace, environment))
	kubectl(ctx, "wait", "--for=condition=Ready", "apikey/"+name, "-n", teamNamespace, "--timeout=60s")
	return secretValue(ctx, name, "LMP_API_KEY")
}

func secretValue(ctx context.Context, name, key string) string {
	GinkgoHelper()
	text := kubectl(ctx, "get", "secret", name, "-n", teamNamespace, "-o", "jsonpath={.data."+key+"}")
	value, err := base64.StdEncoding.DecodeString(text)
	Expect(err).NotTo(HaveOccurred())
	return string(value)
}

// answers returns the status with which an API answers a key; 0: none.
func answers(ctx context.Context, url, key string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/whoami", nil)
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Authorization", "Bearer "+key)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// serviceURL is where a Service is reached from the node, which asks no DNS.
func serviceURL(ctx context.Context, name string) string {
	GinkgoHelper()
	var service corev1.Service
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: name}, &service)).To(Succeed())
	return fmt.Sprintf("http://%s:%d", service.Spec.ClusterIP, service.Spec.Ports[0].Port)
}

// podsOf returns the pods of a Deployment that are not on their way out.
func podsOf(ctx context.Context, deployment string) []corev1.Pod {
	GinkgoHelper()
	var d appsv1.Deployment
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: deployment}, &d)).To(Succeed())
	var pods corev1.PodList
	Expect(admin.List(ctx, &pods, client.InNamespace(systemNamespace), client.MatchingLabels(d.Spec.Selector.MatchLabels))).To(Succeed())
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// settled waits until a Deployment is what its spec says, as `kubectl rollout status` does, with no old pod left.
func settled(ctx context.Context, deployments ...string) {
	GinkgoHelper()
	for _, d := range deployments {
		kubectl(ctx, "rollout", "status", "deployment/"+d, "-n", systemNamespace, "--timeout=180s")
	}
}

// podURLs are the replicas themselves, behind their Service.
func podURLs(ctx context.Context, deployment string) (urls []string) {
	GinkgoHelper()
	for _, pod := range podsOf(ctx, deployment) {
		urls = append(urls, "http://"+pod.Status.PodIP+":8080")
	}
	return urls
}

// drain evicts a pod as `kubectl drain` does: again and again while a PodDisruptionBudget says not now.
func drain(ctx SpecContext, pod corev1.Pod) {
	GinkgoHelper()
	Eventually(func() error {
		err := evict(ctx, pod)
		if err != nil && !apierrors.IsTooManyRequests(err) {
			return StopTrying("evict").Wrap(err)
		}
		return err
	}).WithTimeout(3*time.Minute).WithPolling(200*time.Millisecond).Should(Succeed(), "evict %s", pod.Name)
}

// databases makes what replicas share, under a name: a PostgreSQL database for each environment, whose URLs are in a
// Secret, and a volume for media. It returns the values for them.
func databases(ctx context.Context, address, name string) []string {
	GinkgoHelper()
	db, err := sql.Open("pgx", address)
	Expect(err).NotTo(HaveOccurred())
	defer db.Close()
	urls := map[string]string{}
	for _, environment := range []string{"live", "test"} {
		_, err := db.ExecContext(ctx, "CREATE DATABASE "+name+"_"+environment)
		Expect(err).NotTo(HaveOccurred())
		u, err := url.Parse(address)
		Expect(err).NotTo(HaveOccurred())
		u.Path = "/" + name + "_" + environment
		urls[environment+"-url"] = u.String()
	}
	Expect(admin.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}, StringData: urls,
	})).To(Succeed())
	Expect(admin.Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	})).To(Succeed())
	return []string{"--set", "database.existingSecret=" + name, "--set", "media.existingClaim=" + name}
}

// connect connects an account of the sandbox, so that there is something to publish with.
func connect(ctx context.Context, url, key string) {
	GinkgoHelper()
	body := strings.NewReader(`{"identifier":"me.test","appPassword":"any"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/accounts/connect/bluesky/complete", body)
	Expect(err).NotTo(HaveOccurred())
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	Expect(err).NotTo(HaveOccurred())
	defer resp.Body.Close()
	Expect(resp).To(HaveHTTPStatus(http.StatusOK, http.StatusCreated))
}

// ready returns how many replicas of a Deployment are.
func ready(ctx context.Context, deployment string) int {
	GinkgoHelper()
	var d appsv1.Deployment
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: deployment}, &d)).To(Succeed())
	return int(d.Status.ReadyReplicas)
}

// finalizers returns those of an ApiKey.
func finalizers(ctx context.Context, name string) []string {
	GinkgoHelper()
	var k v1alpha1.ApiKey
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: teamNamespace, Name: name}, &k)).To(Succeed())
	return k.Finalizers
}

// process returns the id of a pod's process, as the node sees it.
func process(pod, program string) int {
	GinkgoHelper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), "HOSTNAME="+pod) {
			continue // it has ended meanwhile, or is another pod's
		}
		exe, err := os.Readlink(filepath.Join(filepath.Dir(file), "exe"))
		if err != nil || filepath.Base(exe) != program {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		Expect(err).NotTo(HaveOccurred())
		return pid
	}
	Fail(fmt.Sprintf("pod %s runs no %s", pod, program))
	return 0
}

// resident returns the memory that a pod's process has, in MB.
func resident(pod, program string) float64 {
	GinkgoHelper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process(pod, program)))
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 64)
			Expect(err).NotTo(HaveOccurred())
			return kib * 1024 / 1e6
		}
	}
	Fail("no VmRSS")
	return 0
}
